"""The table `images` of a snapshot: one row per image, made from the files below in DuckDB. Payloads stay on disk.

Files    data/dataset/images.parquet, every shard's columns without payload, data/evaluation/images.parquet, the ledger's times
Columns  those of the data set; `digest`, `key`, `source` and quality of the mask, of its classes too: `rated`, their ids, and
         `quality_of` each; `digest_<noun>` of every row output;
         `miou_<name>` of every score, of them again `miou_of_mask` and `miou_of_model`; `scored`; `time` of the mask in the
         ledger; `set_aside_by` and `why` of quarantine; `earlier`: what of the data set has changed since the mask on disk was made
A row of an earlier photograph, of earlier tags or classes is none of the image: its columns are NULL.
A score is NULL unless it was measured on what is on disk now.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.prepared import IMAGES
from labelfactory.dataset.tables import HEAD
from labelfactory.errors import DataError, MissingError, first_line
from labelfactory.learning.checkpoints import CHECKPOINT
from labelfactory.rows.pairing import CLASSES, PHOTOGRAPH, TAGS
from labelfactory.rows.scored import SCORED_IMAGES
from labelfactory.settings.thresholds import THRESHOLDS
from labelfactory.settings.wiring import DATA, StageWiring, read_wiring
from labelfactory.stage.output_state import LIST
from lineage.evaluation import evaluation_of, measured_in, present
from lineage.index import rows_digest_sql
from lineage.lookup import Lookup

QUALITY = ("mean_confidence", "void_share", "agreement")
_RATED = pa.schema(
    [
        ("image_id", pa.string()),
        ("mask_digest", pa.string()),
        ("quality", pa.float32()),
        ("rated", pa.list_(pa.uint8())),
        ("quality_of", pa.list_(pa.float32())),
    ]
)
PARQUET = "read_parquet(?, hive_partitioning = false)"


def files_behind() -> tuple[tuple[str, int, int], ...]:
    """The files that the table is made of, with size and time: another answer needs another table."""
    wiring = read_wiring()
    shards = [path for noun in wiring.row_outputs for path in sorted((DATA / noun).glob("shard-*.parquet"))]
    others = [DATA / noun / CHECKPOINT for noun in wiring.networks]
    others += [DATA / stage.noun / THRESHOLDS for stage in wiring.of_kind("thresholds")]
    files = []
    for path in (IMAGES, SCORED_IMAGES, *shards, *others):
        try:
            stat = path.stat()
        except FileNotFoundError:  # a stage is replacing its files
            continue
        files.append((str(path), stat.st_size, stat.st_mtime_ns))
    return tuple(files)


def read_head() -> dict[str, Any]:
    """What the data set says of itself: classes, lists.

    Raises:
        MissingError: there is no data set.
        DataError: it is damaged.
    """
    if not IMAGES.exists():
        raise MissingError("there is no data set yet", "Type `labelfactory import demo`, then `labelfactory run`.")
    try:
        head = dict(json.loads(pq.read_schema(IMAGES).metadata[HEAD]))
        head["classes"] = [str(name) for name in head["classes"]]
        head["train_list"], head["val_list"] = str(head["train_list"]), str(head["val_list"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError) as error:
        problem = f"{IMAGES}: not readable: {first_line(error)}"
        raise DataError(problem, "Type `labelfactory import …`, then `labelfactory run`.") from None
    return head


@dataclass(frozen=True)
class Scored:
    """What the table knows of scores.

    Attributes:
        digests: noun of each row output → digest of its rows on disk.
        unmeasured: names of the scores in data/evaluation that are not those of what is on disk.
        truths: whether the true masks in data/evaluation are of the photographs and classes of the data set.
    """

    digests: Mapping[str, str]
    unmeasured: frozenset[str]
    truths: bool


def make_image_table(connection: duckdb.DuckDBPyConnection, lookup: Lookup | None, classes: Sequence[str]) -> Scored:
    """Make the table `images` in a database.

    Args:
        connection: the database.
        lookup: the ledger, for times; None where nothing was recorded.
        classes: of the data set, without the background.

    Returns:
        What belongs to the scores in it.

    Raises:
        duckdb.Error: a file is damaged.
    """
    wiring = read_wiring()
    masks, nouns = wiring.masks, wiring.row_outputs
    names = [stage.meta.scores.name for stage in wiring.scored if not stage.meta.scores.reference]
    connection.execute(f"CREATE TABLE dataset AS SELECT * FROM {PARQUET}", [[str(IMAGES)]])
    for noun in nouns:
        _rows_of(connection, noun, masks, classes)
    row_digests = _digests(connection, nouns)
    measured, truths = _scores(connection, names, row_digests)
    connection.register("rated", _rated(connection, masks.noun))
    connection.register("ledger_times", _times(connection, lookup, masks.noun))
    checks = "".join(stage.name for stage in wiring.of_kind("prepare"))
    # outputs in the line's order: the first that set an image aside hides what follows from it
    aside = "".join(f", CASE WHEN \"{noun}\".status <> 'ok' THEN '{noun}' END" for noun in nouns)
    why = "".join(f", nullif(\"{noun}\".reason, '')" for noun in nouns)
    digests = "".join(f'nullif("{noun}".digest, \'\') AS "digest_{noun}", ' for noun in nouns)
    scores = "".join(f's."{name}" AS "miou_{name}", ' for name in names)
    current = "(SELECT * FROM \"rows_{noun}\" WHERE earlier = '')"
    joins = " ".join(f'LEFT JOIN {current.format(noun=noun)} "{noun}" USING (image_id)' for noun in nouns)
    mask = f'"{masks.noun}"'
    connection.execute(
        f"""CREATE TABLE images AS SELECT d.*,
            coalesce(CASE WHEN d.status <> 'ok' THEN '{checks}' END{aside}, '') AS set_aside_by,
            coalesce(nullif(d.reason, ''){why}, '') AS why,
            nullif({mask}.digest, '') AS digest, {mask}.key AS key, {mask}.source,
            {", ".join(f"{mask}.{name}" for name in QUALITY)}, q.quality, q.rated, q.quality_of, {digests} {scores}
            s."{masks.meta.scores.name}" AS miou_of_mask, s."{wiring.model.meta.scores.name}" AS miou_of_model,
            s.image_id IS NOT NULL AS scored, t.time, coalesce(e.earlier, '') AS earlier
        FROM dataset d {joins} LEFT JOIN scores s USING (image_id)
        LEFT JOIN (SELECT image_id, earlier FROM "rows_{masks.noun}" WHERE earlier <> '') e USING (image_id)
        LEFT JOIN rated q ON q.image_id = d.image_id AND q.mask_digest = {mask}.digest
        LEFT JOIN ledger_times t ON t.image_id = d.image_id AND t.digest = {mask}.digest AND t.key = {mask}.key
        ORDER BY d.position"""
    )
    for name in (*(f"rows_{noun}" for noun in nouns), "dataset", "scores"):
        connection.execute(f'DROP TABLE "{name}"')
    connection.unregister("ledger_times")
    connection.unregister("rated")
    return Scored(row_digests, frozenset(names) - measured if SCORED_IMAGES.exists() else frozenset(), truths)


def _rows_of(connection: duckdb.DuckDBPyConnection, noun: str, masks: StageWiring, classes: Sequence[str]) -> None:
    """The rows of an output without their payload, masks with source and quality; an empty table where there is no shard.

    `earlier`: PHOTOGRAPH, TAGS or CLASSES where a row does not belong to the data set, as `labelfactory.rows.pairing` has it.
    """
    paths = [str(path) for path in sorted((DATA / noun).glob("shard-*.parquet"))]
    names = ["image_id", "key", "digest", "status", "reason"]
    if paths:
        if noun == masks.noun:
            names += [*QUALITY, "source"]
        fields = [f"r.{name}" for name in names]
        if noun == masks.noun and "source" not in _columns(Path(paths[0])):
            fields[-1] = f"'{masks.name}' AS source"
        connection.execute(
            f"""CREATE TABLE "rows_{noun}" AS SELECT {", ".join(fields)}, CASE
                WHEN r.status <> 'ok' OR d.sha256 IS NULL THEN ''
                WHEN json_extract_string(r.inputs, '$.image') IS DISTINCT FROM d.sha256 THEN '{PHOTOGRAPH}'
                WHEN json_extract(r.inputs, '$.classes')::VARCHAR[] <> ?::VARCHAR[] THEN '{CLASSES}'
                WHEN json_extract(r.inputs, '$.tags')::VARCHAR[] <> d.tags THEN '{TAGS}'
                ELSE '' END AS earlier
            FROM {PARQUET} r LEFT JOIN dataset d USING (image_id)""",
            [list(classes), paths],
        )
        return
    columns = [f"{name} VARCHAR" for name in (*names, "earlier")]
    if noun == masks.noun:
        columns += [*(f"{name} FLOAT" for name in QUALITY), "source VARCHAR"]
    connection.execute(f'CREATE TABLE "rows_{noun}" ({", ".join(columns)})')


def _columns(path: Path) -> list[str]:
    """Columns of a Parquet file; none of a damaged one, which DuckDB then names."""
    try:
        names: list[str] = pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return []
    return names


def _times(connection: duckdb.DuckDBPyConnection, lookup: Lookup | None, noun: str) -> pa.Table:
    """When the ledger recorded each mask on disk: image_id, digest, key, time in milliseconds since 1970."""
    masks = connection.sql(f"SELECT image_id, digest, key FROM \"rows_{noun}\" WHERE digest <> ''").to_arrow_table()
    if lookup is None or not masks.num_rows:
        return masks.append_column("time", pa.nulls(masks.num_rows, pa.int64()))
    ledger = lookup.connection.cursor()
    ledger.register("on_disk", masks)
    return ledger.sql(
        """SELECT o.image_id, o.digest, o.key, max(m.time) AS time FROM masks m JOIN on_disk o
        ON m.image_id = o.image_id AND m.digest = unhex(o.digest) AND m.key = unhex(o.key) GROUP BY ALL"""
    ).to_arrow_table()


def _rated(connection: duckdb.DuckDBPyConnection, noun: str) -> pa.Table:
    """The quality of an output's rows: image_id, mask_digest, quality, and by class `rated` and `quality_of`."""
    maker = read_wiring().rating(noun)
    paths = sorted((DATA / maker.noun).glob("shard-*.parquet")) if maker is not None else []
    if not paths:
        return _RATED.empty_table()
    query = f"""SELECT image_id, mask_digest, quality, class_ids.data AS ids, expected_iou.data AS ious
        FROM {PARQUET} WHERE status = 'ok'"""
    found: pa.Table = connection.sql(query, params=[[str(path) for path in paths]]).to_arrow_table()
    lists = {"rated": _lists(found["ids"], "uint8"), "quality_of": _lists(found["ious"], "float32")}
    return pa.table({**{name: found[name] for name in ("image_id", "mask_digest", "quality")}, **lists})


def _lists(blobs: pa.ChunkedArray, dtype: str) -> pa.Array:
    """Arrays that were stored as bytes, as lists."""
    parts = [np.frombuffer(blob, np.dtype(dtype).newbyteorder("<")) for blob in blobs.to_pylist()]
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, np.concatenate([*parts, np.empty(0, dtype)]).astype(dtype))


def _digests(connection: duckdb.DuckDBPyConnection, nouns: Sequence[str]) -> dict[str, str]:
    """Noun → digest of its usable rows, as `labelfactory.stage.output_state` gives it."""
    digest = rows_digest_sql("image_id", "digest")
    queries = {noun: f"SELECT {digest} FROM \"rows_{noun}\" WHERE status = 'ok'" for noun in nouns}
    digests = {noun: connection.execute(query).fetchone() for noun, query in queries.items()}
    return {noun: str(row[0]) for noun, row in digests.items() if row and row[0]}


def _scores(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str], digests: Mapping[str, str]
) -> tuple[set[str], bool]:
    """The mIoU of each scored image by score name; NULL for one that is not measured.

    Returns:
        The names of the others, and whether the lists are those that were scored: their true masks are of these photographs and
        classes.
    """
    if SCORED_IMAGES.exists():
        evaluation = evaluation_of({}, measured_in(_head(SCORED_IMAGES)))
        now = present(evaluation, digests)
        measured = evaluation.names(now) & set(_columns(SCORED_IMAGES))
        lists = {name for name in evaluation.measured if name.startswith(f"{LIST} ")}
        columns = "".join(f', "{name}"' if name in measured else f', NULL::FLOAT AS "{name}"' for name in names)
        connection.execute(f"CREATE TABLE scores AS SELECT image_id{columns} FROM {PARQUET}", [[str(SCORED_IMAGES)]])
        return measured, bool(lists) and lists <= evaluation.fits(now)
    columns = "".join(f', "{name}" FLOAT' for name in names)
    connection.execute(f"CREATE TABLE scores (image_id VARCHAR{columns})")
    return set(), True


def _head(path: Path) -> object:
    """What a table's header says; None where there is none."""
    try:
        return json.loads((pq.read_schema(path).metadata or {}).get(HEAD, b"null"))
    except (OSError, ValueError, pa.ArrowException):
        return None
