"""The level of masks and model from audited images, as a sentence and a small table."""

from dataclasses import dataclass

from labelfactory.dataset.level_record import UNKNOWN, Figure, read_level, sentence
from labelfactory.stage.level_now import present_levels


@dataclass(frozen=True)
class LevelTable:
    """What the page shows of an estimate.

    Attributes:
        sentence: for a person.
        heads: what was estimated.
        rows: name of a class, or mIoU, and for each head its estimate and its interval in per cent.
    """

    sentence: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def level_table(classes: list[str]) -> LevelTable:
    """The last estimate, if it is of the outputs on disk; without rows where there is none.

    Args:
        classes: names by class id.
    """
    record = read_level()
    levels = present_levels(record) if record is not None else {}
    rows = [("mIoU", tuple(_cell(level.miou) for level in levels.values()))]
    rows += [(name, tuple(_cell(level.iou.get(name)) for level in levels.values())) for name in classes]
    return LevelTable(sentence(record, levels), tuple(levels), tuple(rows) if levels else ())


def _cell(figure: Figure | None) -> tuple[str, str]:
    if figure is None:
        return "–", ""
    if figure.low is None or figure.high is None:
        return f"{100 * figure.value:.1f}", UNKNOWN
    return f"{100 * figure.value:.1f}", f"{100 * figure.low:.1f} – {100 * figure.high:.1f}"
