"""The files of `labelfactory predict`: which it may replace, and how it knows them again.

    <name>.png           the mask; its text `Software` is the mark
    <name>_overlay.jpg   the mask over the photograph; its comment is the mark
A palette would not be enough to know them by: true masks in VOC's colours have the same one.
"""

import io
import stat
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from labelfactory.dataset.images import Photograph, encode_mask
from labelfactory.destinations import refuse_own
from labelfactory.errors import DataError
from labelfactory.files import write_whole
from labelfactory.schema import Mask
from reporting.pictures import mask_over

MARK = "labelfactory predict"


def files_of(out: Path, name: str) -> tuple[Path, Path]:
    """Mask and overlay of a picture."""
    return out / f"{name}.png", out / f"{name}_overlay.jpg"


def refuse_others(out: Path, names: Iterable[str], pictures: Iterable[Path]) -> None:
    """Refuse a folder, before the first write, if a file there would be lost.

    Args:
        out: the folder for the results.
        names: of the results.
        pictures: what is predicted; none of them may be replaced, not even an earlier result.

    Raises:
        DataError: a file of one of the names is a picture of this command, or not an earlier result of it; or the folder
            belongs to the project.
    """
    refuse_own(out)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is not a folder", "Name another folder with --out.")
    given = {(found.st_dev, found.st_ino) for picture in pictures if picture.exists() for found in [picture.stat()]}
    for name in names:
        for path in files_of(out, name):
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if (found.st_dev, found.st_ino) in given:
                problem = "is one of the pictures, and a result would replace it"
            elif not stat.S_ISREG(found.st_mode) or not _marked(path):
                problem = "was not written by `labelfactory predict`, and a result would replace it"
            else:
                continue
            raise DataError(f"{path}: {problem}", "Name another folder with --out.")


def write_predicted(out: Path, name: str, photograph: Photograph, mask: Mask) -> int:
    """Write mask and overlay, each whole or not at all; returns their size in bytes."""
    mask_file, overlay = files_of(out, name)
    text = PngInfo()
    text.add_text("Software", MARK)
    with write_whole(mask_file) as temporary, Image.open(io.BytesIO(encode_mask(mask))) as image:
        image.save(temporary, format="PNG", pnginfo=text, compress_level=6)
    with write_whole(overlay) as temporary:
        Image.fromarray(mask_over(photograph, mask)).save(temporary, format="JPEG", quality=92, comment=MARK)
    return mask_file.stat().st_size + overlay.stat().st_size


def _marked(path: Path) -> bool:
    """Whether a file bears the mark; its pixels are not read."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            return MARK in (image.info.get("Software"), image.info.get("comment", b"").decode("latin-1"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        return False
