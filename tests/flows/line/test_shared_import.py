"""Two machines' imports become one: no image changes its meaning, and what cannot be decided is asked."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.line.shared_import import LAST_SHARED, brought_together, lacking, note_agreed
from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.errors import DataError
from labelfactory.schema import Classes

NUMBERS = "number their classes differently"
TAGS = "tags of classes that the other side's import does not have"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    """An empty folder."""
    monkeypatch.chdir(tmp_path)


def image(name: str, *tags: str, mask: str | None = None) -> Entry:
    """An image, with a true mask or without."""
    mask_path = mask and f"data/raw/masks/{mask}.png"
    return Entry(name, f"data/raw/{name}.png", f"bytes of {name}", ("train",), tags, mask_path, mask)


def manifest(classes: str, *entries: Entry, values: dict[int, int] | None = None) -> Manifest:
    """An import of the classes, whose true masks have their numbers."""
    names = tuple(classes.split(","))
    numbers = {k: k for k in range(len(names) + 1)} if values is None else values
    return Manifest(Classes(names), numbers, "import test", entries).numbered()


BASE = manifest("cat,dog", image("a", "cat"), image("b", "dog"))
MASKED = image("new", "cat", mask="cat is 1")


def both_ways(changed: Manifest, added: Manifest) -> list[tuple[Manifest, Manifest]]:
    """Which of the two machines has changed the classes must not matter."""
    return [(changed, added), (added, changed)]


@pytest.mark.parametrize("classes", ["dog,cat", "dog", "bird,cat,dog", "cat"])
def test_masks_are_not_read_by_other_numbers(classes):
    """One machine changes the classes, the other adds a true mask: both are told, and neither push replaces the other."""
    note_agreed(BASE)
    changed, added = manifest(classes, *BASE.entries), replace(BASE, entries=(*BASE.entries, MASKED)).numbered()
    for here, there in both_ways(changed, added):
        for merge in (brought_together, lacking):
            with pytest.raises(DataError, match=NUMBERS if "cat" in classes else TAGS) as caught:
                merge(here, there)
            assert "new" in caught.value.problem
            assert "--give-up" in caught.value.remedy


@pytest.mark.parametrize(
    "values", [{0: 0, 1: 2, 2: 1}, {0: 0, 1: 1}, {0: 0, 5: 1, 2: 2}, {0: 0, 1: 1, 2: 2, 3: 1}, {0: 0, 1: 1, 2: 77}]
)
def test_the_classes_may_agree_and_their_values_differ(values):
    """As after an import with another --rename."""
    note_agreed(BASE)
    changed = manifest("cat,dog", *BASE.entries, values=values)
    added = replace(BASE, entries=(*BASE.entries, MASKED)).numbered()
    for here, there in both_ways(changed, added):
        with pytest.raises(DataError, match=NUMBERS):
            brought_together(here, there)


def test_a_class_that_was_taken_out_is_no_tag_of_an_image():
    """The image that the other machine added is named; images that were agreed went with their class."""
    note_agreed(BASE)
    changed = manifest("cat", image("a", "cat"))
    added = replace(BASE, entries=(*BASE.entries, image("new", "dog"))).numbered()
    for here, there in both_ways(changed, added):
        with pytest.raises(DataError, match=f"{TAGS}: new"):
            brought_together(here, there)


def test_classes_in_another_order_are_merged_where_no_mask_depends_on_them():
    """Tags are names."""
    note_agreed(BASE)
    changed = manifest("dog,cat", *BASE.entries)
    added = replace(BASE, entries=(*BASE.entries, image("new", "dog"))).numbered()
    for here, there in both_ways(changed, added):
        together = brought_together(here, there)
        assert together.classes.names == ("dog", "cat")
        assert [entry.image_id for entry in together.entries] == ["a", "b", "new"]


def test_a_class_at_the_end_changes_no_mask():
    """As `import --append --classes` does; masks that were added meanwhile are kept."""
    note_agreed(BASE)
    changed = manifest("cat,dog,bird", *BASE.entries, image("c", "bird", mask="bird is 3"))
    added = replace(BASE, entries=(*BASE.entries, MASKED)).numbered()
    for here, there in both_ways(changed, added):
        together = brought_together(here, there)
        assert (together.classes.names, together.mask_ids) == (changed.classes.names, changed.mask_ids)
        assert {entry.image_id for entry in together.entries} == {"a", "b", "c", "new"}


def test_who_changes_the_numbers_changes_agreed_images():
    """One machine mends the reading of all masks, the other changed nothing: that is no conflict, but is pulled before a push."""
    agreed = replace(BASE, entries=(*BASE.entries, MASKED)).numbered()
    note_agreed(agreed)
    mended = replace(agreed, mask_ids={0: 0, 1: 2, 2: 1})
    for here, there in both_ways(mended, agreed):
        assert brought_together(here, there).mask_ids == mended.mask_ids
    assert lacking(mended, agreed) == []
    assert lacking(agreed, mended) == ["the classes cat, dog"]


def test_the_same_new_mask_with_two_meanings_is_asked_for():
    """Both machines imported it since, each with its own numbers."""
    note_agreed(BASE)
    entries = (*BASE.entries, MASKED)
    for here, there in both_ways(manifest("dog,cat", *entries), manifest("cat,dog", *entries)):
        with pytest.raises(DataError, match=NUMBERS):
            brought_together(here, there)


def test_an_import_of_before_is_asked_for_where_nothing_is_known():
    """Without a note of what was agreed, other classes are a conflict."""
    with pytest.raises(DataError, match="have other classes: cat, dog; dog, cat"):
        brought_together(BASE, manifest("dog,cat", *BASE.entries))
    assert not LAST_SHARED.exists()


numberings = st.permutations([0, 1, 2, 3]).map(lambda ids: dict(enumerate(ids)))
orders = st.sampled_from([",".join(names) for names in permutations(("cat", "dog", "bird"))] + ["cat,dog", "dog"])


def meaning(import_: Manifest, entry: Entry) -> dict[int, str]:
    """What the values in a true mask stand for."""
    names = import_.classes.with_background
    return {value: names[class_id] for value, class_id in import_.mask_ids.items() if class_id < len(names)}


@given(classes=orders, values=numberings, swapped=st.booleans(), masked=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_what_was_added_means_the_same_afterwards(classes, values, swapped, masked):
    """Or the merge is refused: every value of the mask that had a class has the same, and every tag is a class."""
    note_agreed(BASE)
    names = classes.split(",")
    changed = manifest(classes, image("c", names[0]), values={v: k for v, k in values.items() if k <= len(names)})
    new = MASKED if masked else image("new", "cat")
    added = replace(BASE, entries=(*BASE.entries, new)).numbered()
    here, there = (added, changed) if swapped else (changed, added)
    try:
        together = brought_together(here, there)
    except DataError:
        return
    if masked:
        assert meaning(added, new).items() <= meaning(together, new).items()
    assert all(set(entry.tags) <= set(together.classes.names) for entry in together.entries)


def test_the_note_names_no_image():
    """Withdrawn ones must not be found in it."""
    note_agreed(BASE)
    assert set(json.loads(Path(LAST_SHARED).read_text())) == {"classes", "images"}
    assert "bytes of" not in LAST_SHARED.read_text()
