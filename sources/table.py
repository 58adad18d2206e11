"""A table of photographs: CSV, JSON lines or Parquet, with a column of paths and a column of tags, or one for each class.

    path    path, file, filename, file_name, image, image_path, url, …: a path from the table's folder (or --root), or a URL
            (http, https, s3, gs, az, sftp, …), fetched once into data/raw/table/
    tags    tags, tag, labels, label, classes or class: a list, or tags separated by `|`, `;` or `,`; empty is a legal negative
            --tag-columns a,b: columns of 0 and 1 instead, each for the class of its name
    id      image_id or id; without it the path without its suffix is the image id
    list    split, list, lists, subset, …: train, val, …; without it --val-fraction splits them

Other column names are given with --path-column, --tags-column and so on. A photograph may have several rows, as in tables
of objects: their tags are joined.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import PHOTOGRAPHS, RAW
from labelfactory.masking import masked, masked_addresses
from labelfactory.schema import MAX_CLASSES
from sources._batch import Batch, Candidate
from sources._cells import id_of_cell, tags_of_cell
from sources._fetch import REMOTE, fetch
from sources._findings import Findings
from sources._folder_names import is_unlabeled, list_of
from sources._rows import MORE, Rows, read_rows
from sources._table_columns import (
    CONFIDENCE,
    ColumnNames,
    absent_values,
    find_columns,
    needed_columns,
    tags_of_flags,
)
from sources._table_objects import TableRow, one_of_each
from sources._table_paths import OtherFileError, TablePaths
from sources._tag_cells import NotTagsError, tags_in

NO_VALUE = ("nan", "NaN", "None", "null", "NULL", "<NA>", "NaT")
"""How programs write an empty cell as text."""


@dataclass(frozen=True)
class TableForm:
    """How a table is written, where that is not said by the table."""

    columns: ColumnNames = field(default_factory=ColumnNames)
    separator: str = ""  # between the tags of a text; empty for `|`, `;` and `,`
    encoding: str = ""  # of a text; empty to find out
    own_lists: Sequence[str] = ("train", "val")  # names of lists that stay, whatever they could mean


def find_table(
    path: Path, *, root: Path | None = None, form: TableForm | None = None, list_name: str = "", keep: bool = True
) -> Batch:
    """Find the photographs of a table; none is opened.

    Args:
        path: the table, .csv, .tsv, .txt, .jsonl, .ndjson, .json or .parquet.
        root: the folder that paths are relative to and must stay inside of; None for the table's own.
        form: how the table is written.
        list_name: put all photographs on this list.
        keep: keep what is fetched from URLs in data/raw/table.

    Raises:
        DataError: the table is missing or has an unknown suffix, or a column that is needed cannot be read.
        UserError: there is no such encoding.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file", "Name a table: .csv, .jsonl or .parquet.")
    findings = Findings(path)
    form = form or TableForm()
    rows = read_rows(findings, path, needed=lambda names: needed_columns(names, form.columns), encoding=form.encoding)
    names = find_columns(findings, rows, form.columns) if not findings.problems else {}
    candidates: list[Candidate] = []
    if names and not findings.problems:
        reader = _Reader(findings, rows, names, root or path.parent, form, keep)
        read = [reader.row(f"{path.name}, row {number}", row) for number, row in rows.rows]
        candidates = one_of_each(findings, [row for row in read if row], names["path"])
        reader.say()
    if list_name:
        candidates = [replace(c, lists=(list_name,)) for c in candidates]
    else:
        candidates = _usual_lists(findings, _labeled(findings, candidates), form.own_lists)
    if not form.separator:
        _say_blanks(findings, candidates)
    return Batch(
        path,
        f"import table {path}",
        form.columns.tag_columns,
        candidates=tuple(candidates),
        left_out=tuple(findings.left_out),
        problems=tuple(findings.problems),
        decisions=tuple(findings.decisions),
    )


class _Reader:
    """Reads the rows of a table, whose columns are known."""

    def __init__(
        self, findings: Findings, rows: Rows, names: Mapping[str, str], home: Path, form: TableForm, keep: bool
    ) -> None:
        self._findings, self._names, self._home, self._form, self._keep = findings, names, home, form, keep
        self._paths = TablePaths(home)
        self._absent = absent_values(rows, form.columns.tag_columns)
        self._more_are_tags = rows.columns[-1:] == (names.get("tags"),)
        self._width = len(rows.columns)
        self._counts: Counter[str] = Counter()

    def say(self) -> None:
        """Note where the table was read in another way than its text says."""
        for what, count in (*self._paths.counts.items(), *self._counts.items()):
            self._findings.decisions.append(f"{what} ({count} rows)")

    def row(self, where: str, row: Mapping[str, Any]) -> TableRow | None:
        """What a row says; None, and a note, if it names no photograph."""
        names, findings = self._names, self._findings
        stated = row.get(names["path"])
        if not isinstance(stated, str) or not stated.strip() or "\0" in stated:
            findings.leave_out("", where, "names no photograph" if not stated else f"{stated!r} is not a path")
            return None
        stated = stated.strip()
        tags = self._tags(row)
        if isinstance(tags, str):
            findings.leave_out("", where, tags, path=stated)
            return None
        own_id = id_of_cell(row.get(names.get("id", "")))
        if own_id is None:
            reason = f"{str(row[names['id']])[:60]!r} is not an image id: a text or a whole number"
            findings.leave_out("", where, reason, path=stated)
            return None
        lists = self._lists(row)
        if lists is None:
            reason = f"{str(row[names['list']])[:60]!r} is not a list of lists"
            findings.leave_out(own_id or _usual_id(stated), where, reason, path=stated)
            return None
        load: Callable[[], bytes] | None = None
        if "://" in stated:
            try:
                address, digest = urlsplit(stated), digest_bytes(stated.encode())
            except ValueError as error:
                findings.leave_out(own_id or _usual_id(stated), where, f"{stated!r} is not a URL: {error}")
                return None
            if address.scheme.lower() not in REMOTE or "::" in stated:
                reason = f"{stated!r}: URLs must begin with one of {', '.join(REMOTE)}"
                findings.leave_out(own_id or _usual_id(stated), where, reason)
                return None
            suffix = PurePosixPath(address.path).suffix
            path = RAW / "table" / f"{digest[:32]}{suffix if suffix.lower() in PHOTOGRAPHS else ''}"
            load = fetch(stated, path, keep=self._keep)
        else:
            try:
                stated, path = self._paths.find(stated)
            except OtherFileError as error:
                findings.leave_out(own_id or _usual_id(stated), where, str(error), path=stated)
                return None
        image_id = own_id or _usual_id(stated)
        candidate = Candidate(
            image_id, path, tags, lists, where, photograph_bytes=load, within=self._home, fetched=bool(load)
        )
        return TableRow(stated, candidate, bool(own_id))

    def _tags(self, row: Mapping[str, Any]) -> tuple[str, ...] | str:
        """The tags of a row, or why it has none."""
        if self._form.columns.tag_columns:
            return tags_of_flags(row, self._form.columns.tag_columns, self._absent)
        more = row.get(MORE, [])
        if more and not self._more_are_tags:
            return f"{self._width + len(more)} cells, the header has {self._width}"
        cell = row.get(self._names["tags"])
        if isinstance(cell, str) and cell.strip() in NO_VALUE:
            self._counts[f"{cell.strip()} was read as an empty cell"] += 1
            return ()
        try:
            cells = [tags_in(cell, self._form.separator) for cell in (cell, *more)]
        except NotTagsError as error:
            return str(error)
        if more:
            self._counts["cells beyond the header were read as tags"] += 1
        confidence = str(row.get(self._names.get(CONFIDENCE, ""), "")).strip()
        if confidence in ("0", "0.0") and cells[0]:
            self._counts["a confidence of 0 says that the tag is not there"] += 1
            return ()
        return tuple(dict.fromkeys(tag for cell in cells for tag in cell))

    def _lists(self, row: Mapping[str, Any]) -> tuple[str, ...] | None:
        name = self._names.get("list", "")
        cell = row.get(name)
        if name.lower() == "is_valid" and str(cell).lower() in ("true", "false", "0", "1"):  # fastai's
            return ("val" if str(cell).lower() in ("true", "1") else "train",)
        return tags_of_cell(cell)


def _usual_id(stated: str) -> str:
    """The path without its suffix, and without tokens of an address; an address with a secret of the environment is told by a
    digest: ids are in manifests, ledgers and exports.
    """
    image_id = masked_addresses(stated.removesuffix(PurePosixPath(stated).suffix))
    if "://" not in stated or (hidden := masked(image_id)) == image_id:
        return image_id
    return f"{hidden}-{digest_bytes(stated.encode())[:16]}"


def _labeled(findings: Findings, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that have a tag or are on another list than `unlabeled`: of the others nobody said what they show."""
    labeled = [c for c in candidates if c.tags or not c.lists or not all(map(is_unlabeled, c.lists))]
    if count := len(candidates) - len(labeled):
        findings.decisions.append(f"{count} photographs without a tag on a list of unlabeled ones are not taken")
    return labeled


def _usual_lists(findings: Findings, candidates: Sequence[Candidate], own: Sequence[str]) -> list[Candidate]:
    """The lists under their usual names: TRAIN, training and valid are train and val."""
    names = {name for candidate in candidates for name in candidate.lists}
    usual = {name: known for name in names if (known := list_of(name)) and name not in own and known != name}
    if usual:
        counts = Counter(name for candidate in candidates for name in candidate.lists if name in usual)
        said = ", ".join(f"{name} → {usual[name]} ({n})" for name, n in sorted(counts.items()))
        findings.decisions.append(f"lists by their names: {said}")
    return [replace(c, lists=tuple(dict.fromkeys(usual.get(name, name) for name in c.lists))) for c in candidates]


def _say_blanks(findings: Findings, candidates: Sequence[Candidate]) -> None:
    """Tags of several words that recur in others may be several tags: `haze primary`, `clear primary`."""
    names = {tag for candidate in candidates for tag in candidate.tags}
    several = sorted(name for name in names if " " in name)
    words = {word for name in names for word in name.split()}
    if len(several) < 2 or len(words) >= len(names):
        return
    count = sum(any(" " in tag for tag in candidate.tags) for candidate in candidates)
    said = f"each of {several[0]!r}, {several[1]!r}, … is one tag ({count} photographs); --separator ' ' splits them at blanks"
    if len(names) > MAX_CLASSES:
        findings.add(findings.root.name, said)
    else:
        findings.decisions.append(said)
