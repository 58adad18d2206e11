"""Pictures of masks that differ, in a folder that the user names."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from labelfactory.dataset.sealed_masks import write_mask
from labelfactory.destinations import refuse_folder
from labelfactory.files import make_folder, remove_leftovers
from labelfactory.names import file_name
from labelfactory.schema import VOID
from lineage.mask_set import MaskSet, both_masks

COMMAND = "labelfactory audit diff"
REMEDY = "Name another folder with --pictures."


def draw(
    folder: Path, image_ids: Collection[str], a: MaskSet, b: MaskSet, usual: tuple[str, ...] = ()
) -> dict[str, Path]:
    """Draw the two masks of each image and what differs, side by side: a palette PNG in VOC's colours, the classes as in the first.

    Args:
        folder: for the pictures.
        image_ids: of the masks.
        a, b: the sets.
        usual: names of class ids 1, 2, … where a set does not say.

    Returns:
        Image id → picture, of images with a mask on the disk.

    Raises:
        DataError: the folder belongs to the project, or a file there would be lost.
    """
    paths = {image_id: folder / f"{file_name(image_id)}.png" for image_id in image_ids}
    names = [path.name for path in paths.values()]
    refuse_folder(folder, names, COMMAND, REMEDY)
    make_folder(folder)
    remove_leftovers(folder, names, alone=False)
    return {image_id: path for image_id, path in paths.items() if _draw(path, image_id, a, b, usual)}


def _draw(path: Path, image_id: str, a: MaskSet, b: MaskSet, usual: tuple[str, ...]) -> bool:
    """Whether there was something to draw."""
    old, new, _ = both_masks(image_id, a, b, usual)
    parts = [mask for mask in (old, new) if mask is not None]
    if old is not None and new is not None and old.shape == new.shape:
        parts.append(np.where(old != new, new, VOID).astype(np.uint8))
    if not parts:
        return False
    height = max(part.shape[0] for part in parts)
    padded = [np.pad(p, ((0, height - p.shape[0]), (0, 4)), constant_values=VOID) for p in parts]
    write_mask(path, np.concatenate(padded, axis=1), COMMAND, REMEDY)
    return True
