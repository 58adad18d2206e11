"""The page of the line: its stages as a graph and as a table, what is stale and why, times and scores."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from labelfactory.dataset.left_out import read_left_out
from labelfactory.errors import UserError
from labelfactory.settings.wiring import StageWiring, read_wiring
from pages.drawing import Arrow, Box, draw
from pages.links import run_links
from pages.project import Project
from reporting.formats import duration, percent
from reporting.phrases import what_it_made
from reporting.scores import split_names, stage_score

DATA = Path("data")
REPORT = DATA / "evaluation" / "report.html"
MARKS = {"up to date": "✓", "stale": "!", "never run": "○", "frozen": "❄", "unknown": "·"}
"""A sign for each state: colour alone says nothing to some eyes."""
NETWORKS, IMAGES, THRESHOLDS = 0, 1, 2
LANES = {"train": NETWORKS, "calibrate": THRESHOLDS}
"""The lane of a stage by the first word of its name; the others work on images."""
OPTIONAL = ("train_teacher", "train_upper_bound")


def line_page(project: Project) -> dict[str, Any]:
    """What the page shows."""
    return {**line_state(project), "figures": _figures(project), "notes": _notes(), "report": REPORT.exists()}


def line_state(project: Project) -> dict[str, Any]:
    """The part that changes while a run goes on: graph, table and what DVC last said."""
    looking = project.state.refresh()
    answer = project.state.answer or {"running": False, "stages": []}
    said = {entry["name"]: entry for entry in answer["stages"]}
    wiring, metrics = read_wiring(), _json(DATA / "evaluation" / "metrics.json")
    splits = split_names(metrics)
    runs = _runs(project)
    stages = [_stage(name, said.get(name), metrics, splits, runs.get(name, ())) for name in wiring]
    return {
        "stages": stages,
        "splits": [split for split in splits if any(stage["scores"].get(split) for stage in stages)],
        "linked": any(stage["links"] for stage in stages),
        "graph": graph(wiring, stages),
        "stale": sum(stage["state"] in ("stale", "never run") for stage in stages),
        "known": bool(said),
        "looking": looking,
        "looked": project.state.made,
        "look": project.state.number,
        "problem": project.state.problem,
        "running": answer["running"],
        "slowest": max((stage["seconds"] or 0.0 for stage in stages), default=0.0),
        "seconds": sum(stage["seconds"] or 0.0 for stage in stages),
    }


def _stage(
    name: str, said: Mapping[str, Any] | None, metrics: Mapping[str, float], splits: list[str], links: Any
) -> dict[str, Any]:
    report = _json(DATA / "reports" / f"{name}.json")
    state = str(said["state"]) if said else "unknown" if report else "never run"
    scores = {split: found for split in splits if (found := stage_score(metrics, name, split))}
    return {
        "name": name,
        "state": state,
        "mark": MARKS.get(state, "·"),
        "reasons": list(said["reasons"]) if said else [],
        "made": what_it_made(report) if report else "",
        "seconds": report.get("seconds"),
        "memory": report.get("peak_memory_mb"),
        "scores": scores,
        "links": links,
    }


def graph(wiring: Mapping[str, StageWiring], stages: list[dict[str, Any]]) -> Markup:
    """The stages in three lanes; an arrow where one reads what another wrote, but for ways round."""
    before = {name: _before(name, wiring) for name in wiring}
    rank: dict[str, int] = {}
    taken: set[tuple[int, int]] = set()
    for name in wiring:
        lane = lane_of(name)
        place = 1 + max((rank[b] for b in before[name]), default=-1)
        while {(lane, place - 1), (lane, place), (lane, place + 1)} & taken:  # boxes are wider than a rank
            place += 1
        rank[name] = place
        taken.add((lane, place))
    boxes = []
    for stage in stages:
        scores = [f"{measure} {percent(v)}" for measure, v in stage["scores"].values()]
        boxes.append(
            Box(
                id=stage["name"],
                title=stage["name"],
                lane=lane_of(stage["name"]),
                rank=rank[stage["name"]],
                lines=(", ".join([duration(stage["seconds"]), *scores[:1]]) if stage["made"] else stage["state"],),
                kind=f"state-{stage['state'].replace(' ', '-')}",
                href=f"#stage-{stage['name']}",
                mark=stage["mark"],
                says="\n".join([f"{stage['name']}: {stage['state']}", stage["made"], *stage["reasons"][:6]]).strip(),
            )
        )
    arrows = [Arrow(b, name) for name in wiring for b in before[name] if not _round_about(b, name, before)]
    return draw(boxes, arrows, label="The line: stages, and what each of them reads")


def lane_of(stage: str) -> int:
    """Networks above, images in the middle, thresholds below, and with them what the line can do without."""
    return THRESHOLDS if stage in OPTIONAL else LANES.get(stage.partition("_")[0], IMAGES)


def _before(name: str, wiring: Mapping[str, StageWiring]) -> set[str]:
    """The stages whose outputs a stage reads, among those that stand before it."""
    found = set()
    for other, wired in wiring.items():
        if other == name:
            break
        folders = {"/".join(Path(out).parts[:2]) for out in wired.outs}
        if folders & set(wiring[name].deps):
            found.add(other)
    return found


def _round_about(start: str, end: str, before: Mapping[str, set[str]]) -> bool:
    """Whether another way leads from one stage to the other."""
    waiting, seen = [b for b in before[end] if b != start], set[str]()
    while waiting:
        at = waiting.pop()
        if at == start:
            return True
        if at not in seen:
            seen.add(at)
            waiting += before[at]
    return False


def _runs(project: Project) -> dict[str, list[tuple[str, str]]]:
    """Stage → (name, address) of the run that made what it left, as the ledger's last line says."""
    try:
        with project.lookup() as lookup:
            lines = [event for event in lookup.events if event["event"] == "line"]
            details = {e["subject"]: e["detail"] for e in lookup.events if e["event"] == "execution"}
    except UserError:
        return {}
    tags = {line["subject"]: line["detail"]["tags"] for line in lines}
    found = {}
    for stage, run in (lines[-1]["detail"]["stages"] if lines else {}).items():
        found[stage] = run_links(project, run, tags.get(details.get(run, {}).get("line", ""), {}))
    return found


def _figures(project: Project) -> list[tuple[str, str, str, str]]:
    """(figure, unit, what it says, address) of the whole project."""
    try:
        images = project.images()
    except UserError:
        return []
    found = [(f"{images.count:,}", "", "images", "/images")]
    if images.quarantined:
        found.append((f"{images.quarantined:,}", "", "of them quarantined", "/images?state=quarantined"))
    metrics = _json(DATA / "evaluation" / "metrics.json")
    for split in split_names(metrics):
        for what, name in (("masks", "pseudo-masks"), ("model", "model")):
            if f"miou/{split}/{what}" in metrics:
                found.append((percent(metrics[f"miou/{split}/{what}"]), "%", f"mIoU of the {name} on {split}", ""))
    try:
        with project.lookup() as lookup:
            found.append((str(len(lookup.models)), "", "models recorded", "/models"))
    except UserError:
        pass
    return found


def _notes() -> list[str]:
    """What a person should know before believing a figure."""
    notes = []
    left_out = read_left_out()
    if left_out:
        more = f"; and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        notes.append(f"{len(left_out)} left out by the import: {'; '.join(i.line for i in left_out[:5])}{more}")
    metrics = _json(DATA / "evaluation" / "metrics.json")
    if metrics and not metrics.get("true_masks"):
        notes.append("There are no true masks, so nothing was scored.")
    return notes


def _json(path: Path) -> dict[str, Any]:
    """A file's content; empty where there is none, or where it is being written."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
