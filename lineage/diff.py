"""Differences between two sets of masks, and their causes.

A set is that of a model (the masks that it learnt from), a commit (the masks that its dvc.lock names), `now` (data/masks), a
folder of shards, or an export (a folder of PNG masks).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from labelfactory.dataset.prepared import read_dataset
from labelfactory.destinations import refuse_folder
from labelfactory.digests import digest_rows
from labelfactory.errors import UserError
from labelfactory.schema import VOID, Mask
from labelfactory.settings.wiring import DATA, read_wiring
from lineage.diff_pictures import COMMAND, REMEDY, draw
from lineage.lookup import Lookup, Model
from lineage.mask_set import NOW, MaskSet, both_masks, mask_set
from lineage.scores import scores_between
from lineage.settings_diff import settings_between

WORST = 20
Answer = dict[str, Any]


def diff(lookup: Lookup, first: str, second: str, pictures: Path | None = None) -> Answer:
    """Masks added, removed and changed from the first set to the second; pixels by class and by cause; the worst.

    Args:
        lookup: the ledger.
        first: a model, a run, a commit, `now`, or a folder.
        second: the other.
        pictures: where pictures of the worst masks are drawn, if anywhere.
    """
    a, b = mask_set(lookup, first), mask_set(lookup, second)
    return compare(a, b, pictures=pictures) | lines_between(lookup, a, b)


def lines_between(lookup: Lookup, a: MaskSet, b: MaskSet) -> Answer:
    """What the ledger says of the lines of both: `settings` and `scores`.

    A set that is no model's has the settings of a model that learnt from exactly its masks, if there is one, as far as the
    masks depend on them. Scores are those of models.
    """
    settings = settings_between(lookup, learner(lookup, a), learner(lookup, b))
    if a.model is None or b.model is None:
        wiring = read_wiring()
        stages = (*wiring.upstream(wiring.masks.name), wiring.masks.name)
        settings = [item for item in settings if item["stage"] in stages]
    return {"settings": settings, "scores": scores_between(lookup, a.model, b.model)}


def learner(lookup: Lookup, masks: MaskSet) -> Model | None:
    """The model whose masks these are, or one that learnt from exactly these: the one in data/ or of the commit, else the last."""
    if masks.model is not None or masks.folder is not None:
        return masks.model
    digest = digest_rows((image_id, str(row["digest"])) for image_id, row in masks.rows.items())
    beside = lookup.on_disk() if masks.name == NOW else masks.beside
    models = [*lookup.versions(), *([beside] if beside else [])]
    return next((m for m in reversed(models) if m.passport.training_rows_digest == digest), None)


def compare(a: MaskSet, b: MaskSet, *, pixels: bool = True, pictures: Path | None = None) -> Answer:
    """What `diff` answers, of two sets; without `pixels` no mask is opened, and all that would need one is left out.

    A mask counts under each of its causes, and as `alone` where it has no other: only then the cause is known.

    Raises:
        DataError: the folder for pictures belongs to the project, or a file there would be lost.
    """
    if pictures is not None:
        refuse_folder(pictures, (), COMMAND, REMEDY)  # before the work of comparing
    both = sorted(set(a.rows) & set(b.rows))
    exports = a.folder is not None or b.folder is not None
    usual = class_names()[1:]
    named = {i: (a.classes.get(i, usual), b.classes.get(i, usual)) for i in both}
    renamed = {i for i, (before, after) in named.items() if before != after}
    suspects = [i for i in both if exports or i in renamed or a.rows[i]["digest"] != b.rows[i]["digest"]]
    moves: dict[tuple[str, ...], Counter[tuple[int, int]]] = {}
    causes: dict[str, dict[str, int]] = {}
    changed: list[tuple[float, str]] = []
    lost = 0
    for image_id in suspects:
        old, new, classes = both_masks(image_id, a, b, usual) if pixels or exports else (None, None, usual)
        names = ["unknown: an export"]
        if not exports:
            names = why(a.rows[image_id], b.rows[image_id], renamed=image_id in renamed)
        count, share = 0, 0.0
        if old is None or new is None:
            lost += 1
        elif old.shape != new.shape:
            count, share = int(new.size), 1.0
        else:
            count, share = int((old != new).sum()), float((old != new).mean())
            moves.setdefault(classes, Counter()).update(_moves(old, new))
        if exports and not count and old is not None and new is not None:
            continue
        changed.append((share, image_id))
        _tally(causes, names, count)
    changed.sort(key=lambda pair: (-pair[0], pair[1]))
    worst = [{"image_id": i, "share": round(share, 4)} for share, i in changed[:WORST] if share > 0]
    if pictures is not None:
        drawn = draw(pictures, [str(item["image_id"]) for item in worst], a, b, usual)
        worst = [item | {"picture": str(drawn[str(item["image_id"])])} for item in worst]
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
        "changed_but_no_longer_on_disk": lost,
        "causes": dict(sorted(causes.items())),
        "classes": _by_class(moves),
        "worst": worst,
    }


def _tally(causes: dict[str, dict[str, int]], names: Sequence[str], pixels: int) -> None:
    """Count one changed mask under each of its causes."""
    for name in names:
        tally = causes.setdefault(name, {"masks": 0, "alone": 0, "pixels": 0})
        tally["masks"] += 1
        tally["alone"] += len(names) == 1
        tally["pixels"] += pixels


def _moves(old: Mask, new: Mask) -> Counter[tuple[int, int]]:
    """How many pixels went from one class to another."""
    moved = old != new
    pairs, counts = np.unique(old[moved].astype(np.int64) * 256 + new[moved], return_counts=True)
    return Counter({(int(p) // 256, int(p) % 256): int(c) for p, c in zip(pairs, counts, strict=True)})


def _by_class(pixels: Mapping[tuple[str, ...], Mapping[tuple[int, int], int]]) -> dict[str, dict[str, int]]:
    """Pixels that each class lost and won, by the class's name.

    Args:
        pixels: names of class ids 1, 2, … → pixels that went from one class id to another.
    """
    by_class: dict[str, dict[str, int]] = {}
    for classes, moves in sorted(pixels.items()):
        names = ("background", *classes)
        for (old, new), count in sorted(moves.items()):
            for class_id, word in ((old, "lost"), (new, "won")):
                name = "void" if class_id == VOID else names[class_id] if class_id < len(names) else str(class_id)
                entry = by_class.setdefault(name, {"lost": 0, "won": 0})
                entry[word] += count
    return by_class


def class_names() -> tuple[str, ...]:
    """Names of the data set's classes, the background first; none where there is no data set."""
    try:
        return read_dataset(DATA / "dataset" / "images.parquet").classes.with_background
    except UserError:
        return ()


def why(old: Mapping[str, Any], new: Mapping[str, Any], *, renamed: bool = False) -> list[str]:
    """Causes of a changed mask: all inputs along its chain that differ, and the classes if their names or order do (`renamed`).

    A network that was trained again is a cause itself; what made the network another is the question for its own passport.
    """
    causes = {"classes"} if renamed else set()
    if "recipe" not in old or "recipe" not in new:
        return [*causes, "unknown: not in the ledger"]
    if "human" in (old["source"], new["source"]):
        causes.add("human")
    if old["image"] != new["image"]:
        causes.add("image")
    if old["tags"] != new["tags"]:
        causes.add("tags")
    if "human" in causes:  # a person's mask is made of nothing that could be held against the line's
        return sorted(causes)
    causes |= _between(old["recipe"], new["recipe"])
    return sorted(causes) or ["unknown: the same inputs gave other bytes"]


@lru_cache(maxsize=1024)
def _between(old: str, new: str) -> frozenset[str]:
    """What differs between two recipes, as the ledger writes them; thousands of masks share one."""
    before, after = json.loads(old), json.loads(new)
    causes = set()
    for noun in [name for name in before if name in after]:
        first, second = before.get(noun, {}), after.get(noun, {})
        if not first or not second:
            continue
        for name in sorted({*first, *second}):
            if first.get(name) != second.get(name):
                causes.add(_cause(noun, name))
    return frozenset(causes)


def _cause(noun: str, name: str) -> str:
    """How a person reads that an input of the rows of `noun` differs."""
    if name in ("code", "params"):
        return f"{'code' if name == 'code' else 'parameters'} of {noun}"
    if "threshold" in name:
        return f"threshold of {noun}"
    return f"rows: {name}" if name in read_wiring().row_outputs else f"checkpoint: {name}"
