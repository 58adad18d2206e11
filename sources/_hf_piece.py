"""One file of a Hugging Face dataset as a table, and the pictures of a folder as one."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from labelfactory.errors import DataError, in_short
from labelfactory.foreign_files import LARGEST_TABLE, FileRefusedError, check_regular
from sources._hf_card import Card
from sources._hf_files import METADATA, SplitFile, list_of
from sources._row_limit import check_rows, open_parquet

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FILE_NAME = "file_name"
"""The column of a metadata file that names a picture; one of `mask_file_name` becomes the column `mask`."""


@dataclass(frozen=True)
class Piece:
    """One table of a dataset: a Parquet or Arrow file, or pictures."""

    path: Path
    split: str  # the list of its photographs; empty where the dataset names none
    card: Card = field(default_factory=Card, compare=False)
    made: pa.Table | None = field(default=None, compare=False, repr=False)  # of pictures

    def schema(self) -> pa.Schema:
        """Names and types of its columns.

        Raises:
            DataError: damaged.
        """
        if self.made is not None:
            return self.made.schema
        return self._read(lambda: _named(pq.read_schema(self.path)), lambda stream: _named(stream.schema))

    def table(self, columns: list[str]) -> pa.Table:
        """All rows of some columns.

        Raises:
            DataError: damaged.
        """
        if self.made is not None:
            return self.made.select(columns)
        return self._read(
            lambda: open_parquet(self.path).read(columns).select(columns),
            lambda stream: _checked(stream.read_all().select(columns)),
        )

    def features(self) -> dict[str, Any]:
        """The features that the dataset states for its columns; empty if it states none."""
        stated = (self.schema().metadata or {}).get(b"huggingface")
        try:
            features = json.loads(stated)["info"]["features"] if stated else {}
        except (ValueError, KeyError, TypeError, RecursionError):  # a header of another form: the columns' types decide
            features = {}
        labels = {name: {"_type": "ClassLabel", "names": names} for name, names in self.card.names.items()}
        return features if isinstance(features, dict) and features else labels

    def _read(self, parquet: Callable[[], Any], arrow: Callable[[Any], Any]) -> Any:
        try:
            check_regular(self.path)
            if self.path.suffix.lower() == ".parquet":
                return parquet()
            with pa.memory_map(str(self.path)) as source:
                return arrow(_opened(source))
        except FileRefusedError as error:
            raise DataError(f"{self.path}: damaged: {error.reason}", "Save the dataset again.") from None
        except (OSError, pa.ArrowException, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self.path}: damaged: {reason}", "Save the dataset again.") from None


def _opened(source: Any) -> Any:
    """An Arrow stream, as `datasets` writes it, or the file format of other tools."""
    try:
        return pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_file(source)


def _named(schema: pa.Schema) -> pa.Schema:
    """A schema whose names are text. Raises UnicodeDecodeError, a ValueError."""
    _ = schema.names
    return schema


def _checked(table: pa.Table) -> pa.Table:
    """A table whose offsets lead nowhere outside of its file: Arrow reads memory by them as they are.

    Raises ArrowInvalid, and ValueError for too many rows.
    """
    check_rows(table.num_rows)
    table.validate(full=True)
    return table


def pieces_of(root: Path, files: Sequence[SplitFile], card: Card) -> list[Piece]:
    """The tables of a dataset, in order.

    Raises:
        DataError: a metadata file is not readable, or pictures have neither metadata nor folders of classes.
    """
    metadata = [file for file in files if file.path.name in METADATA]
    if metadata:
        return [Piece(f.path, list_of(f.split), made=_described(root, f.path)) for f in metadata]
    if all(file.path.suffix.lower() in (".parquet", ".arrow") for file in files):
        return [Piece(file.path, list_of(file.split), card) for file in files]
    return _of_folders(root, files)


def _described(root: Path, path: Path) -> pa.Table:
    """A metadata file as a table whose `file_name` columns are pictures, from its folder on."""
    try:
        check_regular(path, largest=LARGEST_TABLE)
        if path.suffix == ".csv":
            table = pa_csv.read_csv(path)
        elif path.suffix == ".jsonl":
            table = pa_json.read_json(path, pa_json.ReadOptions(block_size=min(path.stat().st_size + 1, 2**31 - 1)))
        else:
            table = open_parquet(path).read()
    except FileRefusedError as error:
        raise DataError(f"{path}: not readable: {error.reason}", "Mend this file.") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataError(f"{path}: not readable: {in_short(error, 120)}", "Mend this file.") from None
    folder = path.parent.relative_to(root)
    names = []
    for index, name in enumerate(table.column_names):
        if name == FILE_NAME or name.endswith(f"_{FILE_NAME}"):
            stated = [text if isinstance(text, str) else None for text in table.column(index).to_pylist()]
            cells = [{"bytes": None, "path": (folder / text).as_posix()} if text else None for text in stated]
            table = table.set_column(index, name, pa.chunked_array([pa.array(cells, PICTURE)]))
        names.append(name.removesuffix(f"_{FILE_NAME}") if name != FILE_NAME else "image")
    if FILE_NAME not in table.column_names:
        raise DataError(
            f"{path}: has no column {FILE_NAME!r} ({', '.join(table.column_names)})",
            f"Name the column of the pictures {FILE_NAME!r}.",
        )
    return table.rename_columns(names)


def _of_folders(root: Path, files: Sequence[SplitFile]) -> list[Piece]:
    """Pictures whose label is the folder that they lie in, if all lie equally deep; as `datasets` labels them."""
    names = [(PurePosixPath(file.path.relative_to(root).as_posix()), file.split) for file in files]
    labels = sorted({name.parent.name for name, _ in names})
    depths = Counter(len(name.parts) for name, _ in names)
    if len(labels) < 2 or len(depths) > 1:
        raise DataError(
            f"{root}: its pictures have no metadata.csv, and lie in {len(labels)} folders of {len(depths)} depths",
            "Write metadata.csv with the columns file_name and tags beside them, or type `labelfactory import folder DIR`.",
        )
    feature = {"label": {"_type": "ClassLabel", "names": labels}}
    header = {"huggingface": json.dumps({"info": {"features": feature}})}
    pieces = []
    for split in dict.fromkeys(split for _, split in names):
        here = [name for name, its_split in names if its_split == split]
        cells = pa.array([{"bytes": None, "path": name.as_posix()} for name in here], PICTURE)
        columns = {"image": cells, "label": [labels.index(name.parent.name) for name in here]}
        columns["id"] = [name.with_suffix("").as_posix() for name in here]
        table = pa.table(columns).replace_schema_metadata(header)
        pieces.append(Piece(root / (split or "pictures"), list_of(split), made=table))
    return pieces
