"""Find pictures of some images in DVC's cache by the names that its lists of folders give to them.

The cache knows a file by its MD5 alone. What a mask or a map is of stands only in the list of the folder that was added
(`dvc add data/import data/corrections`): {"md5": …, "relpath": "<name>.<mask's first digits>.png"}.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePath

from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.dataset.map_files import ids_in_name
from labelfactory.dvc_cache import cache_folder
from labelfactory.errors import DataError
from labelfactory.foreign_files import PHOTOGRAPHS
from labelfactory.names import file_name
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
    known = {entry.image_id for entry in read_manifest().entries} if MANIFEST.exists() else set()
    ids = own | known | {file_name(i) for i in known}
    lists: set[str] = set()
    ours: set[str] = set()
    others: set[str] = set()
    for path in sorted(cache_folder().glob("*/*.dir")) if image_ids else ():
        try:
            files = files_in(path)
        except DataError:
            continue
        held = {file.md5 for file in files if _owner(file, ids) in own}
        ours |= held
        others |= {file.md5 for file in files if _owner(file, ids) not in own}
        lists |= {f"{path.parent.name}{path.name}"} if held else set()
    return Named(frozenset(lists), frozenset(ours - others))


def _owner(file: CachedFile, ids: Collection[str]) -> str:
    """The image that a picture's name means, by its id or the name of its files; empty where it means none."""
    name = PurePath(file.relpath)
    if name.suffix.lower() not in PHOTOGRAPHS:
        return ""
    correction = CORRECTION.fullmatch(name.name)
    if correction and correction[1] in ids:
        return correction[1]
    return next((each for each in ids_in_name(name) if each in ids), "")
