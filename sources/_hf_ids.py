"""Image ids of the rows of a Hugging Face dataset, which differ even where the dataset's own do not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sources._cells import id_of_cell
from sources._findings import Findings
from sources._hf_columns import ID_COLUMNS

Row = tuple[str, Mapping[str, Any]]
"""The list that a row's split becomes, and its cells."""


def image_ids(findings: Findings, rows: Sequence[Row]) -> list[str | None]:
    """An image id for each row: the dataset's own, with its split where ids restart in each, or the row's number.

    Args:
        findings: gets what was decided.
        rows: of all files, in order.

    Returns:
        None for a row whose id is not a text or a whole number.
    """
    stated = [[id_of_cell(row.get(name)) for name in ID_COLUMNS] for _, row in rows]
    splits = [split for split, _ in rows]
    own, restart = [""] * len(rows), False
    for index, name in enumerate(ID_COLUMNS):
        ids = [cells[index] or "" for cells in stated]
        again = _repeated(ids)
        restart = bool(again) and not _repeated((split, id_) for split, id_ in zip(splits, ids, strict=True) if id_)
        if restart:
            findings.decisions.append(f"ids of the column {name!r} restart in each split: the split is put before them")
        elif again:
            findings.decisions.append(f"ids of the column {name!r} repeat ({again!r}), so they are not used")
            continue
        if any(ids):
            own = ids
            break
    numbers: Counter[str] = Counter()
    result: list[str | None] = []
    for split, cells, id_ in zip(splits, stated, own, strict=True):
        number = f"{split or 'row'}-{numbers[split]:06d}"
        numbers[split] += 1
        result.append(None if None in cells else f"{split}-{id_}" if id_ and restart else id_ or number)
    return result


def _repeated(ids: Iterable[Any]) -> Any:
    """An id that appears twice; empty where all differ."""
    return next((id_ for id_, count in Counter(filter(None, ids)).items() if count > 1), "")
