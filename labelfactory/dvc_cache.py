"""Where DVC's cache is, without loading DVC: .dvc/cache, or what `dvc cache dir` has set for this project."""

import os
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

OURS = Path(".dvc/cache")
CONFIGS = (Path(".dvc/config.local"), Path(".dvc/config"))
"""Files of DVC's settings for a project; the first that names a cache counts."""


def cache_folder() -> Path:
    """The folder of the objects by their MD5."""
    return _cache() / "files" / "md5"


def cached(md5: str) -> Path:
    """Where the cache has the file or the folder's list with this MD5."""
    return cache_folder() / md5[:2] / md5[2:]


def is_ours() -> bool:
    """Whether the cache is in this project's folder. Several projects may share one that is elsewhere."""
    return not _cache().is_absolute()


def _cache() -> Path:
    for path in CONFIGS:
        config = ConfigParser(interpolation=None, strict=False, allow_no_value=True, inline_comment_prefixes=("#",))
        try:
            config.read_string(path.read_text(encoding="utf-8"))
        except (
            OSError,
            ValueError,
            AttributeError,
            ConfigError,
        ):  # the last but one: conflict marks of git, in Python 3.11
            continue
        folder = (config.get("cache", "dir", fallback="") or "").strip("'\"")
        if folder:  # relative to the file that names it
            where = Path(os.path.normpath(path.parent.absolute() / Path(folder).expanduser()))
            return where.relative_to(Path.cwd()) if where.is_relative_to(Path.cwd()) else where
    return OURS
