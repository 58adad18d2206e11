"""One of the two mask sets of a diff: its ledger rows and the files with its pixels."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.images import decode_mask
from labelfactory.dvc_cache import cached
from labelfactory.errors import DataError, MissingError, UserError, first_line
from labelfactory.foreign_files import read_file
from labelfactory.learning.checkpoints import CHECKPOINT
from labelfactory.names import file_name, id_of_file_name
from labelfactory.rows.pairing import renumbered
from labelfactory.schema import Mask
from labelfactory.settings.wiring import DATA, StageWiring, read_wiring, runs_in_lock
from labelfactory.settings.yaml_text import parse_yaml
from lineage.artifacts import CachedFile, cached_artifacts, files_in, header, live_artifacts, passport_or_none
from lineage.ledger_rows import Chains, mask_table, shard_rows
from lineage.lookup import Lookup, Model

Answer = dict[str, Any]
FOLDER = "SegmentationClass"
"""Of the masks in an export."""
NOW = "now"
"""Names the masks in data/."""


@dataclass
class MaskSet:
    """One set of masks."""

    name: str
    rows: dict[str, Answer]  # image_id → row of the ledger, digests as hex; {} in an export
    shards: list[Path]  # where the pixels lie
    folder: Path | None = None  # of an export
    cache: bool = False  # the pixels may lie in DVC's cache
    model: Model | None = None  # whose masks these are
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Image id → names of class ids 1, 2, … in its mask; those of the data set where an image is not named."""
    beside: Model | None = None
    """The model of a commit, which need not have learnt from these masks."""

    @cached_property
    def _stored(self) -> dict[tuple[str, str], bytes]:
        stored: dict[tuple[str, str], bytes] = {}
        wanted = {(i, str(row["digest"])) for i, row in self.rows.items()}
        for path in self.shards:
            stored |= _pixels(path, wanted)
        masks = read_wiring().masks.noun
        for artifact in cached_artifacts() if self.cache and len(stored) < len(wanted) else ():
            if artifact.content == masks:
                stored |= _pixels(artifact.path, wanted)
        return stored

    def mask(self, image_id: str) -> Mask | None:
        """The pixels, None where they are no longer on disk."""
        if self.folder is not None:
            paths = (self.folder / f"{name}.png" for name in (file_name(image_id), image_id))
            path = next((path for path in paths if path.exists()), None)
            return decode_mask(read_file(path)) if path is not None else None
        stored = self._stored.get((image_id, str(self.rows[image_id]["digest"])))
        return decode_mask(stored) if stored is not None else None


def both_masks(
    image_id: str, a: MaskSet, b: MaskSet, usual: tuple[str, ...]
) -> tuple[Mask | None, Mask | None, tuple[str, ...]]:
    """The masks of an image in both sets, None where its pixels are gone, in the same numbers of classes; and the names of these.

    Args:
        image_id: of the image.
        a, b: the sets.
        usual: names of class ids 1, 2, … where a set does not say; those of the data set.
    """
    before, after = (each.classes.get(image_id, usual) for each in (a, b))
    old, new = a.mask(image_id), b.mask(image_id)
    names = (*before, *(name for name in after if name not in before))
    return old, None if new is None else renumbered(new, after, names), names


def _pixels(path: Path, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    try:
        table = pq.read_table(path, columns=["image_id", "digest", "mask"], partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: damaged: {first_line(error)}", f"Delete {path} and type `labelfactory run`."
        ) from None
    names = zip(table.column("image_id").to_pylist(), table.column("digest").to_pylist(), strict=True)
    masks = table.column("mask")
    return {name: masks[n].as_py()["bytes"] for n, name in enumerate(names) if name in wanted}


def mask_set(lookup: Lookup, text: str, *, folders: bool = True) -> MaskSet:
    """The masks that a text names: a model, a run, a commit, `now`, or a folder.

    Args:
        lookup: the ledger.
        text: what the person typed.
        folders: whether it may name a folder; not where it comes from a URL.

    Raises:
        MissingError: it is none of these.
    """
    path, live = Path(text), sorted((DATA / read_wiring().masks.noun).glob("shard-*.parquet"))
    if text == NOW:
        return _from_shards(NOW, live)
    if folders and path.is_dir():
        return _from_folder(path)
    model = _model_of(lookup, text)
    if model is not None:
        masks = {(r["image_id"], r["digest"], r["key"]): r for r in _masks_of(lookup, model.digest)}
        learnt = [_hex(row) for row in lookup.training(model.digest).to_pylist()]
        rows = {r["image_id"]: masks.get((r["image_id"], r["digest"], r["key"]), r) for r in learnt}
        names = dict.fromkeys(rows, tuple(model.passport.classes))
        return MaskSet(model.label, rows, live, cache=True, model=model, classes=names)
    return _from_commit(lookup, text)


def _model_of(lookup: Lookup, text: str) -> Model | None:
    """A model by its own name, or the model of a run of the line."""
    name = read_wiring().model.noun
    for event in lookup.events:
        if event["event"] in ("line", "execution") and len(text) >= 6 and event["subject"].startswith(text):
            stages = event["detail"].get("stages", {})
            runs = {event["subject"], *stages.values()}
            models = [m for m in lookup.models.values() if m.name == name and m.run in runs]
            if models:
                return models[-1]
    try:
        return lookup.model(text)
    except MissingError:
        if not _is_commit(text):
            raise
        return None


def _masks_of(lookup: Lookup, model: str) -> list[Answer]:
    return lookup.rows(
        "SELECT * FROM masks WHERE digest IN (SELECT digest FROM training WHERE model = ?)", [bytes.fromhex(model)]
    )


def _hex(row: Mapping[str, Any]) -> Answer:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}


def _from_shards(name: str, paths: Sequence[Path]) -> MaskSet:
    if not paths:
        raise MissingError(f"{name}: holds no masks", "Type `labelfactory run`.")
    chains = Chains(list(live_artifacts()))
    rows: dict[str, Answer] = {}
    classes: dict[str, tuple[str, ...]] = {}
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    for path in paths:
        found = shard_rows(path)
        for row in found:
            if "classes" in row["inputs"]:
                names = tuple(row["inputs"]["classes"])
                classes[row["image_id"]] = shared.setdefault(names, names)
        for row in mask_table(found, chains, "", None).to_pylist():
            rows[row["image_id"]] = _hex(row)
    return MaskSet(name, rows, list(paths), classes=classes)


def _from_folder(path: Path) -> MaskSet:
    """A folder of shards, or an export: PNG masks in it or in its SegmentationClass."""
    maker = read_wiring().masks.name
    shards = [p for p in sorted(path.glob("*.parquet")) if _stage_of(p) == maker]
    if shards:
        return _from_shards(str(path), shards)
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    names = [id_of_file_name(p.stem) for p in sorted(folder.glob("*.png"))]
    if not names:
        raise MissingError(f"{path}: holds neither shards of masks nor PNG masks", "Name an export's folder.")
    known = _classes_of_export(path if folder != path or path.name != FOLDER else path.parent)
    classes = dict.fromkeys(names, known) if known else {}
    return MaskSet(str(path), {name: {"digest": None} for name in names}, [], folder, classes=classes)


def _classes_of_export(path: Path) -> tuple[str, ...]:
    """Names of class ids 1, 2, … by the provenance of an export; none where it does not say."""
    try:
        stated = json.loads(read_file(path / "provenance.json"))["classes"]
    except (UserError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    return tuple(map(str, stated[1:])) if isinstance(stated, list) else ()


def _stage_of(path: Path) -> str:
    """The stage that wrote a Parquet file; empty where it does not say."""
    try:
        return str(header(pq.read_schema(path)).get("stage", ""))
    except (OSError, pa.ArrowException):
        return ""


def _git(*words: str) -> str | None:
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _is_commit(text: str) -> bool:
    return not text.startswith("-") and _git("rev-parse", "--verify", "--quiet", f"{text}^{{commit}}") is not None


def _from_commit(lookup: Lookup, text: str) -> MaskSet:
    """The masks that the dvc.lock of a commit names, from DVC's cache."""
    lock, wiring = _git("show", f"{text}:dvc.lock"), read_wiring()
    runs = runs_in_lock(parse_yaml(lock, f"dvc.lock of commit {text}", "Name another commit."), text) if lock else {}
    folder = _folder_in(runs, wiring.masks)
    shards = [cached(item.md5) for item in _listed(folder)]
    if not shards or not all(path.exists() for path in shards):  # a withdrawal deletes shards, not the list of them
        problem = "its dvc.lock names no masks" if folder is None else "its masks are no longer in DVC's cache"
        raise MissingError(f"commit {text}: {problem}", "Name a model, or a commit whose masks `dvc pull` can fetch.")
    masks = _from_shards(f"commit {text}", shards)
    checkpoints = [cached(f.md5) for f in _listed(_folder_in(runs, wiring.model)) if f.relpath == CHECKPOINT]
    passports = [passport_or_none(path) for path in checkpoints if path.exists()]
    masks.beside = next((lookup.of(wiring.model.noun, passport) for passport in passports), None)
    return masks


def _folder_in(runs: Mapping[str, Any], stage: StageWiring) -> str | None:
    """The name in DVC's cache of the list of files that a stage left, by a lock file."""
    outs = runs.get(stage.name, {}).get("outs", ())
    return next((out["md5"] for out in outs if out["path"] == f"data/{stage.noun}"), None)


def _listed(folder: str | None) -> list[CachedFile]:
    """The files of such a list; none where the cache has it no more."""
    return files_in(cached(folder)) if folder and cached(folder).exists() else []
