"""Which estimate from audited images is of the outputs that are on disk now."""

from collections.abc import Mapping
from typing import Any

from labelfactory.dataset.level_record import (
    Figure,
    LevelOf,
    LevelRecord,
    Refit,
    answers_digest,
    figures_of,
    read_level,
    sentence,
)
from labelfactory.stage.output_state import list_state, output_state

INTERVAL = 0.95


def present_level(*outputs: str) -> dict[str, Any] | None:
    """The last estimate of what is on disk now; None where there is none, or where it is of other digests.

    Args:
        outputs: nouns of the outputs that are wanted; none for all.
    """
    record = read_level()
    if record is None:
        return None
    levels = present_levels(record)
    wanted = {what: level for what, level in levels.items() if not outputs or level.output in outputs}
    return told(record, wanted) if wanted else None


def present_levels(record: LevelRecord) -> dict[str, LevelOf]:
    """The estimates of a record that are of what is on disk now, of the same answers."""
    if record.answers not in ("", answers_digest()):
        return {}
    nouns = {noun for level in record.estimates.values() for noun in (level.output, level.rows) if noun}
    states = {noun: output_state(noun) for noun in nouns}
    digests = {name: str(state["digest"]) for name, state in states.items() if state is not None}
    listed = list_state(record.list)
    return record.of(digests | ({f"list {record.list}": str(listed["digest"])} if listed else {}))


def present_classes(output: str) -> dict[str, Figure]:
    """Class → its IoU in an output as it is on disk now, by audited images; empty where there is no estimate of it."""
    record = read_level()
    levels = present_levels(record).values() if record is not None else ()
    return {name: figure for level in levels if level.output == output for name, figure in level.iou.items()}


def present_refit(masks: str, quality: str) -> Refit | None:
    """What brings the expected IoUs on disk to the level of audited ones; None where it was fitted to other masks or qualities.

    Args:
        masks, quality: nouns of the outputs.
    """
    record = read_level()
    if record is None or record.refit is None or not any(e.output == masks for e in present_levels(record).values()):
        return None
    now = output_state(quality)
    return record.refit if now is not None and record.digest_of(quality) == str(now["digest"]) else None


def level_sentence() -> str:
    """For a person: how good masks and model on disk are by audited images, or why that is unknown."""
    record = read_level()
    return sentence(record, present_levels(record) if record is not None else {})


def told(record: LevelRecord, levels: Mapping[str, LevelOf]) -> dict[str, Any]:
    """An estimate for passports and provenance: figures with interval, sample and seed, and what it was measured on."""
    return {
        "interval": INTERVAL,
        "list": record.list,
        "audited": record.audited,
        "by_points": record.by_points,
        "population": record.population,
        "seed": record.seed,
        "figures": {key: round(value, 4) for key, value in figures_of(record, levels)},
        "measured": {str(state["name"]): str(state["digest"]) for state in record.measured},
    }
