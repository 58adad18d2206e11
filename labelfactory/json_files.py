"""JSON files of ours, read back: a file of another shape is an error of two parts where it is read, not a surprise later."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from labelfactory.digests import SHA256
from labelfactory.errors import DataError, cut
from labelfactory.foreign_files import LARGEST_OURS, FileRefusedError, read_file

Sha256 = Annotated[str, Field(pattern=rf"^{SHA256.pattern}$")]
"""A digest in a file: an empty one, or a part of one, would be found in everything."""


def read_json(path: Path, shape: Any, remedy: str) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        shape: its type, as pydantic knows types.
        remedy: what to type where it is damaged.

    Raises:
        DataError: not readable, not JSON, or of another shape.
    """
    try:
        content = read_file(path, largest=LARGEST_OURS)
    except FileRefusedError as error:
        raise DataError(f"{path}: not readable: {error.reason}", remedy) from None
    return read_content(path, content, shape, remedy)


def read_content(path: Path, content: bytes, shape: Any, remedy: str, *, strict: bool = False) -> Any:
    """The same for what was read from a file already; `strict`: no number is taken for a text, and so on.

    Raises:
        DataError: not JSON, or of another shape.
    """
    try:
        return _adapter(shape).validate_json(content, strict=strict)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = cut("".join(f"{part}: " for part in first["loc"]), 100)
        what = cut(f"{first['msg'][:1].lower()}{first['msg'][1:]}", 200)
        raise DataError(f"{path}: damaged: {where}{what}", remedy) from None


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
