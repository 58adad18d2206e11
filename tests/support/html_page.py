"""A page of HTML, read and checked; of the report and of the server's pages."""

import re
from html.parser import HTMLParser

VOID_ELEMENTS = {"meta", "link", "img", "br", "hr", "input", "wbr", "path", "rect"}


class Page(HTMLParser):
    """Reads a page and refuses tags that do not close each other."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.pieces.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        """All text as it stands, without style sheets."""
        return "".join(self.pieces)

    @property
    def words(self) -> str:
        """The text, with one blank between words, and between elements."""
        return re.sub(r"\s+", " ", " ".join(self.pieces))


def opens_offline(html: str) -> Page:
    """The page, which has no address but those inside it, unique ids, links that lead somewhere, words for pictures, one title."""
    page = Page(html)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for key in ("src", "href", "xlink:href"):
            address = attributes.get(key) or "data:"
            assert address.startswith("data:") or address[1:] in ids
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", html)
    assert set(re.findall(r"url\(#([^)]*)\)", html)) <= set(ids)
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("h1")) == 1
    return page
