"""Pictures of a diff: a folder of somebody's masks stays as it is."""

from pathlib import Path

import numpy as np
import pytest

from labelfactory.dataset.images import decode_mask, encode_mask
from labelfactory.errors import DataError
from lineage.diff import compare
from lineage.mask_set import MaskSet

IDS = ("a/b", "a_b", "a..b", "a b", "../c", "d" * 300, "é")


class Drawn(MaskSet):
    """Masks of one class each."""

    def mask(self, image_id: str) -> np.ndarray:
        return np.full((8, 6 + IDS.index(image_id)), 1 if self.name == "first" else 2, np.uint8)


def drawn(pictures: Path) -> list[Path]:
    """The pictures of all ids, whose masks differ in every pixel."""
    first, second = (Drawn(name, {i: {"digest": name} for i in IDS}, [], folder=Path()) for name in ("first", "second"))
    answer = compare(first, second, pictures=pictures)
    return [Path(item["picture"]) for item in answer["worst"]]


def test_each_image_has_a_picture_of_its_own(tmp_path, monkeypatch):
    """Whatever the id holds; drawn again they are replaced, an edited one is not."""
    monkeypatch.chdir(tmp_path)
    pictures = drawn(Path("pictures"))
    assert len(set(pictures)) == len(IDS)
    assert set(pictures) == set(Path("pictures").iterdir())
    widths = {3 * (6 + k) + 12 for k in range(len(IDS))}
    assert {decode_mask(path.read_bytes()).shape for path in pictures} == {(8, width) for width in widths}
    before = {path: path.read_bytes() for path in pictures}
    assert drawn(Path("pictures")) == pictures
    pictures[-1].write_bytes(encode_mask(np.zeros((8, 8), np.uint8)))
    edited = pictures[-1].read_bytes()
    with pytest.raises(DataError, match="was not written by `labelfactory audit diff`, or was changed since") as caught:
        drawn(Path("pictures"))
    assert "--pictures" in caught.value.remedy
    assert {path: path.read_bytes() for path in pictures} == {**before, pictures[-1]: edited}


@pytest.mark.parametrize("place", ["mymasks", "data/raw/demo/masks"])
def test_a_folder_of_masks_is_no_place_for_pictures(tmp_path, monkeypatch, place):
    """Those that are compared, edited by hand, or the true masks of the project: not one is replaced, and none drawn."""
    monkeypatch.chdir(tmp_path)
    folder = Path(place)
    folder.mkdir(parents=True)
    (folder / "%C3%A9.png").write_bytes(encode_mask(np.ones((8, 8), np.uint8)))
    before = [path.read_bytes() for path in folder.iterdir()]
    with pytest.raises(DataError, match="belongs to the project" if place.startswith("data") else "was not written by"):
        drawn(folder)
    assert [path.read_bytes() for path in folder.iterdir()] == before
