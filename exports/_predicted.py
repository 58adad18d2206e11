"""The files of `labelfactory predict`: which it may replace, and how it knows them again.

    <name>.png           the mask; its text `Software` is the mark
    <name>_overlay.jpg   the mask over the photograph; its comment is the mark
The mark holds a digest of the pixels, so that a result which somebody has edited since is not replaced. A palette would not be
enough to know them by: true masks in VOC's colours have the same one.
"""

import io
import stat
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from labelfactory.dataset.images import Photograph, encode_mask
from labelfactory.dataset.picture_files import opened_picture
from labelfactory.destinations import refuse_own
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.files import write_whole
from labelfactory.foreign_files import read_file
from labelfactory.schema import Mask
from reporting.pictures import mask_over

MARK = "labelfactory predict"
QUALITY = 92
REMEDY = "Name another folder with --out."


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
        raise DataError(f"{out}: is not a folder", REMEDY)
    given = {(found.st_dev, found.st_ino) for picture in pictures if picture.exists() for found in [picture.stat()]}
    for name in names:
        for path in files_of(out, name):
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if (found.st_dev, found.st_ino) in given:
                raise DataError(f"{path}: is one of the pictures, and a result would replace it", REMEDY)
            _refuse_changed(path)


def _refuse_changed(path: Path) -> None:
    """Raises DataError where a file is not a result as it was written."""
    try:
        whole = stat.S_ISREG(path.lstat().st_mode) and _as_written(path)
    except FileNotFoundError:
        return
    if not whole:
        problem = "was not written by `labelfactory predict`, or was changed since, and a result would replace it"
        raise DataError(f"{path}: {problem}", REMEDY)


def write_predicted(out: Path, name: str, photograph: Photograph, mask: Mask) -> int:
    """Write mask and overlay, each whole or not at all; returns their size in bytes.

    Raises:
        DataError: the file there is not a result as it was written; somebody may have edited it since `refuse_others`.
    """
    mask_file, overlay = files_of(out, name)
    with write_whole(mask_file) as temporary, Image.open(io.BytesIO(encode_mask(mask))) as image:
        text = PngInfo()
        text.add_text("Software", _mark(image))
        image.save(temporary, format="PNG", pnginfo=text, compress_level=6)
        _refuse_changed(mask_file)
    with write_whole(overlay) as temporary:
        over = Image.fromarray(mask_over(photograph, mask))
        once = io.BytesIO()
        over.save(once, format="JPEG", quality=QUALITY)
        with Image.open(once) as decoded:  # the mark is of the pixels that a reader sees
            over.save(temporary, format="JPEG", quality=QUALITY, comment=_mark(decoded))
        _refuse_changed(overlay)
    return mask_file.stat().st_size + overlay.stat().st_size


def _mark(image: Image.Image) -> str:
    """What a result says of itself: who wrote it, and the SHA-256 of its kind, size and pixels."""
    return f"{MARK} {digest_bytes(f'{image.mode} {image.size}'.encode() + image.tobytes())}"


def _as_written(path: Path) -> bool:
    """Whether a file bears the mark of its own pixels."""
    try:
        with opened_picture(read_file(path), formats=("PNG", "JPEG")) as image:
            said = (image.info.get("Software"), image.info.get("comment", b"").decode("latin-1"))
            return any(str(text).startswith(MARK) for text in said) and _mark(image) in said
    except DataError:
        return False
