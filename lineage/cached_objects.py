"""Objects of DVC's cache by their MD5: which of those that a withdrawal named are there, and of use to nobody else."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from labelfactory.dvc_cache import cached
from labelfactory.settings.wiring import DATA
from lineage.artifacts import md5_of
from lineage.walked_folders import files_below


def unneeded(objects: Collection[str], live: Collection[Path] = ()) -> list[str]:
    """Those of some objects that the cache has, but for bytes that files under data/ other than `live` have: another image may have
    come to the same mask by now."""
    there = [md5 for md5 in objects if cached(md5).is_file()]
    sizes = {cached(md5).stat().st_size for md5 in there}
    needed = set()
    for path in (path for path in files_below(DATA) if path not in live) if there else ():
        with suppress(OSError):  # it has just gone, or nobody may read it
            needed |= {md5_of(path)} if path.stat().st_size in sizes else set()
    return [md5 for md5 in there if md5 not in needed]
