"""The files of `labelfactory predict`: which it may replace, and how they are written.

    <name>.png           the mask
    <name>_overlay.jpg   the mask over the photograph
Each bears the seal of the command (`labelfactory.destinations`).
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from PIL import Image

from labelfactory.dataset.images import Photograph
from labelfactory.dataset.sealed_masks import write_mask
from labelfactory.destinations import blank_seal, refuse_folder, refuse_own, write_sealed
from labelfactory.errors import DataError
from labelfactory.files import make_folder, remove_leftovers
from labelfactory.schema import Mask
from reporting.pictures import mask_over

COMMAND = "labelfactory predict"
REMEDY = "Name another folder with --out."
QUALITY = 92


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
    results = [path for name in names for path in files_of(out, name)]
    given = {(found.st_dev, found.st_ino) for picture in pictures if picture.exists() for found in [picture.stat()]}
    for path in results:
        if path.exists() and (path.lstat().st_dev, path.lstat().st_ino) in given:
            raise DataError(f"{path}: is one of the pictures, and a result would replace it", REMEDY)
    refuse_folder(out, (path.name for path in results), COMMAND, REMEDY)


def make_ready(out: Path, names: Collection[str]) -> None:
    """Make the folder for results, without what killed commands left of these."""
    make_folder(out)
    remove_leftovers(out, [path.name for name in names for path in files_of(out, name)], alone=False)


def write_predicted(out: Path, name: str, photograph: Photograph, mask: Mask) -> int:
    """Write mask and overlay, each whole or not at all; returns their size in bytes.

    Raises:
        DataError: the file there is not a result as it was written; somebody may have edited it since `refuse_others`.
    """
    mask_file, overlay = files_of(out, name)
    write_mask(mask_file, mask, COMMAND, REMEDY)
    with write_sealed(overlay, COMMAND, REMEDY) as temporary:
        over = Image.fromarray(mask_over(photograph, mask))
        over.save(temporary, format="JPEG", quality=QUALITY, comment=blank_seal(COMMAND))
    return mask_file.stat().st_size + overlay.stat().st_size
