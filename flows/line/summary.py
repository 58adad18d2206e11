"""The results of the line, read from its reports: for the terminal, for an artifact, for a message."""

from dataclasses import dataclass
from pathlib import Path

from labelfactory.settings.reports import read_metrics, read_report
from labelfactory.settings.wiring import read_wiring
from reporting.phrases import what_it_made

REPORT = Path("data/evaluation/report.html")


@dataclass(frozen=True)
class StageSummary:
    """One stage's last run; `seconds` is None where it never ran."""

    name: str
    made: str
    seconds: float | None
    scores: tuple[float | None, ...]  # mIoU, a fraction, on each of the line's splits


@dataclass(frozen=True)
class LineSummary:
    """The stages in the order of the line, and notes below their table."""

    splits: tuple[str, ...]
    stages: tuple[StageSummary, ...]
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Sum over all stages, each stage's last run."""
        return sum(stage.seconds or 0.0 for stage in self.stages)


def read_summary() -> LineSummary:
    """Read the reports below data/ of this folder.

    Raises:
        DataError: one of them is damaged.
    """
    metrics = read_metrics()
    splits = tuple(sorted({key.split("/")[1] for key in metrics if key.startswith("miou/")}))
    stages = []
    for name, wired in read_wiring().items():
        report = read_report(name)
        if not report:
            stages.append(StageSummary(name, "never run", None, tuple(None for _ in splits)))
            continue
        scores = tuple(metrics.get(f"miou/{split}/{wired.meta.scores.name}") for split in splits)
        stages.append(StageSummary(name, what_it_made(report), report["seconds"], scores))
    notes = []
    if metrics and not metrics.get("true_masks"):
        notes.append("There are no true masks, so nothing was scored.")
    if "fraction_of_supervised" in metrics:
        notes.append(f"Of full supervision: {100 * metrics['fraction_of_supervised']:.1f} %")
    return LineSummary(splits, tuple(stages), tuple(notes))


def as_markdown(summary: LineSummary) -> str:
    """The summary as a table in Markdown."""
    heads = ["stage", "what it made", "seconds", *(f"mIoU {split}, %" for split in summary.splits)]
    rows = [heads, ["---", "---", *("---:" for _ in heads[2:])]]
    for stage in summary.stages:
        scores = ["" if score is None else f"{100 * score:.1f}" for score in stage.scores]
        rows.append([stage.name, stage.made, "" if stage.seconds is None else f"{stage.seconds:.1f}", *scores])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([table, f"All stages, each stage's last run: {summary.seconds:.1f} s", *summary.notes])
