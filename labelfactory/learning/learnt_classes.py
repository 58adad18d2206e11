"""The classes that a network learnt: its channels and the class ids of its masks bear their names, and no others."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from labelfactory.console import first_of
from labelfactory.errors import DataError

SHOWN = 5


def refuse_other_classes(
    path: Path, learnt: Sequence[str], classes: Sequence[str], *, of: str = "the data set"
) -> None:
    """Refuse to run a network for other classes: their names would stand on the ids of those that it learnt.

    Args:
        path: the network's checkpoint.
        learnt: names of class ids 1, 2, … when it was trained, as its passport has them.
        classes: those of what it is to run for.
        of: what that is.

    Raises:
        DataError: they are not the same, in the same order.
    """
    if tuple(learnt) != tuple(classes):
        raise DataError(
            f"{path}: {not_the_same(learnt, classes, of=of)}",
            "Type `labelfactory run`: it trains the networks for the classes of the data set.",
        )


def not_the_same(learnt: Sequence[str], classes: Sequence[str], *, of: str) -> str:
    """Both lists for a person, and the first difference where it is not among the names that are shown.

    >>> not_the_same(["cat", "dog"], ["dog", "cat"], of="the data set")
    'trained for the classes cat, dog; the data set has the classes dog, cat'
    """
    text = f"trained for the classes {first_of(learnt, SHOWN)}; {of} has the classes {first_of(classes, SHOWN)}"
    if tuple(learnt[:SHOWN]) != tuple(classes[:SHOWN]):
        return text
    pairs = enumerate(zip_longest(learnt, classes, fillvalue="none"), 1)
    number, own, other = next((k, one, two) for k, (one, two) in pairs if one != two)
    return f"{text}: class {number} is {own} there, {other} here"
