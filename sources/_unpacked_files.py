"""Files that an import writes below data/raw: photographs and masks that the source does not have as files of their own.

    hf/<digest>/<image id>.<digest>.<suffix>      photographs of a Hugging Face dataset; masks/ beside its own digest
    coco/<digest>/<image id>.<digest>.png         masks that were drawn from segmentations
    masks/<image id>.<digest>.png                 masks that were written as class numbers

The last digest is of the bytes: a file is never written over with other bytes, so an import that is refused or killed leaves the
photographs of the one before as they are. An earlier version wrote the first two without it.
"""

import re
from contextlib import suppress
from pathlib import Path

from labelfactory.dataset.manifest import Manifest
from labelfactory.dataset.prepared import IMAGES
from labelfactory.dataset.tables import read_columns
from labelfactory.errors import UserError
from labelfactory.foreign_files import RAW, is_allowed

DIGITS = 16
"""Of a SHA-256 in a file name."""
OURS = re.compile(
    rf"(hf/[0-9a-f]{{8}}|hf/[0-9a-f]{{16}}/masks|coco/[0-9a-f]{{16}})/[^/]+|masks/[^/]+\.[0-9a-f]{{{DIGITS}}}\.png"
)
"""Paths below data/raw that only an import writes to."""


def name_with_digest(path: Path, sha256: str) -> Path:
    """`a.png` with the digest of its bytes: `a.0123456789abcdef.png`."""
    return path.with_name(f"{path.stem}.{sha256[:DIGITS]}{path.suffix}")


def remove_unnamed(manifest: Manifest) -> None:
    """Delete unpacked files that neither the import nor the prepared data set names: a stage at work may read the latter.

    Nothing is deleted if `data/raw` is a link: another project may use the folder too.
    """
    if RAW.is_symlink():
        return
    named = {path for entry in manifest.entries for path in (entry.path, entry.mask_path)}
    try:
        prepared, _ = read_columns(IMAGES, ("path", "mask_path"), remedy="") if IMAGES.exists() else (None, {})
    except UserError:  # the stage that reads it says so
        return
    for column in prepared.columns if prepared is not None else ():
        named.update(column.to_pylist())
    folders = (RAW / "hf", RAW / "coco", RAW / "masks")
    for path in (path for folder in folders for path in sorted(folder.rglob("*"))):
        ours = OURS.fullmatch(path.relative_to(RAW).as_posix()) and path.as_posix() not in named
        if ours and path.is_file() and is_allowed(path, "delete"):
            path.unlink(missing_ok=True)
            with suppress(OSError):  # it holds others
                path.parent.rmdir()
