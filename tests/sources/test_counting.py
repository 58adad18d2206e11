"""What an import counts, and what it warns of before hours are spent."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelfactory.dataset.account import Account
from labelfactory.dataset.left_out import LeftOut
from labelfactory.dataset.manifest import Entry, Manifest, read_manifest
from labelfactory.schema import Classes
from sources._account import Noted, account_of
from sources._import_plan import ImportOptions
from sources._inspect import Inspection
from sources.coco import find_coco
from sources.intake import import_batch

CLASSES = Classes(("cat", "dog"))
MASK_IDS = {0: 0, 7: 1, 9: 2}
"""Value in the masks → class id."""
Photograph = tuple[str, Sequence[int] | None]
"""Tags with blanks between, and the values of the true mask; None if it was not looked at."""


def imported(photographs: Sequence[Photograph], *, start: int = 0, **look: object) -> list[tuple[Entry, Inspection]]:
    """Photographs with their inspections; every one has a true mask."""
    pairs = []
    for k, (tags, values) in enumerate(photographs, start):
        entry = Entry(
            f"i{k}", f"{k}.jpg", f"{k}", ("train",), tuple(sorted(tags.split())), f"{k}.png", f"m{k}", k, 40 + k, 30
        )
        shown = None if values is None else frozenset(values)
        pairs.append((entry, Inspection(f"{k}", f"m{k}", mode="RGB", mask_values=shown, **look)))
    return pairs


def account(
    pairs: Sequence[tuple[Entry, Inspection]], before: Account | None = None, earlier: Sequence = ()
) -> Account:
    """The account of an import of these, after others."""
    entries = tuple(entry for entry, _ in (*earlier, *pairs))
    manifest = Manifest(CLASSES, MASK_IDS, "import test", entries)
    return account_of(manifest, Noted(pairs, [LeftOut("x", "", "", "bad")], {".heic": 2}, ["upright"]), "train", before)


GOOD = [("cat", (0, 7, 255)), ("dog", (0, 9)), ("", (0,))] * 10

WARNINGS: dict[str, tuple[Sequence[Photograph], dict, str]] = {
    "tagged, not drawn": (
        [*GOOD, *[("cat dog", (0, 7))] * 4],
        {},
        r"4 of 14 photographs tagged 'dog' do not show it in their true mask: i30, i31, i32$",
    ),
    "drawn, not tagged": (
        [*GOOD, ("dog", (0, 7, 9))],
        {},
        r"1 of 11 true masks that show 'cat' belong to a photograph without that tag: i30$",
    ),
    "never drawn": (
        [(tags, (0, 255)) for tags, _ in GOOD],
        {},
        r"no true mask shows 'cat', 7 in the masks, but 10 photographs are tagged with it: i0, i3, i6; "
        r"the masks hold the values 0, 255$",
    ),
    "all the same tags": (
        [("cat dog", None)] * 12,
        {},
        r"every photograph is tagged cat, dog: a classifier learns nothing",
    ),
    "few of a class": (
        [*GOOD[:9], *[("cat", None)] * 9],
        {},
        r"fewer than 10 photographs of the list 'train' .*: dog 3$",
    ),
    "one colour": (GOOD, {"flat": True}, r"30 photographs are of one colour, such as black or white: i0, i1, i2$"),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_what_ruins_a_line_is_said(case):
    """Each with its count and examples."""
    photographs, look, said = WARNINGS[case]
    warnings = account(imported(photographs, **look)).warnings
    assert [line for line in warnings if re.match(said, line)], warnings


def test_nothing_is_said_of_good_data():
    """Enough photographs of each class, of which every true mask shows its tags; void and negatives are no matter."""
    assert account(imported(GOOD)).warnings == ()


def test_it_counts_what_it_is_asked_for():
    """Sizes by area; masks that were not looked at are in no count of theirs."""
    found = account(imported([*GOOD, ("cat", None)], orientation=6))
    assert (found.photographs, found.untagged, found.lists) == (31, 10, {"train": 31})
    assert (found.true_masks, found.looked_at, found.mask_values) == (31, 30, {0: 30, 7: 10, 9: 10, 255: 10})
    assert [(c.name, c.tagged, c.training, c.shown, c.shown_and_tagged) for c in found.classes] == [
        ("cat", 11, 11, 10, 10),
        ("dog", 10, 10, 10, 10),
    ]
    assert found.sizes == ((40, 30), (55, 30), (70, 30))
    assert (found.modes, found.orientations) == ({"RGB": 31}, {6: 31})
    assert (found.left_out, found.masks_left_out, found.passed_over) == (1, 0, {".heic": 2})
    assert found.decisions == ("upright",)


photographs = st.lists(
    st.tuples(
        st.sampled_from(["", "cat", "dog", "cat dog"]), st.none() | st.sets(st.sampled_from([0, 7, 9, 255]), min_size=1)
    ),
    max_size=12,
)


@given(first=photographs, second=photographs)
def test_two_imports_count_as_one(first, second):
    """Appending gives the account of both at once."""
    early, late = imported(first), imported(second, start=len(first))
    assert account(late, account(early), early) == account([*early, *late])


@pytest.fixture
def animals(tmp_path, monkeypatch) -> Path:
    """A COCO file of photographs with a cat and a dog each, in an empty project; of an eighth the dog hides the cat."""
    monkeypatch.chdir(tmp_path)
    images, annotations = [], []
    for k in range(16):
        pixels = np.random.default_rng(k).integers(0, 256, (8, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "height": 8, "width": 12})
        for c in (1, 2):
            hidden = c == 2 and k % 8 == 0
            corners = [[0, 0, 4, 0, 4, 5, 0, 4]] if c == 1 or hidden else [[6, 0, 10, 0, 10, 5, 6, 4]]
            annotations.append(
                {"id": 2 * k + c, "image_id": k, "category_id": c, "iscrowd": 0, "segmentation": corners}
            )
    categories = [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}]
    Path("i.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return Path("i.json")


def masks_counted(found: Account) -> list[object]:
    """All that an account counts of true masks."""
    counts = [(c.name, c.shown, c.shown_and_tagged, c.not_shown.count, c.not_tagged.count) for c in found.classes]
    return [found.looked_at, found.mask_values, counts]


def test_a_class_that_is_added_counts_as_in_one_import(animals):
    """The true masks that are here were held against the first class alone."""
    batch = find_coco(animals, Path())
    import_batch(batch, ImportOptions(classes=("cat",)))
    found = import_batch(batch, ImportOptions(classes=("cat", "dog"), append=True)).account
    appended = read_manifest()
    once = import_batch(batch, ImportOptions(classes=("cat", "dog"), replace=True)).account
    assert masks_counted(found) == masks_counted(once)
    assert [(c.name, c.shown, c.not_shown.count) for c in once.classes] == [("cat", 14, 2), ("dog", 16, 0)]
    assert appended.mask_ids == read_manifest().mask_ids  # its pixels are void otherwise


def test_masks_of_another_source_give_no_values(animals):
    """Its numbers for a new class are not those of the masks that are here."""
    import_batch(find_coco(animals, Path()), ImportOptions(classes=("cat",)))
    before = read_manifest()
    listed = json.loads(animals.read_text())
    listed["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "fox"}]
    for annotation in listed["annotations"]:
        annotation["segmentation"] = [[0, 0, 2, 0, 2, 2, 0, 2]]
    Path("j.json").write_text(json.dumps(listed))
    import_batch(find_coco(Path("j.json"), Path()), ImportOptions(classes=("cat", "fox"), append=True))
    assert read_manifest().classes.names == ("cat", "fox")
    assert read_manifest().mask_ids == before.mask_ids


def test_masks_that_are_not_here_were_not_looked_at(animals):
    """As in a clone that has pulled no pictures: no count of them, rather than a wrong one."""
    batch = find_coco(animals, Path())
    import_batch(batch, ImportOptions(classes=("cat",)))
    for entry in read_manifest().entries[:10]:
        Path(entry.mask_path).unlink()
    found = import_batch(batch, ImportOptions(classes=("cat", "dog"), append=True)).account
    assert (found.true_masks, found.looked_at) == (16, 6)
    assert all(each.shown + each.not_shown.count == 6 for each in found.classes)
