"""File names for image ids: an id may hold anything that a person types, a file name may not."""

from urllib.parse import quote

from labelfactory.digests import digest_bytes

LONGEST = 150
"""Characters; file systems end at 255 bytes, and a suffix follows."""


def file_name(image_id: str) -> str:
    """A name for files of this image, without a suffix: ASCII, no slash, no blank, never hidden. Other ids, other names.

    >>> file_name("shop/été 1")
    'shop%2F%C3%A9t%C3%A9%201'
    """
    name = quote(image_id, safe="", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 40]}~{digest_bytes(image_id.encode('utf-8', 'surrogatepass'))[:32]}"
    return name
