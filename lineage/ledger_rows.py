"""Rows of the ledger from shards and checkpoints: the inputs of each mask, and the training rows of each model."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelfactory.dataset.prepared import ImageRecord, read_dataset
from labelfactory.digests import digest_rows
from labelfactory.errors import DataError, MissingError, first_line
from labelfactory.learning.checkpoints import CHECKPOINT, TRAINING_ROWS, Passport
from labelfactory.settings.wiring import DATA, read_wiring
from lineage.artifacts import Artifact, cached_artifacts, header, passport_or_none
from lineage.ledger import ROW_COLUMNS, SCHEMAS, raw

OF_THE_IMAGE = ("image", "tags", "stage", "format", "classes")
"""Inputs of a row that stand elsewhere in the ledger or say nothing of how it was made."""
QUALITY = ("mean_confidence", "void_share", "agreement")
PLAIN = ("image_id", "key", "digest", "status", "inputs")

Inputs = Mapping[str, Any]
Label = tuple[bytes | None, str, bytes | None]
"""Photograph, tags and key of a row that models learn from."""


def shard_rows(path: Path) -> list[dict[str, Any]]:
    """The usable rows of a shard without their payload: inputs as a mapping, quality where it has any, and `source`.

    Raises:
        DataError: the file is damaged, or not a shard.
    """
    try:
        schema = pq.read_schema(path)
        columns = [*PLAIN, *(name for name in (*QUALITY, "source") if name in schema.names)]
        rows = pq.read_table(path, columns=columns, partitioning=None).to_pylist()
        good = [{**row, "inputs": dict(json.loads(row["inputs"]))} for row in rows if row["status"] == "ok"]
        for row in good:
            raw(row["digest"]), raw(row["key"])
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{path}: damaged: {first_line(error)}", f"Delete {path} and type `labelfactory run`."
        ) from None
    return [{"source": str(header(schema).get("stage", "")), **row} for row in good]


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    """`shard_rows`; none of a damaged file in DVC's cache, which may hold anything and stops no record."""
    try:
        return shard_rows(artifact.path)
    except DataError:
        if artifact.live:
            raise
        return []


@dataclass
class Chains:
    """The inputs of every row behind a mask: from the shards under data/, else from DVC's cache."""

    live: Iterable[Artifact]
    _rows: dict[tuple[str, str, str], Inputs] = field(default_factory=dict)
    _cache_read: bool = False

    def __post_init__(self) -> None:
        wiring = read_wiring()
        self.masks = wiring.masks.noun
        self.behind = tuple(reversed(wiring.rows_behind(self.masks)))
        """Row outputs that masks are made from, nearest first."""
        self._read(self.live)

    def _read(self, artifacts: Iterable[Artifact]) -> None:
        for artifact in artifacts:
            if artifact.content in self.behind:
                for row in rows_of(artifact):
                    self._rows[artifact.content, row["image_id"], row["digest"]] = row["inputs"]

    def inputs(self, noun: str, image_id: str, digest: str) -> Inputs:
        """Inputs of a row, empty where no shard holds it any more."""
        row_name = (noun, image_id, digest)
        if digest and row_name not in self._rows and not self._cache_read:
            self._cache_read = True
            self._read(cached_artifacts())
        return self._rows.get(row_name, {})

    def of_mask(self, row: Mapping[str, Any]) -> dict[str, tuple[str, Inputs]]:
        """Noun → digest and inputs of each row in the chain of a mask, the mask first."""
        chain: dict[str, tuple[str, Inputs]] = {self.masks: (row["digest"], row["inputs"])}
        for noun in self.behind:
            digest = next((str(inputs[noun]) for _, inputs in chain.values() if noun in inputs), "")
            chain[noun] = digest, self.inputs(noun, row["image_id"], digest)
        return chain


def mask_table(rows: Iterable[dict[str, Any]], chains: Chains, run: str, time: Any) -> pa.Table:
    """Rows of the ledger for masks, with the chain behind each."""
    entries = []
    for row in rows:
        inputs, chain = row["inputs"], chains.of_mask(row)
        entries.append(
            {
                "image_id": row["image_id"],
                "image": raw(inputs.get("image")),
                "tags": "|".join(inputs.get("tags", ())),
                "digest": raw(row["digest"]),
                "key": raw(row["key"]),
                "source": row["source"],
                **{column: raw(chain.get(noun, ("", {}))[0]) for noun, column in ROW_COLUMNS.items()},
                "recipe": json.dumps({noun: fixed(inputs) for noun, (_, inputs) in chain.items()}, sort_keys=True),
                **{name: row.get(name) for name in QUALITY},
                "run": run,
                "time": time,
            }
        )
    return pa.Table.from_pylist(entries, schema=SCHEMAS["masks"])


def fixed(inputs: Inputs) -> dict[str, str]:
    """What a row depends on beside its image and rows that the ledger has a column for: code, parameters, weights, thresholds."""
    return {k: v for k, v in sorted(inputs.items()) if k not in OF_THE_IMAGE and k not in ROW_COLUMNS}


@dataclass(frozen=True)
class Trained:
    """A model and the rows that it learnt from."""

    name: str
    passport: Passport
    rows: pa.Table | None  # image_id, digest, source; None where the list is lost
    time: Any
    live: bool
    files: Mapping[str, Path]  # name → where it lies: checkpoint, and list of rows


def trained_models(artifacts: Iterable[Artifact]) -> list[Trained]:
    """Checkpoints among some files, each with the list of rows whose digest its passport names, in order of time."""
    artifacts, wiring = list(artifacts), read_wiring()
    lists: dict[str, tuple[pa.Table, Path]] = {}
    models = []
    for artifact in artifacts:
        if artifact.content == TRAINING_ROWS:
            try:
                table = pq.read_table(artifact.path, partitioning=None)
                lists[rows_digest(table)] = table, artifact.path
            except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
                continue  # its model is recorded without the list, which `audit verify` says
    for artifact in artifacts:
        passport = passport_or_none(artifact.path) if artifact.content == CHECKPOINT else None
        if passport is not None:
            rows, path = lists.get(passport.training_rows_digest, (None, None))
            files = {CHECKPOINT: artifact.path} | ({TRAINING_ROWS: path} if path else {})
            name = wiring.noun_of(passport.stage)
            models.append(Trained(name, passport, rows, artifact.time, artifact.live, files))
    return sorted(models, key=in_order)


def in_order(model: Trained) -> tuple[Any, int, bool]:
    """By time, and models of the same second in the line's order, the one on disk after others of its network."""
    networks = read_wiring().networks
    return model.time, networks.index(model.name) if model.name in networks else len(networks), model.live


def rows_digest(table: pa.Table) -> str:
    """The digest that a passport gives of its training rows."""
    return digest_rows(zip(table.column("image_id").to_pylist(), table.column("digest").to_pylist(), strict=True))


class Labels:
    """What is known of the rows that models learn from: image, tags and key by image and digest."""

    def __init__(self, live: Iterable[Artifact], masks: pa.Table) -> None:
        self.live, self.masks = list(live), masks

    @cached_property
    def recorded(self) -> dict[tuple[str, bytes], Label]:
        """From the ledger's masks."""
        columns = (self.masks.column(n).to_pylist() for n in ("image_id", "digest", "image", "tags", "key"))
        return {(i, d): (image, tags, key) for i, d, image, tags, key in zip(*columns, strict=True)}

    @cached_property
    def on_disk(self) -> dict[tuple[str, bytes], Label]:
        """From the shards under data/."""
        wiring = read_wiring()
        labels = {noun for stage in wiring.of_kind("network") for noun in stage.inputs}
        known: dict[tuple[str, bytes], Label] = {}
        for artifact in self.live:
            if artifact.content in labels:
                for row in rows_of(artifact):
                    image, tags = raw(row["inputs"].get("image")), "|".join(row["inputs"].get("tags", ()))
                    known[row["image_id"], bytes.fromhex(row["digest"])] = (image, tags, raw(row["key"]))
        return known

    def known(self, image_id: str, digest: bytes, *, live: bool) -> Label:
        """Of masks with the same bytes, the one under data/ counts for the model that lies there, else the ledger's."""
        sides = (self.on_disk, self.recorded) if live else (self.recorded, self.on_disk)
        return next((side[image_id, digest] for side in sides if (image_id, digest) in side), (None, "", None))

    @cached_property
    def records(self) -> dict[str, tuple[ImageRecord, set[str]]]:
        """The data set as it stands now: each image, and the digests by which networks name what they learn from it directly.

        Of its tags; of its true mask with photograph and classes, and of the mask's file alone, as earlier versions wrote it.
        """
        try:
            dataset = read_dataset(DATA / "dataset" / "images.parquet")
        except MissingError:
            return {}
        masked = {r.image_id: {r.mask_sha256, dataset.supervised_digest(r)} for r in dataset.records if r.mask_sha256}
        return {r.image_id: (r, {r.digest} | masked.get(r.image_id, set())) for r in dataset.records}

    def table(self, model: Trained, name: str, run: str) -> pa.Table:
        """Rows of the ledger for what a model learnt from; `name` is its digest there."""
        rows = []
        for row in [] if model.rows is None else model.rows.to_pylist():
            digest, (record, digests) = bytes.fromhex(row["digest"]), self.records.get(row["image_id"], (None, set()))
            image, tags, key = self.known(row["image_id"], digest, live=model.live)
            if image is None and record is not None and row["digest"] in digests:
                image, tags = raw(record.sha256), "|".join(record.tags)
            rows.append(
                {
                    "image_id": row["image_id"],
                    "digest": digest,
                    "image": raw(row.get("photograph")) or image,
                    "tags": tags,
                    "key": key,
                    "source": row["source"],
                    "model": raw(name),
                    "run": run,
                    "time": model.time,
                }
            )
        return pa.Table.from_pylist(rows, schema=SCHEMAS["training"])


def without_known(table: pa.Table, known: pa.Table, columns: list[str]) -> pa.Table:
    """The rows of a table whose values in some columns are in no row of another, each once."""
    if not table.num_rows:
        return table
    old = set(zip(*(known.column(name).to_pylist() for name in columns), strict=True))
    keep = []
    for values in zip(*(table.column(name).to_pylist() for name in columns), strict=True):
        keep.append(values not in old)
        old.add(values)
    return table.filter(pc.equal(pa.array(keep), True))
