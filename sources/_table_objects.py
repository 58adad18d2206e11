"""A table with a row for each object: the rows of a photograph become one, with all tags."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sources._batch import Candidate
from sources._findings import Findings


@dataclass(frozen=True)
class TableRow:
    """What one row says."""

    stated: str  # the photograph, as the table calls it
    candidate: Candidate
    own_id: bool  # the row states the image id


def one_of_each(findings: Findings, rows: Sequence[TableRow], path_column: str) -> list[Candidate]:
    """A candidate for each photograph: tags and lists of its rows joined, which is noted as a decision.

    A photograph that has two ids, and a second photograph of the same id, are left out, with what to type.
    """
    groups: dict[object, list[TableRow]] = {}
    for row in rows:
        groups.setdefault(row.candidate.path, []).append(row)
    option = f"--id-column {path_column} takes the path instead"
    photographs: dict[str, TableRow] = {}
    for group in groups.values():
        row, candidate = group[0], group[0].candidate
        other = next((r.candidate for r in group if r.candidate.image_id != candidate.image_id), None)
        if other and any(r.own_id for r in group):
            reason = f"has two ids: {candidate.image_id!r} ({candidate.where}) and {other.image_id!r}; {option}"
            findings.leave_out(candidate.image_id, other.where, reason, path=row.stated)
            continue
        if (known := photographs.setdefault(candidate.image_id, row)) is not row:
            both = (
                f"{known.stated!r} ({known.candidate.where}) and {row.stated!r} have the same id {candidate.image_id!r}"
            )
            findings.leave_out(candidate.image_id, candidate.where, f"{both}; {option}", path=row.stated)
            continue
        tags = dict.fromkeys(tag for r in group for tag in r.candidate.tags)
        lists = dict.fromkeys(name for r in group for name in r.candidate.lists)
        joined = Candidate(**{**vars(candidate), "tags": tuple(tags), "lists": tuple(lists)})
        photographs[candidate.image_id] = TableRow(row.stated, joined, row.own_id)
    several = Counter(len(group) > 1 for group in groups.values())[True]
    if several:
        findings.decisions.append(f"{several} photographs are in several rows: the tags of their rows are joined")
    return [row.candidate for row in photographs.values()]
