"""File names for image ids, which may contain any character."""

import re
from urllib.parse import quote, unquote

from labelfactory.digests import digest_bytes

LONGEST = 150
"""Characters; file systems end at 255 bytes, and a suffix follows."""
SHORTENED = re.compile(f".{{{LONGEST - 40}}}~[0-9a-f]{{32}}")
"""The name of an id that is too long."""
SURROGATE = re.compile(r"[\ud800-\udfff]")
"""What Python makes of a byte in a file's name that is no UTF-8; no file in UTF-8 can hold it."""


def file_name(image_id: str) -> str:
    """A file name for an image, without suffix: ASCII, no slash, no blank, never hidden. Different ids have different names.

    >>> file_name("shop/été 1")
    'shop%2F%C3%A9t%C3%A9%201'
    """
    name = quote(image_id, safe="", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST or SHORTENED.fullmatch(name):  # an id may look like the name of a longer one
        name = f"{name[: LONGEST - 40]}~{digest_bytes(image_id.encode('utf-8', 'surrogatepass'))[:32]}"
    return name


def id_of_file_name(name: str) -> str:
    """The image id whose `file_name` this is; the name itself where it is none, or holds a digest in place of the end.

    >>> id_of_file_name("shop%2F%C3%A9t%C3%A9%201")
    'shop/été 1'
    """
    try:
        image_id = unquote(name, errors="surrogatepass")
    except UnicodeDecodeError:  # cut within a character, or not of ours
        return name
    return image_id if file_name(image_id) == name else name


def in_utf8(text: str) -> str:
    r"""A text that UTF-8 can hold: a byte of a file's name that is no UTF-8 stands as its escape.

    >>> in_utf8("ext\udce9")
    'ext\\xe9'
    """
    return SURROGATE.sub(lambda match: _escape(ord(match.group())), text)


def _escape(code: int) -> str:
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
