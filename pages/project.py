"""What all pages read: the images, the ledger and the looks, each kept as long as the files behind it stay the same."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, RLock, Thread

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.errors import MissingError, UserError
from labelfactory.schema import Mask
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.settings.thresholds import thresholds_digest
from lineage.ledger import Ledger
from lineage.lookup import Lookup, Model
from lineage.mask_set import Side, side
from lineage.pixel import Evidence
from pages.cache import Cache
from pages.image_query import Wishes
from pages.layers import SEGMENTER, Segmenter, picture
from pages.slow_query import Look
from pages.snapshot import DATA, Row, Snapshot, files_behind, record_of

PICTURES_BYTES = 128 * 2**20
EVIDENCE_IMAGES = 4
"""Images whose CRF's probabilities are kept: the one that is looked at, and a few before it."""
STAMP_SECONDS = 1.0
"""How long it is believed that no file changed."""


@dataclass(frozen=True)
class Places:
    """Where the pages of MLflow and Prefect are, empty where nobody knows."""

    mlflow: str = ""
    prefect: str = ""


@dataclass
class Project:
    """The project in the current folder. Threads may ask at the same time.

    Args:
        state: asks DVC what is stale.
        runs: asks MLflow which run each execution became.
        places: of other pages.
    """

    state: Look
    runs: Look
    places: Places = field(default_factory=Places)

    def __post_init__(self) -> None:
        self.segmenter = Segmenter()
        self._ledger_lock, self._predicting, self._making = RLock(), Lock(), Lock()
        self._lookup: tuple[object, Lookup] | None = None
        self._snapshot: tuple[object, Snapshot] | None = None
        self._checked = 0.0
        self._pictures: Cache[tuple[bytes, str]] = Cache(PICTURES_BYTES, size=lambda made: len(made[0]))
        self._evidence: Cache[Evidence] = Cache(EVIDENCE_IMAGES)
        self._sides: Cache[Side] = Cache(6)

    def warm(self) -> None:
        """Read what the first page would wait for. What is not there yet is no error."""
        try:
            self.images()
            self.segmenter.load()
        except UserError:
            pass
        self.state.refresh()
        self.runs.refresh()

    @contextmanager
    def lookup(self) -> Iterator[Lookup]:
        """The ledger, for one thread at a time.

        Raises:
            MissingError: nothing was ever recorded.
        """
        with self._ledger_lock:
            ledger = Ledger()
            last = ledger.last()
            if not last[0]:
                raise MissingError("nothing is recorded yet", "Type `labelfactory run` or `labelfactory record`.")
            if self._lookup is None or self._lookup[0] != last:
                self._lookup = last, Lookup(ledger)
            yield self._lookup[1]

    def images(self) -> Snapshot:
        """The images. A page that finds them old shows them once more, while they are read anew.

        Raises:
            MissingError: there is no data set yet.
        """
        held = self._snapshot
        if held is not None and time.monotonic() - self._checked < STAMP_SECONDS:
            return held[1]
        self._checked = time.monotonic()
        stamp = (files_behind(), Ledger().head()["digest"])
        if held is None:
            with self._making:
                return self._snapshot[1] if self._snapshot else self._read(stamp)
        if held[0] != stamp and self._making.acquire(blocking=False):
            Thread(target=self._read_again, args=(stamp,), daemon=True).start()
        return held[1]

    def _read_again(self, stamp: object) -> None:
        try:
            self._read(stamp)
        except UserError:  # a stage is writing: the next page tries again
            pass
        finally:
            self._making.release()

    def _read(self, stamp: object) -> Snapshot:
        try:
            with self.lookup() as lookup:
                made = Snapshot(lookup)
        except MissingError:
            made = Snapshot(None)
        self._snapshot = stamp, made
        return made

    def row(self, image_id: str) -> Row:
        """All that is known of an image without opening a payload.

        Raises:
            MissingError: the data set holds no such image.
        """
        row = self.images().row(image_id)
        if row is None:
            raise MissingError("the data set holds no such image", "Choose one on the page Images.")
        return row

    def model(self, text: str) -> Model | None:
        """The model that a wish names; None where there is none of that name."""
        if not text:
            return None
        try:
            with self.lookup() as lookup:
                return lookup.model(text)
        except MissingError:
            return None

    def training_known(self, wishes: Wishes, images: Snapshot) -> Model | None:
        """The model that the wishes name, with its training rows in the snapshot that is about to be asked."""
        model = self.model(wishes.model)
        if model is not None:
            with self.lookup() as lookup:
                images.know(model, lookup)
        return model

    def picture(self, name: str, row: Row) -> tuple[bytes, str]:
        """A layer of an image, and its media type.

        Raises:
            UserError: as `pages.layers.picture`.
        """
        return self._pictures.get(
            (name, row["image_id"], version_of(name, row, self.model_stamp())),
            lambda: picture(name, record_of(row), self._predict),
        )

    def model_stamp(self) -> str:
        """Another text for another segmenter on disk; empty without one."""
        try:
            stat = SEGMENTER.stat()
        except FileNotFoundError:
            return ""
        return f"{stat.st_mtime_ns:x}"

    def _predict(self, record: ImageRecord) -> Mask:
        with self._predicting:
            return self.segmenter.predict(record)

    def evidence(self, row: Row) -> Evidence:
        """What decided the mask of an image.

        Raises:
            MissingError: it has none.
        """
        names = self.images().classes
        key = (
            row["image_id"],
            row["digest"],
            Path(PARAMS_FILE).stat().st_mtime_ns,
        )  # a CRF of other parameters is another
        return self._evidence.get(key, lambda: Evidence(record_of(row), names))

    def side(self, text: str) -> Side:
        """A set of masks by the name of a model, a run or a commit, or `now`; never by a path.

        Raises:
            MissingError: there is none of that name.
        """
        with self.lookup() as lookup:
            key = text, lookup.ledger.head()["digest"], self._stamp_of_now() if text == "now" else ""
            return self._sides.get(key, lambda: side(lookup, text, folders=False))

    def _stamp_of_now(self) -> object:
        return tuple(entry for entry in files_behind() if entry[0].startswith("data/masks"))


def version_of(name: str, row: Row, model: str) -> str:
    """What a layer hangs on, in a few characters: it stands in the picture's address, so that a browser may keep it."""
    if name in ("photo", "plain"):
        return str(row["sha256"])[:16]
    if name == "prediction":
        return f"{row['sha256'][:8]}{model}"
    if name == "seed" and row["cam_digest"]:
        return f"{row['cam_digest'][:8]}{thresholds_digest(DATA / 'seed_thresholds')[:8]}"
    column = {"cam": "cam_digest", "walk": "walk_digest", "truth": "mask_sha256"}
    return str(row[column.get(name.partition("-")[0], "digest")] or "")[:16]
