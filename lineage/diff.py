"""What differs between two sets of masks, and why.

A side is a model (the masks that it learnt from), a commit (the masks that its dvc.lock names), `now` (data/masks), a
folder of shards, or an export (a folder of PNG masks).
"""

import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from labelfactory.dataset import read_dataset
from labelfactory.errors import MissingError, UserError
from labelfactory.files import write_whole
from labelfactory.images import decode_mask, encode_mask
from labelfactory.schema import VOID, Mask
from lineage.found import CACHE, DATA, Found, cached_files, header, live_files
from lineage.lookup import Lookup
from lineage.made import Chains, mask_table, shard_rows

WORST = 20
Answer = dict[str, Any]


@dataclass
class Side:
    """One set of masks."""

    name: str
    rows: dict[str, Answer]  # image_id → row of the ledger, digests as hex; {} in an export
    shards: list[Path]  # where the pixels lie
    folder: Path | None = None  # of an export
    cache: bool = False  # the pixels may lie in DVC's cache

    @cached_property
    def _stored(self) -> dict[tuple[str, str], bytes]:
        found: dict[tuple[str, str], bytes] = {}
        wanted = {(i, str(row["digest"])) for i, row in self.rows.items()}
        for path in self.shards:
            found |= _pixels(path, wanted)
        for file in cached_files() if self.cache and len(found) < len(wanted) else ():
            if file.what == "masks":
                found |= _pixels(file.path, wanted)
        return found

    def mask(self, image_id: str) -> Mask | None:
        """The pixels, None where they are no longer on disk."""
        if self.folder is not None:
            path = self.folder / f"{image_id}.png"
            return decode_mask(path.read_bytes()) if path.exists() else None
        stored = self._stored.get((image_id, str(self.rows[image_id]["digest"])))
        return decode_mask(stored) if stored is not None else None


def _pixels(path: Path, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    table = pq.read_table(path, columns=["image_id", "digest", "mask"], partitioning=None)
    places = zip(table.column("image_id").to_pylist(), table.column("digest").to_pylist(), strict=True)
    masks = table.column("mask")
    return {place: masks[n].as_py()["bytes"] for n, place in enumerate(places) if place in wanted}


def side(lookup: Lookup, text: str) -> Side:
    """What a person means by a model, a run, a commit, `now`, or a folder.

    Raises:
        MissingError: it is none of these.
    """
    path, live = Path(text), sorted((DATA / "masks").glob("shard-*.parquet"))
    if text == "now":
        return _from_shards("now", live)
    if path.is_dir():
        return _from_folder(path)
    model = _model_of(lookup, text)
    if model is not None:
        held = {(r["image_id"], r["digest"], r["key"]): r for r in _masks_of(lookup, model.digest)}
        learnt = [_hex(row) for row in lookup.training(model.digest).to_pylist()]
        rows = {r["image_id"]: held.get((r["image_id"], r["digest"], r["key"]), r) for r in learnt}
        return Side(model.label, rows, live, cache=True)
    return _from_commit(text)


def _model_of(lookup: Lookup, text: str) -> Any:
    """A model by its own name, or the segmenter of a run of the line."""
    for event in lookup.events:
        if event["event"] in ("line", "execution") and len(text) >= 6 and event["subject"].startswith(text):
            stages = event["detail"].get("stages", {})
            runs = {event["subject"], *stages.values()}
            found = [m for m in lookup.models.values() if m.name == "segmenter" and m.run in runs]
            if found:
                return found[-1]
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


def _from_shards(name: str, paths: Sequence[Path]) -> Side:
    if not paths:
        raise MissingError(f"{name}: holds no masks", "Type `labelfactory run`.")
    chains = Chains(list(live_files()))
    rows: dict[str, Answer] = {}
    for path in paths:
        table = mask_table(shard_rows(Found(path, "masks", True, None)), chains, "", None)  # type: ignore[arg-type]
        for row in table.to_pylist():
            rows[row["image_id"]] = _hex(row)
    return Side(name, rows, list(paths))


def _from_folder(path: Path) -> Side:
    """A folder of shards, or an export: PNG masks in it or in its SegmentationClass."""
    shards = [p for p in sorted(path.glob("*.parquet")) if header(pq.read_schema(p)).get("stage") == "refine_crf"]
    if shards:
        return _from_shards(str(path), shards)
    folder = path / "SegmentationClass" if (path / "SegmentationClass").is_dir() else path
    names = [p.stem for p in sorted(folder.glob("*.png"))]
    if not names:
        raise MissingError(f"{path}: holds neither shards of masks nor PNG masks", "Name an export's folder.")
    return Side(str(path), {name: {"digest": None} for name in names}, [], folder)


def _git(*words: str) -> str | None:
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _is_commit(text: str) -> bool:
    return not text.startswith("-") and _git("rev-parse", "--verify", "--quiet", f"{text}^{{commit}}") is not None


def _from_commit(text: str) -> Side:
    """The masks that the dvc.lock of a commit names, from DVC's cache."""
    lock = _git("show", f"{text}:dvc.lock")
    outs = yaml.safe_load(lock)["stages"].get("refine_crf", {}).get("outs", []) if lock else []
    folder = next((out["md5"] for out in outs if out["path"] == "data/masks"), None)
    listed = CACHE / folder[:2] / folder[2:] if folder else None
    if listed is None or not listed.exists():
        problem = "its dvc.lock names no masks" if folder is None else "its masks are no longer in DVC's cache"
        raise MissingError(f"commit {text}: {problem}", "Name a model, or a commit whose masks `dvc pull` can fetch.")
    objects = [item["md5"] for item in json.loads(listed.read_text(encoding="utf-8"))]
    return _from_shards(f"commit {text}", [CACHE / md5[:2] / md5[2:] for md5 in objects])


def diff(lookup: Lookup, first: str, second: str, pictures: Path | None = None) -> Answer:
    """Masks added, removed and changed from the first side to the second; pixels by class and by cause; the worst.

    Args:
        lookup: the ledger.
        first: a model, a run, a commit, `now`, or a folder.
        second: the other.
        pictures: where pictures of the worst masks are drawn, if anywhere.
    """
    a, b = side(lookup, first), side(lookup, second)
    both = sorted(set(a.rows) & set(b.rows))
    exports = a.folder is not None or b.folder is not None
    suspects = [i for i in both if exports or a.rows[i]["digest"] != b.rows[i]["digest"]]
    pixels: Counter[tuple[int, int]] = Counter()
    causes: dict[str, Counter[str]] = {}
    changed: list[tuple[float, str]] = []
    unseen = 0
    for image_id in suspects:
        old, new = a.mask(image_id), b.mask(image_id)
        names = ["unknown: an export"] if exports else why(a.rows[image_id], b.rows[image_id])
        count, share = 0, 0.0
        if old is None or new is None:
            unseen += 1
        elif old.shape != new.shape:
            count, share = int(new.size), 1.0
        else:
            count, share = int((old != new).sum()), float((old != new).mean())
            pixels.update(_moves(old, new))
        if exports and not count and old is not None and new is not None:
            continue
        changed.append((share, image_id))
        for name in names:
            causes.setdefault(name, Counter()).update(masks=1, pixels=count)
    changed.sort(key=lambda pair: (-pair[0], pair[1]))
    worst = [{"image_id": i, "share": round(share, 4)} for share, i in changed[:WORST] if share > 0]
    if pictures is not None:
        for item in worst:
            item["picture"] = str(_draw(pictures, str(item["image_id"]), a, b))
    return {
        "first": a.name,
        "second": b.name,
        "masks": {
            "first": len(a.rows),
            "second": len(b.rows),
            "same": len(both) - len(changed),
            "changed": len(changed),
            "with_other_pixels": sum(share > 0 for share, _ in changed),
        },
        "added": sorted(set(b.rows) - set(a.rows)),
        "removed": sorted(set(a.rows) - set(b.rows)),
        "changed": [image_id for _, image_id in changed],
        "without_pixels": unseen,
        "causes": {name: dict(counts) for name, counts in sorted(causes.items())},
        "classes": _by_class(pixels),
        "worst": worst,
    }


def _moves(old: Mask, new: Mask) -> Counter[tuple[int, int]]:
    """How many pixels went from one class to another."""
    there = old != new
    pairs, counts = np.unique(old[there].astype(np.int64) * 256 + new[there], return_counts=True)
    return Counter({(int(p) // 256, int(p) % 256): int(c) for p, c in zip(pairs, counts, strict=True)})


def _by_class(pixels: Mapping[tuple[int, int], int]) -> dict[str, dict[str, int]]:
    """Pixels that each class lost and won, by the class's name."""
    names = class_names()
    found: dict[str, dict[str, int]] = {}
    for (old, new), count in sorted(pixels.items()):
        for class_id, word in ((old, "lost"), (new, "won")):
            name = "void" if class_id == VOID else names[class_id] if class_id < len(names) else str(class_id)
            entry = found.setdefault(name, {"lost": 0, "won": 0})
            entry[word] += count
    return found


def class_names() -> tuple[str, ...]:
    """Names of the data set's classes, the background first; none where there is no data set."""
    try:
        return read_dataset(DATA / "dataset" / "images.parquet").classes.with_background
    except UserError:
        return ()


def why(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Causes of a changed mask: all inputs along its chain that differ.

    A network that was trained again is a cause itself; what made the network another is the question for its own passport.
    """
    if "recipe" not in old or "recipe" not in new:
        return ["unknown: not in the ledger"]
    causes = set()
    if "human" in (old["source"], new["source"]):
        causes.add("human")
    if old["image"] != new["image"]:
        causes.add("image")
    if old["tags"] != new["tags"]:
        causes.add("tags")
    if "human" in causes:  # a person's mask is made of nothing that could be held against the line's
        return sorted(causes)
    before, after = json.loads(old["recipe"]), json.loads(new["recipe"])
    for noun in ("cams", "walks", "masks"):
        first, second = before.get(noun, {}), after.get(noun, {})
        if not first or not second:
            continue
        for name in sorted({*first, *second}):
            if first.get(name) != second.get(name):
                words = {"code": f"code of {noun}", "params": f"parameters of {noun}"}
                threshold = f"threshold of {noun}" if "threshold" in name else f"checkpoint: {name}"
                causes.add(words.get(name, threshold))
    return sorted(causes) or ["unknown: the same inputs gave other bytes"]


def _draw(folder: Path, image_id: str, a: Side, b: Side) -> Path:
    """Both masks and what differs, side by side: a palette PNG in VOC's colours."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image_id.replace('/', '_').replace('..', '_')}.png"
    old, new = a.mask(image_id), b.mask(image_id)
    parts = [mask for mask in (old, new) if mask is not None]
    if old is not None and new is not None and old.shape == new.shape:
        parts.append(np.where(old != new, new, VOID).astype(np.uint8))
    if not parts:
        return path
    height = max(part.shape[0] for part in parts)
    padded = [np.pad(p, ((0, height - p.shape[0]), (0, 4)), constant_values=VOID) for p in parts]
    with write_whole(path) as temporary:
        temporary.write_bytes(encode_mask(np.concatenate(padded, axis=1)))
    return path
