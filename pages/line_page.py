"""The page of the line: its stages as a graph and as a table, stale stages with reasons, times and scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from labelfactory.dataset.left_out import read_left_out
from labelfactory.digests import digest_file
from labelfactory.errors import UserError
from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import DATA, StageWiring, Wiring, read_wiring
from labelfactory.stage.output_state import with_present_scores
from lineage.evaluation import Evaluation, present, read_evaluation
from pages.drawing import Arrow, Box, draw
from pages.links import run_links
from pages.project import Project
from reporting.formats import duration, percent
from reporting.phrases import NOT_MEASURED, what_it_made
from reporting.scores import split_names, stage_score

REPORT = DATA / "evaluation" / "report.html"
MARKS = {"up to date": "✓", "stale": "!", "never run": "○", "frozen": "❄", "unknown": "·"}
"""A sign for each state: colour alone says nothing to some eyes."""
NETWORKS, IMAGES, THRESHOLDS = 0, 1, 2
LANES = {"network": NETWORKS, "thresholds": THRESHOLDS}
"""The lane of a kind of stage; the others work on images."""


def line_page(project: Project) -> dict[str, Any]:
    """What the page shows."""
    state = line_state(project)
    scores: Scores = state["line_scores"]
    figures, notes = _figures(project, scores), _notes(scores)
    return {**state, "figures": figures, "notes": notes, "report": REPORT.exists()}


@dataclass(frozen=True)
class Scores:
    """The scores on disk: `measured`, those of the outputs on disk; and why others are not shown, empty if all are."""

    evaluation: Evaluation
    measured: Mapping[str, float]
    why_not: str


def scores_on_disk(project: Project, *, running: bool = False) -> Scores:
    """The scores in data/evaluation, held against the outputs on disk. `running`: a run is writing them."""
    evaluation = read_evaluation()
    digests = present(evaluation, project.row_digests(running=running))
    return Scores(evaluation, evaluation.of(digests), evaluation.why_not(digests))


def line_state(project: Project) -> dict[str, Any]:
    """The part that changes during a run: graph, table and DVC's last answer."""
    looking = project.state.refresh()
    answer = project.state.answer or {"running": False, "stages": []}
    states = {entry["name"]: entry for entry in answer["stages"]}
    wiring, scores = read_wiring(), scores_on_disk(project, running=bool(answer["running"]))
    splits = split_names(scores.evaluation.figures)
    runs = _runs(project)
    stages = [_stage(wired, states.get(name), scores, splits, runs.get(name, ())) for name, wired in wiring.items()]
    return {
        "line_scores": scores,
        "stages": stages,
        "splits": [split for split in splits if any(split in stage["scores"] for stage in stages)],
        "linked": any(stage["links"] for stage in stages),
        "graph": graph(wiring, stages),
        "stale": sum(stage["state"] in ("stale", "never run") for stage in stages),
        "known": bool(states),
        "looking": looking,
        "looked": project.state.time,
        "look": project.state.number,
        "problem": project.state.problem,
        "running": answer["running"],
        "run": list(answer.get("run", [])),
        "slowest": max((stage["seconds"] or 0.0 for stage in stages), default=0.0),
        "seconds": sum(stage["seconds"] or 0.0 for stage in stages),
    }


def _stage(
    wired: StageWiring, entry: Mapping[str, Any] | None, line: Scores, splits: list[str], links: Any
) -> dict[str, Any]:
    report, scored = _report(wired.name), wired.meta.scores
    state = str(entry["state"]) if entry else "unknown" if report else "never run"
    scores: dict[str, tuple[str, float | None]] = {}  # None: not measured on what is on disk
    for split in splits:
        if stage_score(line.evaluation.figures, scored.measure, scored.name, split):
            now = stage_score(line.measured, scored.measure, scored.name, split)
            scores[split] = now or (scored.measure, None)
    return {
        "name": wired.name,
        "state": state,
        "mark": MARKS.get(state, "·"),
        "reasons": list(entry["reasons"]) if entry else [],
        "made": what_it_made(with_present_scores(report)) if report else "",
        "seconds": report.get("seconds"),
        "memory": report.get("peak_memory_mb"),
        "scores": scores,
        "links": links,
    }


def graph(wiring: Wiring, stages: list[dict[str, Any]]) -> Markup:
    """The stages in three lanes; an arrow where one reads another's output, unless a longer way leads there."""
    before = {name: set(wiring.before(name)) for name in wiring}
    rank: dict[str, int] = {}
    taken: set[tuple[int, int]] = set()
    for name in wiring:
        lane = lane_of(wiring[name])
        along = 1 + max((rank[b] for b in before[name]), default=-1)
        while {(lane, along - 1), (lane, along), (lane, along + 1)} & taken:  # boxes are wider than a rank
            along += 1
        rank[name] = along
        taken.add((lane, along))
    boxes = []
    for stage in stages:
        scores = [f"{measure} {percent(v)}" for measure, v in stage["scores"].values() if v is not None]
        boxes.append(
            Box(
                id=stage["name"],
                title=stage["name"],
                lane=lane_of(wiring[stage["name"]]),
                rank=rank[stage["name"]],
                lines=(", ".join([duration(stage["seconds"]), *scores[:1]]) if stage["made"] else stage["state"],),
                kind=f"state-{stage['state'].replace(' ', '-')}",
                href=f"#stage-{stage['name']}",
                mark=stage["mark"],
                says="\n".join([f"{stage['name']}: {stage['state']}", stage["made"], *stage["reasons"][:6]]).strip(),
            )
        )
    arrows = [Arrow(b, name) for name in wiring for b in before[name] if not _leads_there(b, name, before)]
    return draw(boxes, arrows, label="The line: stages, and what each of them reads")


def lane_of(stage: StageWiring) -> int:
    """Networks above, images in the middle, thresholds and optional stages below."""
    return THRESHOLDS if stage.meta.optional else LANES.get(stage.meta.kind, IMAGES)


def _leads_there(start: str, end: str, before: Mapping[str, set[str]]) -> bool:
    """Whether a longer way leads from one stage to the other."""
    waiting, visited = [b for b in before[end] if b != start], set[str]()
    while waiting:
        at = waiting.pop()
        if at == start:
            return True
        if at not in visited:
            visited.add(at)
            waiting += before[at]
    return False


def _runs(project: Project) -> dict[str, list[tuple[str, str]]]:
    """Stage → (name, address) of the run whose report it left; none of a stage whose report is not recorded."""
    try:
        with project.lookup() as lookup:
            tags = {e["subject"]: e["detail"]["tags"] for e in lookup.events if e["event"] == "line"}
            details = {e["subject"]: e["detail"] for e in lookup.events if e["event"] == "execution"}
    except UserError:
        return {}
    runs = {(detail["stage"], detail["report_sha256"]): run for run, detail in details.items()}
    reports = {stage: DATA / "reports" / f"{stage}.json" for stage in read_wiring()}
    on_disk = {stage: runs.get((stage, digest_file(path))) for stage, path in reports.items() if path.exists()}
    known = {stage: run for stage, run in on_disk.items() if run}
    return {stage: run_links(project, run, tags.get(details[run]["line"], {})) for stage, run in known.items()}


def _figures(project: Project, scores: Scores) -> list[tuple[str, str, str, str]]:
    """(figure, unit, label, address) of the whole project."""
    try:
        images = project.images()
    except UserError:
        return []
    figures = [(f"{images.count:,}", "", "images", "/images")]
    if images.quarantined:
        figures.append((f"{images.quarantined:,}", "", "of them quarantined", "/images?state=quarantined"))
    wiring, known = read_wiring(), scores.evaluation.figures
    for split in split_names(known):
        for name in (wiring.masks.meta.scores.name, wiring.model.meta.scores.name):
            key, label = f"miou/{split}/{name}", f"mIoU of the {name} on {split}"
            if key in scores.measured:
                figures.append((percent(scores.measured[key]), "%", label, ""))
            elif key in known:
                figures.append(("–", "", f"{label}: {NOT_MEASURED}", ""))
    try:
        with project.lookup() as lookup:
            figures.append((str(len(lookup.models)), "", "models recorded", "/models"))
    except UserError:
        pass
    return figures


def _notes(scores: Scores) -> list[str]:
    """Notes on the figures: scores that are not measured, images that were left out, missing true masks."""
    notes = [scores.why_not] if scores.why_not else []
    left_out = read_left_out()
    if left_out:
        more = f"; and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        notes.append(f"{len(left_out)} left out by the import: {'; '.join(i.line for i in left_out[:5])}{more}")
    if scores.measured.get("true_masks") == 0:
        notes.append("There are no true masks, so nothing was scored.")
    return notes


def _report(stage: str) -> dict[str, Any]:
    """A stage's report; empty where it never ran, or where the report is damaged, which `labelfactory status` says."""
    try:
        return read_report(stage)
    except UserError:
        return {}
