"""The import that machines share: what each has changed since they last agreed is brought together, image by image.

.labelfactory/last_shared.json says what this folder last sent or took: of each image a digest of its id and one of what the
manifest says of it, no ids, since withdrawn images must not be named there.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from labelfactory.console import first_of, say
from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_json
from labelfactory.errors import DataError
from labelfactory.files import make_folder, write_json
from labelfactory.json_files import read_json

LAST_SHARED = Path(".labelfactory/last_shared.json")
SHOWN = 5
DIGITS = 24
"""Of a digest, which need not withstand an attack here."""


class _Agreed(BaseModel):
    """What this folder and the remote last agreed on; empty where nothing is known."""

    classes: str = ""
    images: dict[str, str] = {}


def note_agreed(manifest: Manifest) -> None:
    """Write down what this folder sent or took."""
    make_folder(LAST_SHARED.parent)
    images = {_name(entry): _said(entry) for entry in manifest.entries}
    write_json(LAST_SHARED, {"classes": _classes(manifest), "images": images})


def brought_together(here: Manifest, there: Manifest) -> Manifest:
    """The shared import with what was added, changed or removed here since.

    Args:
        here: this folder's import.
        there: the pushed one.

    Raises:
        DataError: both sides have changed an image, or the classes, in different ways; or images of one side mean something else
            under the classes of the other.
    """
    agreed = _agreed()
    classes, others = there, here
    if _classes(here) != _classes(there) and _classes(here) != agreed.classes:
        if _classes(there) != agreed.classes:
            names = (", ".join(manifest.classes.names) for manifest in (here, there))
            raise _conflict("this folder's import and the pushed one have other classes: {}; {}".format(*names))
        classes, others = here, there
    ours, theirs = _by_name(here), _by_name(there)
    kept: list[Entry] = []
    carried: list[Entry] = []  # from the side whose classes are not taken
    clashing: list[str] = []
    for name in [*theirs, *(name for name in ours if name not in theirs)]:
        own, other, before = ours.get(name), theirs.get(name), agreed.images.get(name)
        if _said(own) in (_said(other), before):
            taken, source = other, there
        elif _said(other) == before:
            taken, source = own and replace(own, position=other.position if other else -1), here
        else:
            clashing.append((own or other).image_id)  # type: ignore[union-attr]
            continue
        if taken is None:
            continue
        kept.append(taken)
        # what both say was agreed under the classes that one side has changed since, or is new
        is_same = _said(own) == _said(other)
        if _said(own) != before if is_same else source is others:
            carried.append(taken)
    if clashing:
        raise _conflict(f"changed here and, in another way, on another machine: {first_of(clashing, SHOWN)}")
    if _classes(here) != _classes(there):
        _check_meaning(carried, others, classes)
    return replace(classes, entries=tuple(kept)).numbered()


def lacking(here: Manifest, there: Manifest) -> list[str]:
    """What the shared import has in another way, once what was changed here is in it: ids of images, or its classes.

    Raises:
        DataError: as `brought_together`.
    """
    ours = {entry.image_id: _said(entry) for entry in here.entries}
    merged = brought_together(here, there)
    together = {entry.image_id: _said(entry) for entry in merged.entries}
    images = sorted(
        image_id for image_id in ours.keys() | together.keys() if ours.get(image_id) != together.get(image_id)
    )
    classes = [] if _classes(merged) == _classes(here) else [f"the classes {', '.join(merged.classes.names)}"]
    return images or classes


def say_what_goes(command: str, before: Manifest, after: Manifest, whose: str) -> None:
    """Name the images that leave an import because another one no longer has them: that may be one of an older commit."""
    left = {_name(entry) for entry in after.entries}
    gone = [entry.image_id for entry in _kept(before.entries) if _name(entry) not in left]
    if gone:
        say(
            f"{command}: {whose} loses {len(gone)} images: {first_of(gone, SHOWN)}. Where that is wrong, bring them back "
            "(`labelfactory import`, or `dvc checkout data/import.dvc` of the commit that had them) and type `labelfactory push`"
        )


def _conflict(problem: str) -> DataError:
    remedy = "`labelfactory pull --give-up` takes what was pushed, `labelfactory push --give-up` sends what is here."
    return DataError(problem, remedy)


def _check_meaning(entries: list[Entry], source: Manifest, target: Manifest) -> None:
    """Refuse images that mean something else under the classes of `target` than in the import `source`, as `Manifest.appended`."""
    known = set(target.classes.names)
    untaggable = [entry.image_id for entry in entries if not known.issuperset(entry.tags)]
    if untaggable:
        raise _conflict(
            f"images have tags of classes that the other side's import does not have: {first_of(untaggable, SHOWN)}"
        )
    masked = [entry.image_id for entry in entries if entry.mask_sha256]
    before, after = _class_of_value(source), _class_of_value(target)
    more = {after[value] for value in after.keys() - before.keys()}
    if masked and (not before.items() <= after.items() or more & set(before.values())):
        raise _conflict(
            "the true masks of this folder's import and of the pushed one number their classes differently: "
            f"{first_of(masked, SHOWN)}"
        )


def _class_of_value(manifest: Manifest) -> dict[int, str]:
    """What each value in the true masks stands for; a number that is no class stands for itself."""
    names = dict(enumerate(manifest.classes.with_background))
    return {value: names.get(class_id, f"{class_id}") for value, class_id in manifest.mask_ids.items()}


def is_agreed() -> bool:
    """Whether it is known what this folder last sent or took."""
    return bool(_agreed().classes)


def _agreed() -> _Agreed:
    try:
        found: _Agreed = read_json(LAST_SHARED, _Agreed, "")
    except DataError:
        return _Agreed()
    return found


def _by_name(manifest: Manifest) -> dict[str, Entry]:
    return {_name(entry): entry for entry in _kept(manifest.entries)}


def _kept(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return withdrawn().kept(tuple(entries))


def _name(entry: Entry) -> str:
    return digest_json(entry.image_id)[:DIGITS]


def _said(entry: Entry | None) -> str | None:
    """A digest of what the manifest says of an image, but for paths and the position, which differ between machines."""
    if entry is None:
        return None
    said = [entry.image_id, entry.sha256, entry.mask_sha256, sorted(entry.lists), sorted(entry.tags)]
    return digest_json(said)[:DIGITS]


def _classes(manifest: Manifest) -> str:
    return digest_json([list(manifest.classes.names), sorted(manifest.mask_ids.items())])[:DIGITS]
