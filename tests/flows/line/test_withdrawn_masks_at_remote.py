"""Masks that people drew of a withdrawn photograph go from the remote too."""

from pathlib import Path

import numpy as np
import pytest
from dvc.repo import Repo
from made_line import CLASSES, SIZE
from test_withdrawal_at_remote import contents, made, no_mlflow, remote, withdraw

from app.storage import push
from labelfactory.dataset.corrections import CORRECTIONS, Correction, read_corrections, store_mask, write_corrections
from labelfactory.dataset.manifest import read_manifest
from labelfactory.dvc_cache import cached
from labelfactory.schema import Classes
from lineage.artifacts import md5_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # DVC's own, in `dvc add`
]
__all__ = ["made", "no_mlflow", "remote"]


def drawn_and_pushed(image_id: str, value: int) -> str:
    """A mask of one value over the image, added by DVC and pushed; gives its address at the remote."""
    entry = next(e for e in read_manifest().entries if e.image_id == image_id)
    known: dict[str, Correction] = read_corrections()
    correction = store_mask(image_id, entry.sha256, np.full(SIZE, value, np.uint8), Classes(CLASSES))
    if image_id in known:
        known[image_id].path().unlink()
    write_corrections({**known, image_id: correction}.values())
    with Repo(".") as repo:
        repo.add(str(CORRECTIONS))
    push()
    md5 = md5_of(correction.path())
    return f"files/md5/{md5[:2]}/{md5[2:]}"


@pytest.mark.parametrize("collected", [False, True])
def test_drawn_masks_go(made, remote, collected):
    """The present one, also where this cache has lost it, and an earlier one; another image's stays."""
    addresses = [drawn_and_pushed("image-1", 1), drawn_and_pushed("image-2", 2), drawn_and_pushed("image-1", 0)]
    assert set(addresses) <= contents(remote)
    if collected:
        for address in addresses:
            cached("".join(Path(address).parts[-2:])).unlink()
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    assert set(addresses) & contents(remote) == {addresses[1]}
