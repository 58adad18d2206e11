"""The content of a report as plain data, without pages, plots or pictures."""

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from labelfactory.dataset.account import Account


@dataclass(frozen=True)
class Step:
    """Something that is scored by mIoU."""

    name: str  # in the keys of the metrics
    gloss: str  # what it is
    reference: bool = False  # scored for comparison; not a step of the line


@dataclass(frozen=True)
class StageLine:
    """One row of the line's table."""

    name: str  # of the stage
    made: str  # what it made, in words
    seconds: float | None  # None: not known
    peak_memory_mb: int | None
    score: str = ""  # the name of its output's score, as in `Step`; empty for none
    measure: str = "mIoU"  # or mAP


@dataclass(frozen=True)
class Curve:
    """Lines over one axis. A curve with marks, or over a threshold, stands with the thresholds; others with training."""

    title: str
    x_label: str
    y_label: str
    x: list[float]
    series: dict[str, list[float]]  # name -> one value per x; NaN leaves a gap
    marks: dict[str, float]  # vertical marks: name -> x


@dataclass(frozen=True)
class Tile:
    """One picture of a gallery item.

    ``pixels`` by kind: photograph [H, W, 3] uint8 RGB; heat [H, W] float32 in [0, 1], drawn over the item's photograph;
    mask [H, W] uint8 class ids, 255 void, drawn over the photograph. Heat and mask may be smaller than the photograph.
    """

    caption: str
    kind: Literal["photograph", "heat", "mask"]
    pixels: NDArray[Any]


@dataclass(frozen=True)
class GalleryItem:
    """One photograph and what the line made of it."""

    image_id: str
    why: str  # the reason for its choice: "best by quality", "worst by mIoU" …
    photograph: NDArray[Any]  # [H, W, 3] uint8 RGB
    tiles: list[Tile]
    figures: dict[str, float]  # name -> fraction


@dataclass(frozen=True)
class QualityExample:
    """A mask at a place of the order by quality."""

    caption: str  # its place: "worst", "a tenth is worse" …
    image_id: str
    quality: float
    photograph: NDArray[Any]  # [H, W, 3] uint8 RGB
    mask: NDArray[Any]  # [H, W] uint8 class ids, 255 void


@dataclass(frozen=True)
class ClassBar:
    """A class over all rated masks: its id and name, how many have the tag, and its expected IoU."""

    class_id: int
    name: str
    images: int
    iou: float


@dataclass(frozen=True)
class QualityView:
    """How good the masks probably are, found without their truth."""

    values: list[float]  # quality of each rated mask
    classes: list[ClassBar]
    examples: list[QualityExample]  # worst first
    sentences: list[str]


@dataclass(frozen=True)
class Report:
    """All that the page shows."""

    title: str
    subtitle: str
    classes: list[str]  # the background first: index = class id
    steps: list[Step]  # in the order of the line, then references
    stages: list[StageLine]
    metrics: dict[str, float]  # flat keys: miou/<split>/<what>, iou/<split>/<what>/<class>, map/<split> …; fractions
    thresholds: list[tuple[str, float, str, float | None]]  # name, value, source (auto or params), best on true masks
    curves: list[Curve]
    gallery: list[GalleryItem]
    provenance: dict[str, str]  # commit, params digest, data set, seeds, checkpoints' digests, supervision
    notes: list[str]  # warnings: no true masks, quarantined images, stronger supervision
    imported: Account | None = None
    quality: QualityView | None = None


@dataclass(frozen=True)
class ContenderMask:
    """A mask that one contender of a tournament made."""

    mask: NDArray[Any]  # [H, W] uint8 class ids, 255 void; may be smaller than the photograph
    iou: float | None = None  # mIoU with the photograph's true mask; None where it is not known


@dataclass(frozen=True)
class ContestedPhotograph:
    """One photograph of a tournament, and what the contenders made of it."""

    image_id: str
    photograph: NDArray[Any]  # [H, W, 3] uint8 RGB
    masks: dict[str, ContenderMask]  # name of the contender -> its mask; one that has none is left out
    truth: NDArray[Any] | None = None  # [H, W] uint8 class ids, 255 void
    why: str = ""  # the reason for its choice: "most disputed", "by chance" …
