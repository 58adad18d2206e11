"""The query of a grid of images, read from a URL: filters, order, page. Unknown values fall back to the defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

PER_PAGE = 60
"""Images on a page: ten rows of six in a wide window."""
LONGEST = 200
"""Characters of a text that is searched for."""
HOURS = {"24h": 24, "7d": 24 * 7, "30d": 24 * 30}
STATES = {
    "": "all",
    "masks": "with a mask",
    "none": "without a mask",
    "quarantined": "quarantined",
    "human": "drawn by a person",
    "scored": "scored",
}
VIEWS = {"mask": "masks", "photo": "photographs"}
ORDERS = {
    "low": "{figure} ASC NULLS LAST",
    "high": "{figure} DESC NULLS LAST",
    "import": "i.position",
    "new": "i.time DESC NULLS LAST",
}
"""Order → what stands after ORDER BY."""
ORDER_NAMES = {"low": "lowest first", "high": "highest first", "import": "as imported", "new": "newest mask first"}


@dataclass(frozen=True)
class Quality:
    """A figure of quality between 0 and 1."""

    column: str
    name: str
    says: str


RATED = "quality"
"""The column of the masks' quality; the table has it of each class too."""
QUALITIES = {
    "quality": Quality(RATED, "quality", "expected mIoU of the mask, found without its truth"),
    "agreement": Quality("agreement", "agreement", "share of pixels on which walk and CRF agree"),
    "confidence": Quality("mean_confidence", "confidence", "mean probability of the CRF's best class"),
    "void": Quality("void_share", "void", "share of pixels that the CRF leaves undecided"),
    "masks": Quality("miou_of_mask", "mIoU of the mask", "against the true mask, where there is one"),
    "model": Quality("miou_of_model", "mIoU of the model", "against the true mask, where there is one"),
}


@dataclass(frozen=True)
class ImageQuery:
    """Filters and order of a grid of images. The defaults mean all of them."""

    q: str = ""  # part of the id
    tag: str = ""
    state: str = ""  # one of STATES
    since: str = ""  # one of HOURS, or a model: its mask is another than the one that this model learnt from
    of: str = ""  # a model: images that it learnt from
    quality: str = "quality"  # one of QUALITIES
    low: float | None = None  # per cent
    high: float | None = None
    order: str = "low"  # one of ORDERS
    view: str = "mask"  # one of VIEWS
    page: int = 1

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "ImageQuery":
        """Read a URL's query; an unknown value is left at its default."""
        return cls(
            q=query.get("q", "")[:LONGEST],
            tag=query.get("tag", "")[:LONGEST],
            state=_one_of(query.get("state"), STATES, ""),
            since=query.get("since", "")[:LONGEST],
            of=query.get("of", "")[:LONGEST],
            quality=_one_of(query.get("quality"), QUALITIES, "quality"),
            low=_per_cent(query.get("low")),
            high=_per_cent(query.get("high")),
            order=_one_of(query.get("order"), ORDERS, "low"),
            view=_one_of(query.get("view"), VIEWS, "mask"),
            page=_page(query.get("page")),
        )

    def to_url(self, **changes: object) -> str:
        """The query as text for a URL, with changes; defaults are left out."""
        default = ImageQuery()
        values = {name: changes.get(name, getattr(self, name)) for name in self.__dataclass_fields__}
        kept = {n: _plain(v) for n, v in values.items() if v != getattr(default, n) and v is not None}
        return urlencode(kept)

    @property
    def model(self) -> str:
        """The model that `of` or `since` names; empty where none is."""
        return self.of or (self.since if self.since not in HOURS else "")

    @property
    def is_filter(self) -> bool:
        """Whether some images may be left out."""
        default = ImageQuery()
        return any(getattr(self, n) != getattr(default, n) for n in ("q", "tag", "state", "since", "of", "low", "high"))

    def after(self, now: datetime) -> int:
        """The moment that `since` means, in milliseconds since 1970."""
        return round((now - timedelta(hours=HOURS.get(self.since, 0))).timestamp() * 1000)


def _one_of(value: str | None, known: Mapping[str, object], default: str) -> str:
    return value if value in known and value is not None else default


def _per_cent(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number <= 100 else None  # NaN fits nowhere


def _page(value: str | None) -> int:
    text = value or ""
    return min(max(int(text), 1), 10_000_000) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
