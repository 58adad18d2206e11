"""The results of the line, read from its reports: for the terminal, for an artifact, for a message."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import read_wiring
from reporting.phrases import NOT_MEASURED, what_it_made

REPORT = Path("data/evaluation/report.html")


@dataclass(frozen=True)
class StageSummary:
    """One stage's last run; `seconds` is None where it never ran."""

    name: str
    made: str
    seconds: float | None
    scores: tuple[str, ...]  # mIoU in per cent on each of the line's splits, `not measured`, or empty if not scored


@dataclass(frozen=True)
class LineSummary:
    """The stages in the order of the line, and notes below their table."""

    splits: tuple[str, ...]
    stages: tuple[StageSummary, ...]
    notes: tuple[str, ...]
    is_current: bool  # whether evaluate scored the outputs on disk

    @property
    def seconds(self) -> float:
        """Sum over all stages, each stage's last run."""
        return sum(stage.seconds or 0.0 for stage in self.stages)


def read_summary() -> LineSummary:
    """Read the reports below data/ of this folder. A score is that of the output on disk, or it is not measured."""
    from labelfactory.stage.level_now import level_sentence
    from labelfactory.stage.output_state import with_present_scores  # Arrow and pandas, which take a second to load
    from lineage.evaluation import present, read_evaluation

    evaluation = read_evaluation()
    digests = present(evaluation)
    measured, why_not = evaluation.of(digests), evaluation.why_not(digests)
    splits = tuple(sorted({key.split("/")[1] for key in evaluation.figures if key.startswith("miou/")}))
    stages = []
    for name, wired in read_wiring().items():
        report = read_report(name)
        if not report:
            stages.append(StageSummary(name, "never run", None, ("",) * len(splits)))
            continue
        keys = [f"miou/{split}/{wired.meta.scores.name}" for split in splits]
        scores = (
            f"{100 * measured[key]:.1f}" if key in measured else NOT_MEASURED if key in evaluation.figures else ""
            for key in keys
        )
        stages.append(StageSummary(name, what_it_made(with_present_scores(report)), report["seconds"], tuple(scores)))
    notes = [why_not] if why_not else []
    if measured.get("true_masks") == 0:
        notes.append("There are no true masks, so nothing was scored.")
    if "fraction_of_supervised" in measured:
        notes.append(f"Of full supervision: {100 * measured['fraction_of_supervised']:.1f} %")
    notes += quality_falls()
    notes.append(level_sentence())
    return LineSummary(splits, tuple(stages), tuple(notes), not why_not)


def quality_falls(ran: Collection[str] | None = None) -> list[str]:
    """Sentences on masks whose quality fell in the last run that rated them; of the stages that `ran`, if it is one of them."""
    wiring = read_wiring()
    rating = wiring.rating(wiring.masks.noun)
    if rating is None or (ran is not None and rating.name not in ran):
        return []
    return list(read_report(rating.name).get("falls", ()))


def as_markdown(summary: LineSummary) -> str:
    """The summary as a table in Markdown."""
    heads = ["stage", "what it made", "seconds", *(f"mIoU {split}, %" for split in summary.splits)]
    rows = [heads, ["---", "---", *("---:" for _ in heads[2:])]]
    for stage in summary.stages:
        seconds = "" if stage.seconds is None else f"{stage.seconds:.1f}"
        rows.append([stage.name, stage.made, seconds, *stage.scores])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([table, f"All stages, each stage's last run: {summary.seconds:.1f} s", *summary.notes])
