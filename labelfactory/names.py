"""File names for image ids, which may contain any character."""

from urllib.parse import quote, unquote

from labelfactory.digests import digest_bytes

LONGEST = 150
"""Characters; file systems end at 255 bytes, and a suffix follows."""


def file_name(image_id: str) -> str:
    """A file name for an image, without suffix: ASCII, no slash, no blank, never hidden. Different ids have different names.

    >>> file_name("shop/été 1")
    'shop%2F%C3%A9t%C3%A9%201'
    """
    name = quote(image_id, safe="", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST:
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
