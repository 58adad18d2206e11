"""What the pixels of an import's true masks mean: some of them are opened on every import, and held against the tags.

    numbers    each pixel is the number of its class, in a palette or grey PNG; void is 255. What this program writes.
    colours    VOC's colours: always in RGB, and where a palette was put in another order
    swapped    the same with red and blue exchanged, as OpenCV writes what was drawn as RGB
    greys      the grey of VOC's colours: 38 for class 1, from `convert("L")` or OpenCV
    one class  0 and 255, or 0 and 1 in one bit, where there is one class

Numbers are kept unless they agree with the tags of few masks and another meaning does with nearly all. Masks of another meaning are
written as numbers below data/raw/masks; where no meaning agrees, no true mask is taken. Tags and photographs never depend on it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, TypeVar

import numpy as np

from labelfactory.dataset.manifest import Entry
from labelfactory.dataset.picture_files import MASKS, opened_picture
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.schema import BACKGROUND, MAX_CLASSES, VOID
from sources._batch import Candidate
from sources._mask_files import (
    UNKNOWN,
    MaskFile,
    Values,
    colour_of,
    has_our_palette,
    looked_up,
    read_mask_file,
    shown,
    value_of_grey,
    with_erased,
)

Over = Literal["upright", "stored"]
"""The pixels that a mask is drawn over, where its size does not say it."""
Image = TypeVar("Image", Candidate, Entry)
Meaning = Callable[[MaskFile], Values]
"""[n] value of each distinct pixel of a mask; UNKNOWN for those that mean nothing."""

LOOKED_AT = 200
"""True masks that every import opens, of all lists and classes."""
AGREED, REFUTED = 0.9, 0.5
"""Share of masks at which a meaning is sure, and at which numbers are none."""
EXAMPLES = 3
WORKERS, LARGEST = 4, 16_000_000
"""Masks that are opened at one time, and pixels of one that is looked at."""


@dataclass(frozen=True)
class TrueMasks:
    """How the true masks of an import are read."""

    meaning: str
    read: Meaning
    over: Over = "upright"
    looked_at: frozenset[str] = frozenset()  # image ids
    decisions: tuple[str, ...] = ()  # for a person
    refused: bool = False  # no true mask is taken; the decisions say why

    def values(self, file: MaskFile) -> Values:
        """[n] the value that each pixel of a mask is written as.

        Raises:
            DataError: one of them means nothing.
        """
        values = self.read(file)
        unknown = values == UNKNOWN
        if unknown.any() and (file.in_colours or file.numbers is None or self.meaning == "colours"):
            colours = ", ".join(shown(int(colour)) for colour in file.colours[unknown][:3])
            raise DataError(f"the mask is in colours, of which {colours} is no class's")
        if unknown.any():
            numbers = ", ".join(str(int(number)) for number in file.numbers[unknown][:3])  # type: ignore[index]
            raise DataError(f"the mask contains {numbers}, which is not a class")
        return values


def look_at(
    candidates: Sequence[Candidate], classes: Mapping[int, str], chosen: Sequence[str], *, over: Over = "upright"
) -> TrueMasks:
    """Decide what the pixels of the true masks mean, from some of them.

    Args:
        candidates: of one source; their tags are chosen classes.
        classes: value in the true masks → class, as the source numbers them.
        chosen: the classes of the import.
        over: the pixels that masks are drawn over where their size does not say it.
    """
    if len(chosen) > MAX_CLASSES:  # the import is refused for that
        return as_numbers({})
    sample = list(spread([c for c in candidates if c.mask is not None and c.mask_size is None]))[:LOOKED_AT]
    with ThreadPoolExecutor(WORKERS) as pool:
        read = list(zip(sample, pool.map(_opened, sample), strict=True))
    files = [(candidate, file) for candidate, file in read if file is not None]
    looked_at = frozenset(candidate.image_id for candidate, _ in files)
    meanings = dict(_meanings(classes, chosen))
    shares = {name: _share(files, meaning, classes, chosen) for name, meaning in meanings.items()}
    best = max(meanings, key=lambda name: (shares[name], name == "numbers"))
    tagged = [(candidate, file) for candidate, file in files if candidate.tags]
    numbers, plain = meanings["numbers"], _share(tagged, meanings["numbers"], classes, chosen)
    if best != "numbers" and shares[best] >= AGREED and plain <= REFUTED:
        said = (
            f"{_WORDS[best].format(name=chosen[0])}: {shares[best]:.0%} of the {len(files)} looked at agree with the tags so, "
            f"{plain:.0%} as class numbers. They are written as class numbers"
        )
        return TrueMasks(best, meanings[best], over, looked_at, (said,))
    if tagged and not any(_names(file, numbers, classes, chosen) for _, file in files):
        count = sum(candidate.mask is not None for candidate in candidates)
        said = f"none of {count} true masks is taken: {_refusal(files, classes, chosen)}"
        return TrueMasks("numbers", numbers, over, looked_at, (said,), refused=True)
    return TrueMasks("numbers", numbers, over, looked_at)


def as_numbers(classes: Mapping[int, str]) -> TrueMasks:
    """True masks of which none is opened: of class numbers."""
    return TrueMasks("numbers", dict(_meanings(classes, ()))["numbers"])


_WORDS = {
    "colours": "true masks are read by their colours, since their palettes are in another order",
    "swapped": "true masks hold VOC's colours with red and blue exchanged",
    "greys": "true masks hold the greys of VOC's colours",
    "one class": "true masks hold 0 and 255, and 255 is taken as {name!r}, the one class",
}


def spread(candidates: Iterable[Image]) -> Iterator[Image]:
    """All of them, those of every list and every class in turn; within each in an order that their names do not give."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Image]] = {}
    for candidate in sorted(candidates, key=lambda c: digest_bytes(c.image_id.encode("utf-8", "surrogatepass"))):
        groups.setdefault((candidate.lists, candidate.tags), []).append(candidate)
    for row in zip_longest(*(group for _, group in sorted(groups.items()))):
        yield from filter(None, row)


def _opened(candidate: Candidate) -> MaskFile | None:
    try:
        data = candidate.read_mask()
        with opened_picture(data or b"", formats=MASKS) as opened:
            if opened.width * opened.height > LARGEST:
                return None
        return read_mask_file(data or b"")
    except DataError:  # the inspection says it
        return None


def _meanings(classes: Mapping[int, str], chosen: Sequence[str]) -> Iterator[tuple[str, Meaning]]:
    """Every meaning that masks of these classes may have, by name."""
    own = {number: number for number in (BACKGROUND, *classes, VOID)}
    colours = {colour_of(number): number for number in own}
    of_number = {number: colour_of(number) for number in range(256)}

    swapped = {_exchanged(colour): number for colour, number in colours.items()}

    def coloured(otherwise: Mapping[int, int], in_rgb: Mapping[int, int] = colours, *, strict: bool = True) -> Meaning:
        """VOC's colours in RGB where all fit; else numbers."""

        def read(file: MaskFile) -> Values:
            if file.in_colours:
                values = with_erased(looked_up(file.colours, in_rgb), file)
                if file.numbers is None or UNKNOWN not in values:
                    return values
            numbers = np.asarray(file.numbers)
            values = looked_up(numbers, otherwise)
            return with_erased(
                values if strict or file.in_colours else np.where(values == UNKNOWN, numbers, values), file
            )

        return read

    def by_palette(file: MaskFile) -> Values:
        if file.mode == "P" and has_our_palette(file, of_number):
            return looked_up(np.asarray(file.numbers), own)
        return with_erased(looked_up(file.colours, colours), file)

    yield "numbers", coloured(own, strict=False)
    yield "colours", by_palette
    yield "swapped", coloured(own, swapped)
    yield "greys", coloured(value_of_grey(classes))
    values = [value for value, name in classes.items() if name in chosen]
    if len(chosen) == 1 and len(values) == 1:
        yield "one class", coloured({BACKGROUND: BACKGROUND, VOID: values[0]})


def _exchanged(colour: int) -> int:
    """A colour with red and blue exchanged."""
    return (colour & 255) << 16 | colour & 0xFF00 | colour >> 16


def _names(file: MaskFile, meaning: Meaning, classes: Mapping[int, str], chosen: Sequence[str]) -> set[str]:
    """The chosen classes that a mask shows."""
    return {classes[int(value)] for value in meaning(file) if int(value) in classes} & set(chosen)


def _share(
    files: Sequence[tuple[Candidate, MaskFile]], meaning: Meaning, classes: Mapping[int, str], chosen: Sequence[str]
) -> float:
    """Share of the masks that agree with the tags: they show some of the tags and nothing else, and hold what has a meaning."""
    known = {BACKGROUND, VOID, *classes}
    agreed = 0
    for candidate, file in files:
        shows = _names(file, meaning, classes, chosen)
        fits = all(int(value) in known for value in meaning(file))
        agreed += fits and shows <= set(candidate.tags) and bool(shows) == bool(candidate.tags)
    return agreed / len(files) if files else 1.0


def _refusal(files: Sequence[tuple[Candidate, MaskFile]], classes: Mapping[int, str], chosen: Sequence[str]) -> str:
    """What the masks hold instead of classes."""
    held = Counter(int(number) for _, file in files if file.numbers is not None for number in file.numbers)
    colours = Counter(int(colour) for _, file in files if file.numbers is None for colour in file.colours)
    holds = [str(number) for number, _ in sorted(held.most_common(6))] + [shown(k) for k, _ in colours.most_common(6)]
    numbers = [f"{value} {name}" for value, name in classes.items() if name in chosen][:EXAMPLES]
    return (
        f"{len(files)} were looked at, and none shows a class of its photograph's tags; they hold {', '.join(holds)}. "
        f"Write 0 for the background, {', '.join(numbers)}, 255 for void, and import again; tags and photographs are as they are"
    )


def said_of_turned(orientations: Sequence[int], over: Over) -> tuple[str, ...]:
    """What was decided about masks whose size does not say what they are drawn over; nothing if there are none.

    Args:
        orientations: of the photographs of such masks.
        over: how they were taken.
    """
    if not orientations:
        return ()
    counts = ", ".join(f"{orientation}: {count}" for orientation, count in sorted(Counter(orientations).items()))
    other = "stored" if over == "upright" else "upright"
    return (
        f"{len(orientations)} true masks fit their photograph both as it is stored and turned upright (EXIF {counts}): taken as "
        f"drawn over the {over} photograph; --masks {other} takes them the other way",
    )
