"""Read masks that were edited elsewhere, as corrections.

    DIR              PNG masks, named as in our exports or with what other tools put before it; below SegmentationClass/ or
                     gtFine/ if there is such a folder. Numbers are class ids, or those of classes.txt or labels.json; colours are
                     those of labelmap.txt (written by CVAT), else VOC's; that of the nearest folder. Or one of the files below
    ARCHIVE.zip      such a folder, as annotation tools export it
    INSTANCES.json   COCO instances; an image without an annotation is background
    TASKS.json       Label Studio's JSON or JSON-MIN
    annotations.xml  CVAT for images 1.1

A mask that equals the current one was not edited: it is counted and ignored. So is one that equals a mask of ours that holds no
longer, as that of the line where a person has corrected it since the export. One in an export of another photograph of its image
is refused.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from labelfactory.console import one_line
from labelfactory.dataset.images import fitted
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.errors import DataError, did_you_mean
from labelfactory.progress import progress
from labelfactory.schema import BACKGROUND, VOID, Mask
from labelfactory.specks import MIN_AREA, left_out_specks
from sources._edited_archive import unpacked
from sources._edited_forms import NAME_ONE, Reading, listed_masks
from sources._edited_mask import EditedMask
from sources._edited_names import ImageNames
from sources._edited_regions import resized, same_shape
from sources._exported_photographs import exported_photographs
from sources._findings import SHOWN, first_lines

NOT_TRAINING = "{} is not on the training list; other photographs have no masks"

Current = Callable[[ImageRecord], Mask | None]
"""Returns the current mask of an image, [H, W] uint8; None if it has none."""
Outdated = Callable[[ImageRecord], Iterable[Mask]]
"""Returns masks of an image, [H, W] uint8, that an earlier export may have and that hold no longer: one that equals them was not
edited, and does not replace the current one."""


@dataclass
class Edited:
    """The masks of a folder or file."""

    masks: dict[str, Mask] = field(default_factory=dict)  # image_id → [H, W] uint8 in the data set's class ids
    same: list[str] = field(default_factory=list)  # images whose mask equals the current one
    outdated: list[str] = field(default_factory=list)  # images whose mask equals one of ours that holds no longer
    inexact: dict[str, int] = field(default_factory=dict)  # image_id → pixels that were taken for the nearest
    decisions: list[str] = field(default_factory=list)  # for a person


@dataclass
class _Unsaid:
    """What formats of other tools cannot say, and how many masks had it."""

    void: int = 0
    specks: int = 0

    def count(self, kept: "_Kept") -> None:
        """Count a mask that is taken."""
        self.void += kept.void
        self.specks += kept.specks

    @property
    def decisions(self) -> list[str]:
        """The same for a person."""
        void = f"this format has no void: void of ours on which nothing was drawn stays void ({self.void} masks)"
        specks = (
            f"exports of objects leave out specks of less than {MIN_AREA} pixels: ours on which nothing was drawn stay "
            f"({self.specks} masks)"
        )
        return [said for said, count in ((void, self.void), (specks, self.specks)) if count]


@dataclass(frozen=True)
class _Kept:
    """An edited mask with what its format cannot say of an older one."""

    mask: Mask  # [H, W] uint8
    void: bool  # whether void of the older one is in it
    specks: bool

    @classmethod
    def of(cls, each: EditedMask, mask: Mask, old: Mask | None) -> "_Kept":
        """The edited mask, with the void and the specks of the older one on which nothing was drawn."""
        void = specks = np.zeros(mask.shape, dtype=bool)
        if old is not None and old.shape == mask.shape:
            if not each.has_void:
                void = (old == VOID) & (mask == BACKGROUND)
                mask = np.where(void, np.uint8(VOID), mask)
            if not each.has_specks:
                specks = left_out_specks(old, mask)
                mask = np.where(specks, old, mask)
        return cls(mask, bool(void.any()), bool(specks.any()))


def find_edited(
    path: Path,
    dataset: Dataset,
    current: Current,
    outdated: Outdated = lambda record: (),
    *,
    take_equal: bool = False,
    reading: Reading | None = None,
    refused: Callable[[ImageRecord], str] | None = None,
) -> Edited:
    """Read edited masks; check each against its photograph and compare it with the current mask.

    Args:
        path: the folder, archive or file.
        dataset: of the images.
        current: returns the current mask of an image.
        outdated: returns masks of an image that hold no longer.
        take_equal: also take masks that equal the current one, as confirmed by a person.
        reading: how they are read where the files leave it open.
        refused: says why the mask of an image is not taken, "" if it is; None takes those of the training list.

    Raises:
        DataError: lists every unusable mask with its file and the reason; then none is taken.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", NAME_ONE)
    how, edited, problems = reading or Reading(), Edited(), []
    with unpacked(path) as unzipped:
        listed = list(listed_masks(unzipped, dataset, how, edited.decisions, above=unzipped == path))
        gone, names = withdrawn(), ImageNames(dataset.usable)
        drawn_over = exported_photographs(unzipped)
        why_not, unsaid = refused or says_not_to_train(dataset), _Unsaid()
        with progress("corrections", len(listed)) as tick:
            for each in listed:
                tick()
                record = names.find(*each.names)
                problem = _not_taken(each, record, names, why_not, edited)
                if record is not None and gone.refuses(record.image_id, record.sha256):
                    problem = f"{record.image_id} was withdrawn"
                if problem or record is None:
                    problems.append(f"{each.where}: {problem}")
                    continue
                try:
                    mask, inexact = _checked(*each.load(record), record, dataset, nearest=how.nearest)
                except DataError as error:
                    problems.append(f"{each.where}: {error.problem}")
                    continue
                old, image_id = current(record), record.image_id
                kept = _Kept.of(each, mask, old)
                equal = old is not None and np.array_equal(old, kept.mask)
                if equal and not take_equal:
                    edited.same.append(image_id)
                elif not equal and _is_one_of(each, mask, outdated(record)):
                    edited.outdated.append(image_id)
                elif record.sha256 not in drawn_over.get(image_id, {record.sha256}):
                    problems.append(
                        f"{each.where}: its export has another photograph of {image_id}, by its provenance.json"
                    )
                else:
                    edited.masks[image_id] = kept.mask
                    edited.inexact |= {image_id: inexact} if inexact else {}
                    unsaid.count(kept)
    edited.decisions += unsaid.decisions
    if problems:
        raise _unusable(path, problems, len(listed))
    return edited


def says_not_to_train(dataset: Dataset) -> Callable[[ImageRecord], str]:
    """Says of an image why its mask is not taken: it is not on the training list."""
    training = {record.image_id for record in dataset.training}
    return lambda record: "" if record.image_id in training else NOT_TRAINING.format(record.image_id)


def _is_one_of(each: EditedMask, mask: Mask, older: Iterable[Mask]) -> bool:
    """Whether an edited mask, with what its format cannot say of them, is one of some older masks."""
    return any(np.array_equal(old, _Kept.of(each, mask, old).mask) for old in older)


def _unusable(path: Path, problems: Sequence[str], count: int) -> DataError:
    """The error for a folder or file of `count` masks, some of which have problems."""
    title = f"{path}: {len(problems)} of {count} masks are not usable; none was added"
    lines = [f"  {one_line(line)}" for line in first_lines(problems, SHOWN)]
    return DataError("\n".join([title, *lines]), "Mend or remove these, and add the rest again.")


def _not_taken(
    each: EditedMask,
    record: ImageRecord | None,
    names: ImageNames,
    why_not: Callable[[ImageRecord], str],
    edited: Edited,
) -> str:
    """Why no correction can be made of a mask, before it is read; "" if one can."""
    if record is None:
        known = names.ids if len(names.ids) < 10_000 else ()
        near = did_you_mean(each.names[0], known)
        return f"the data set has no image {each.names[0]!r}{near if 'did you mean' in near else ''}"
    if len(meanings := names.meanings(*each.names)) > 1:
        return f"it may be of {' or of '.join(map(repr, meanings))}: the id of one is the name of the other's file"
    if reason := why_not(record):
        return reason
    if record.image_id in edited.masks or record.image_id in (*edited.same, *edited.outdated):
        return f"a second mask for {record.image_id}"
    return ""


def _checked(mask: Mask, inexact: int, record: ImageRecord, dataset: Dataset, *, nearest: bool) -> tuple[Mask, int]:
    """The mask, upright, and its pixels that are not exact; refused if its size is not the photograph's or a value no class."""
    size = (record.height, record.width)
    try:
        mask = fitted(mask, size, Path(record.path))
    except DataError as error:
        if not same_shape(mask.shape, size):
            raise
        if not nearest:
            raise DataError(f"{error.problem}; --nearest scales it") from None
        mask, inexact = resized(mask, *size), mask.size
    wrong = np.setdiff1d(np.unique(mask), [*range(len(dataset.classes) + 1), VOID])
    if len(wrong):
        raise DataError(f"it contains {', '.join(map(str, wrong[:5]))}, which is not a class id")
    return mask, inexact
