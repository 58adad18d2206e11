"""Plain lines for the terminal or the log, and durations and sizes in words."""

import re
import sys
from collections.abc import Sequence

from labelfactory.masking import masked

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, end a line or turn its direction; line feed and tab are ours."""


def in_time(seconds: float) -> str:
    """Seconds in a readable unit: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def in_bytes(size: int) -> str:
    """Bytes in a readable unit: 250 MB, 3.2 GB; at least 1 MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 1):.0f} MB"


def printable(text: str) -> str:
    r"""The text with control characters as escapes; an image id or a server's answer may hold some.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    r"""The text as a single printable line; the name of a file may contain a line feed.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def first_of(names: Sequence[str], most: int) -> str:
    """Names in a phrase: the first ones, and how many more there are.

    >>> first_of(["cat", "dog", "fox"], 2)
    'cat, dog and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def say(text: str) -> None:
    """Print plain lines to the terminal or the log, unbuffered, without secrets and control characters."""
    print(printable(masked(text)), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print plain lines to standard output, as `say` does: a command's answer, which may be piped."""
    print(printable(masked(text)), flush=True)
