"""True masks of photographs that are here, opened again: a class that is added was not counted in them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from labelfactory.dataset.images import decode_mask
from labelfactory.dataset.manifest import Entry
from labelfactory.dataset.picture_files import MASKS, opened_picture
from labelfactory.errors import DataError
from labelfactory.foreign_files import read_imported
from sources._inspect import Inspection
from sources._true_masks import LARGEST, WORKERS, spread


def look_again(entries: Sequence[Entry], count: int) -> list[tuple[Entry, Inspection]]:
    """Some of the images with the values of their true masks; of those that cannot be read, none.

    Args:
        entries: images that are here.
        count: how many are opened at most, of all lists and classes.
    """
    chosen = list(spread(entry for entry in entries if entry.mask_path is not None))[:count]
    with ThreadPoolExecutor(WORKERS) as pool:
        values = list(pool.map(_values, chosen))
    looks = zip(chosen, values, strict=True)
    return [(e, Inspection(e.sha256, e.mask_sha256, mask_values=shown)) for e, shown in looks if shown is not None]


def _values(entry: Entry) -> frozenset[int] | None:
    try:
        data = read_imported(entry.mask_path or "", entry.mask_sha256 or "")
        with opened_picture(data, formats=MASKS) as opened:
            if opened.width * opened.height > LARGEST:
                return None
        return frozenset(int(value) for value in np.unique(decode_mask(data)))
    except DataError:  # `evaluate` says it
        return None
