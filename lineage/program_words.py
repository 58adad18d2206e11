"""Words of this program: an id that is one of them, such as `seed` or `center`, says nothing by itself."""

import ast
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import labelfactory
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.settings.wiring import WIRING_FILE

CODE = Path(labelfactory.__file__).parents[1]
TEXTS = (".py", ".html", ".css", ".js", ".yaml", ".json", ".txt")
WORD = re.compile(r"[^\W\d]+(?:[-_][^\W\d]+)*")
"""Letters, also of several words that are joined; nothing with a digit."""


def words_among(names: Collection[str]) -> frozenset[str]:
    """Those of the names that the program's texts, its parameters or its pipeline have as a word: its reports, tables and headers
    have it without meaning an image.
    """
    asked = {name for name in names if WORD.fullmatch(name)}
    return frozenset(asked & _words()) if asked else frozenset()


@cache
def _words() -> frozenset[str]:
    files = [path for package in labelfactory.PACKAGES for path in (CODE / package).rglob("*") if path.suffix in TEXTS]
    here = [path for path in (Path(PARAMS_FILE), WIRING_FILE) if path.is_file()]
    found: set[str] = set()
    for path in (*files, *here):
        text = path.read_text("utf-8", errors="replace")
        for joined in WORD.findall(" ".join(_said_by(text)) if path.suffix == ".py" else text):
            found |= {joined, *re.split("[-_]", joined)}
    return frozenset(found)


def _said_by(code: str) -> Iterator[str]:
    """Names and texts of a module, without its docstrings and comments, which nothing writes."""
    nodes = [*ast.walk(ast.parse(code))]
    alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        for value in (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "value")):
            if isinstance(value, str) and id(node) not in alone:
                yield value
