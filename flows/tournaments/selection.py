"""The photographs of a tournament: an import of its own, with a part of the project's.

data/tournament/imports/<digest>/manifest.parquet   photographs by absolute paths; nothing is copied
A part is chosen by the digests of image ids, so that a larger part holds the smaller one, and whatever order they came in does not
matter. Of a class that it would not show, one photograph takes the place of another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from labelfactory.dataset.account import ACCOUNT
from labelfactory.dataset.manifest import MANIFEST, Entry, Manifest, read_manifest, write_manifest
from labelfactory.digests import digest_bytes, digest_json
from labelfactory.errors import ParamsError, UserError, did_you_mean
from labelfactory.files import make_folder
from labelfactory.stage.given import file_digests
from labelfactory.tournament import TOURNAMENT

IMPORTS = TOURNAMENT / "imports"
FEWEST = 8
"""Photographs; of fewer no gain could be told from chance."""
MOST_TO_SCORE = 64
"""Photographs of the validation list, where no model is scored on it: classifiers tell their mAP on them."""


@dataclass(frozen=True)
class Selection:
    """Photographs that all contenders of a round share.

    Attributes:
        folder: of the manifest.
        split: the list that goes through the line.
        images: how many of it.
        scored: how many are on the list that is scored.
        with_truth: how many of these have a true mask.
        digest: of all that stages read of it.
        places: digest of the paths, from which no result follows.
        maps: `maps_now`, which the digest has too.
    """

    folder: Path
    split: str
    images: int
    scored: int
    with_truth: int
    digest: str
    places: str
    maps: Mapping[str, str] = field(default_factory=dict, compare=False)


def select(split: str, val_list: str, images: int = 0, *, scores_val: bool = False) -> Selection:
    """Write the import of a round, unless it is there.

    Args:
        split: the list that goes through the line.
        val_list: the list on which networks are scored.
        images: how many of the first; 0 for all.
        scores_val: whether all of the second are needed, for a model that is scored on them.

    Raises:
        ParamsError: there is no such list, or too few photographs are asked for.
        MissingError, DataError: as `read_manifest`.
    """
    manifest = read_manifest()
    lists = sorted({name for entry in manifest.entries for name in entry.lists})
    if split not in lists:
        raise ParamsError(
            f"--list {split}: no photograph is on that list{did_you_mean(split, lists)}",
            f"The import has the lists {', '.join(lists)}.",
        )
    if images and images < FEWEST:
        raise ParamsError(f"--images {images}: below the minimum {FEWEST}", "Give more, or leave --images out for all.")
    on_list = [entry for entry in manifest.entries if split in entry.lists]
    chosen = on_list if not images else _part(on_list, images, manifest.classes.names)
    ids = {entry.image_id for entry in chosen}
    scored = [e for e in manifest.entries if val_list in e.lists and (e.image_id in ids or split not in e.lists)]
    if not scores_val and split != val_list:
        scored = _ordered(scored)[:MOST_TO_SCORE]
    ids |= {entry.image_id for entry in scored}
    own = replace(manifest, entries=tuple(_elsewhere(e) for e in manifest.entries if e.image_id in ids))
    digest = digest_json(
        {
            "entries": [[e.image_id, e.sha256, e.lists, e.tags, e.mask_sha256, e.position] for e in own.entries],
            "classes": own.classes.names,
            "mask_ids": sorted(own.mask_ids.items()),
            "maps": (maps := maps_now()),
        }
    )
    folder = IMPORTS / digest[:16]
    _write(folder, own)
    measured = [entry for entry in own.entries if (val_list if scores_val else split) in entry.lists]
    with_truth = sum(entry.mask_path is not None for entry in measured)
    places = digest_json([[entry.image_id, entry.path, entry.mask_path] for entry in own.entries])
    return Selection(folder, split, len(chosen), len(measured), with_truth, digest, places, maps)


def maps_now() -> dict[str, str]:
    """Path → SHA-256 of each file that other programs laid beside the manifest."""
    return {name: value for name, value in file_digests(MANIFEST.parent.name).items() if name != str(MANIFEST)}


def _write(folder: Path, manifest: Manifest) -> None:
    make_folder(folder)
    write_manifest(manifest, folder / MANIFEST.name)
    for path in MANIFEST.parent.iterdir():  # maps of other programs
        link = folder / path.name
        if path not in (MANIFEST, ACCOUNT) and not path.name.startswith(".") and not link.is_symlink():
            link.symlink_to(path.resolve())


def _part(entries: Sequence[Entry], count: int, classes: Sequence[str]) -> list[Entry]:
    """So many of them. Raises ParamsError where fewer than the classes are asked for."""
    tagged = [name for name in classes if any(name in entry.tags for entry in entries)]
    if count < len(tagged):
        raise ParamsError(f"--images {count}: the list shows {len(tagged)} classes", f"Give at least {len(tagged)}.")
    ordered = _ordered(entries)
    chosen, rest = ordered[:count], ordered[count:]
    for name in tagged:
        if not any(name in entry.tags for entry in chosen):
            chosen = [next(entry for entry in rest if name in entry.tags), *chosen]
    while len(chosen) > count:  # the last one whose classes others show too
        shown = [name for entry in chosen for name in entry.tags]
        spare = [k for k, entry in enumerate(chosen) if all(shown.count(name) > 1 for name in entry.tags)]
        if not spare:
            raise UserError("no part of that size shows each class", "Give more --images.")
        chosen.pop(spare[-1])
    return chosen


def _ordered(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: digest_bytes(entry.image_id.encode("utf-8", "surrogatepass")))


def _elsewhere(entry: Entry) -> Entry:
    """An entry as another folder has to read it."""
    mask = None if entry.mask_path is None else str(Path(entry.mask_path).absolute())
    return replace(entry, path=str(Path(entry.path).absolute()), mask_path=mask)
