"""Find pictures of some images in DVC's cache by the names that its lists of folders give to them.

The cache knows a file by its MD5 alone. What a mask or a map is of stands only in the list of the folder that was added
(`dvc add data/import data/corrections`): {"md5": …, "relpath": "<name>.<mask's first digits>.png"}. Cameras give the same names
in every folder: a name below other folders than those of maps means the image only with its whole path.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from labelfactory.dataset.manifest import MANIFEST, Entry, read_manifest
from labelfactory.dataset.map_files import MAPS, ids_in_name
from labelfactory.dvc_cache import cache_folder
from labelfactory.errors import DataError
from labelfactory.foreign_files import PHOTOGRAPHS, RAW
from labelfactory.names import file_name
from labelfactory.settings.wiring import DATA
from lineage.artifacts import CachedFile, files_in

CORRECTION = re.compile(r"(.+)\.[0-9a-f]{16}\.png")
"""The name of a correction's mask."""


@dataclass(frozen=True)
class Named:
    """What lists in DVC's cache name as some images' own."""

    lists: frozenset[str]  # MD5 of the lists
    pictures: frozenset[str]  # MD5 of pictures, whether the cache has them or not


def named_in_cache(image_ids: Collection[str]) -> Named:
    """Lists in DVC's cache that name pictures of these images, and those pictures.

    A picture that a list also has under a name of another image is not only theirs, and is not among them.
    """
    own = {file_name(i) for i in image_ids} | set(image_ids)
    entries = read_manifest().entries if MANIFEST.exists() else ()
    known = {entry.image_id for entry in entries}
    ids = own | known | {file_name(i) for i in known}
    places = _places([e for e in entries if e.image_id in own]) | _places([e for e in entries if e.image_id not in own])
    lists: set[str] = set()
    ours: set[str] = set()
    others: set[str] = set()
    for path in sorted(cache_folder().glob("*/*.dir")) if image_ids else ():
        try:
            files = files_in(path)
        except DataError:
            continue
        held = {file.md5 for file in files if _owner(file, ids, places) in own}
        ours |= held
        others |= {file.md5 for file in files if _owner(file, ids, places) not in own}
        lists |= {f"{path.parent.name}{path.name}"} if held else set()
    return Named(frozenset(lists), frozenset(ours - others))


def _places(entries: Sequence[Entry]) -> dict[str, str]:
    """Path of a photograph or a true mask, from the folders that people add to DVC → the image's id."""
    files = [(PurePath(path), e.image_id) for e in entries for path in (e.path, e.mask_path) if path]
    return {
        path.relative_to(root).as_posix(): image_id
        for root in (PurePath(), DATA, RAW)
        for path, image_id in files
        if path.is_relative_to(root)
    }


def _owner(file: CachedFile, ids: Collection[str], places: Mapping[str, str]) -> str:
    """The image that a picture's name means, by its id or the name of its files; empty where it means none."""
    name = PurePath(file.relpath)
    if name.suffix.lower() not in PHOTOGRAPHS:
        return ""
    correction = CORRECTION.fullmatch(name.name)
    if correction and correction[1] in ids:
        return correction[1]
    for folder in (MAPS, MAPS.relative_to(DATA), MAPS.relative_to(MANIFEST.parent)):
        if name.is_relative_to(folder):
            return next((each for each in ids_in_name(name.relative_to(folder)) if each in ids), "")
    whole = name.with_suffix("").as_posix()
    return places.get(name.as_posix(), whole if whole in ids else "")
