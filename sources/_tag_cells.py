"""The tags in one cell of a table, as people and programs write them."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

NAME_KEYS = (
    "choices", "rectanglelabels", "polygonlabels", "brushlabels", "keypointlabels", "labels", "label", "class", "category",
    "name", "tag",
)  # fmt: skip
"""Keys of a dictionary that holds the name of a class: Label Studio's, and those of other lists of objects."""
LONGEST_LIST = 100_000
LONGEST_WORD = 200
WRITE = 'write ["cat", "dog"] or cat|dog'

_TOKEN = re.compile(
    r"\s*+(?:(?:np|numpy)\.\w+\(\s*+)?"
    r"(?:(?P<quoted>'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\")|(?P<bare>[^,'\"\[\](){}]++))\s*+(?:\)\s*+)?"
    r"(?P<end>,|$|(?=['\"]))",
    re.DOTALL,
)
"""One item of a list as Python or NumPy writes it: 'cat', np.str_('cat'), 3; apart by commas, or by blanks between quotes."""
_CALL = re.compile(r"(?:array|set|frozenset)\((?P<list>[\[{(].*[\]})])?(?:,\s*dtype=[^,()]*)?\)", re.DOTALL)
_FLAGS = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0, "": 0, "nan": 0, "-1": -1, "-1.0": -1}


class NotTagsError(ValueError):
    """A cell holds something other than tags; its text is the reason."""


def tags_in(cell: Any, separator: str = "") -> tuple[str, ...]:
    """Tags of one cell.

    Args:
        cell: a list of texts, numbers or dictionaries with a name; such a list as text, as JSON, Python or NumPy write it; or
            text separated by `|`, `;` or `,`; empty for none.
        separator: between the tags of a text, instead of those.

    Raises:
        NotTagsError: anything else.
    """
    try:
        tags = _of_cell(cell, separator)
    except RecursionError:
        raise NotTagsError(f"lists within lists are not tags; {WRITE}") from None
    return tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))


def _of_cell(cell: Any, separator: str) -> Sequence[str]:
    if isinstance(cell, str):
        return _of_text(cell.strip(), separator)
    if isinstance(cell, (list, tuple)):
        return [tag for item in cell for tag in ([item] if isinstance(item, str) else _of_item(item))]
    return _of_item(cell)


def flag_in(cell: Any) -> int | None:
    """1, 0 or -1 in a cell of a column for one class, empty is 0; None for anything else."""
    if cell is None or isinstance(cell, (bool, int, float, str)):
        return _FLAGS.get("" if cell is None else str(cell).strip().lower())
    return None


def _of_item(cell: Any) -> Sequence[str]:
    """Of a cell, or of an item of a list, that is no text."""
    if cell is None or cell != cell:  # NaN is an empty cell
        return ()
    if isinstance(cell, bool):
        raise NotTagsError(
            f"{str(cell).lower()} is not a class; a column of true and false is named with --tag-columns"
        )
    if isinstance(cell, (int, float)):
        if cell < 0 or cell % 1:  # infinity too
            raise NotTagsError(f"the number {cell} is not a class; {WRITE}")
        return [str(int(cell))]
    if isinstance(cell, Mapping):
        return _of_mapping(cell)
    raise NotTagsError(f"{str(cell)[:60]!r} is not a list of tags; {WRITE}")


def _of_mapping(cell: Mapping[Any, Any]) -> Sequence[str]:
    keys = [key for key in cell if key in NAME_KEYS]
    if len(keys) == 1 and isinstance(cell[keys[0]], (str, list)):
        return tags_in([cell[keys[0]]] if isinstance(cell[keys[0]], str) else cell[keys[0]])
    if cell:
        raise NotTagsError(
            f"a dictionary with the keys {', '.join(map(str, cell))[:60]} is not a list of tags; {WRITE}"
        )
    return ()


def _of_text(text: str, separator: str) -> Sequence[str]:
    if wrapped := _CALL.fullmatch(text):
        text = wrapped["list"] or "[]"
    bracket = next((pair for pair in ("[]", "{}", "()") if text[:1] == pair[0] and text[-1:] == pair[1]), "")
    if bracket and len(text) <= LONGEST_LIST:
        listed = _of_json(text) if bracket != "()" else None
        if listed is None and bracket == "{}":
            listed = _of_python_dictionary(text)
        if listed is None:
            listed = _of_list(text[1:-1], only_quoted=bracket == "()")
        if listed is not None:
            return listed
    if text.startswith(("[", "{")):
        raise NotTagsError(f"{text[:60]!r} is not a list of tags; {WRITE}")
    return text.split(separator) if separator else re.split(r"[|;,]", text)


def _of_json(text: str) -> Sequence[str] | None:
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tags_in(loaded)


def _of_python_dictionary(text: str) -> Sequence[str] | None:
    if not re.match(r"\{\s*['\"][^'\"]*['\"]\s*:", text):
        return None
    try:
        return tags_in(ast.literal_eval(text))
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        if isinstance(error, NotTagsError):
            raise
        return None


def _of_list(text: str, *, only_quoted: bool) -> list[str] | None:
    """The items of a list without its brackets; None if it is no list. Python itself would join `'cat' 'dog'`."""
    items: list[str] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at or (only_quoted and not match["quoted"]):
            return None
        if "..." in (match["bare"] or "") or len(match["bare"] or "") > LONGEST_WORD:  # NumPy leaves out the middle
            return None
        at = match.end()
        if match["quoted"]:
            try:
                items.append(ast.literal_eval(match["quoted"].replace("\n", " ")))
            except (ValueError, SyntaxError):
                return None
        elif match["bare"].strip().lower() not in ("", "none", "nan", "null"):
            words = match["bare"].split()
            items += words if all(re.fullmatch(r"[\d.]+", word) for word in words) else [match["bare"]]
    return items
