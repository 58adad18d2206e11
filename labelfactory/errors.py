"""Errors for users: what is wrong with which value, and what to type.

Exit codes: 0 done, 2 the user can mend it (`UserError`), 1 a bug (anything else).
"""

import difflib
from collections.abc import Iterable

from labelfactory.masking import masked


class LabelfactoryError(Exception):
    """Base of every error that this project raises on purpose."""

    exit_code = 1


class UserError(LabelfactoryError):
    """Something the user can mend. Printed as two lines: the problem, the remedy, both without secrets."""

    exit_code = 2

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem, self.remedy = masked(problem), masked(remedy)
        super().__init__(self.problem, self.remedy)

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class ParamsError(UserError):
    """A value in params.yaml or in a profile is wrong."""


class DataError(UserError):
    """A photograph, tag, list or mask is wrong."""


class ChangedMeanwhileError(DataError):
    """Another command replaced or took away what was being read: who begins again reads what is now."""


class NewerFormatError(DataError):
    """A newer labelfactory wrote the file, which is not replaced."""


class MissingError(UserError):
    """A file that an earlier step writes is missing."""


class SupervisionError(UserError):
    """Weights have seen stronger labels than the line allows."""


class ShapeError(LabelfactoryError, ValueError):
    """Two arrays that must agree do not. A bug of the caller."""


def in_short(error: BaseException, most: int = 200) -> str:
    """An error's text in one line, `cut`; the name of its class where it has none."""
    return cut(" ".join(str(error).split()) or type(error).__name__, most)


def cut(text: str, most: int) -> str:
    """The first characters of a text of others, without secrets, which are masked first: the part of one would not be found."""
    return masked(text)[:most]


def first_line(error: BaseException) -> str:
    """The first line of an error's text; the name of its class where it has none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean `x`?`` for the nearest known word, or the list of known words.

    >>> did_you_mean("betta", ["beta", "steps"])
    '; did you mean `beta`?'
    """
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known: {', '.join(names)}" if names else ""
