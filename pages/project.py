"""The data of all pages: images, ledger and slow queries, each kept until the files behind it change."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, RLock, Thread

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.withdrawn import Withdrawn, withdrawn
from labelfactory.errors import MissingError, UserError
from labelfactory.schema import Mask
from labelfactory.settings.params import PARAMS_FILE
from labelfactory.settings.thresholds import thresholds_digest
from labelfactory.settings.wiring import DATA, read_wiring
from labelfactory.stage.output_state import passport_of
from lineage.current_report import REPORT, is_report, report_without
from lineage.ledger import Ledger
from lineage.lookup import Lookup, Model
from lineage.mask_set import MaskSet, mask_set
from lineage.pixel import PixelAudit
from lineage.rows_behind import stamp_behind
from pages.cache import Cache
from pages.image_query import ImageQuery
from pages.image_table import files_behind
from pages.layers import ModelOnDisk, picture
from pages.line_layers import layers_of_line, model_file
from pages.slow_query import SlowQuery
from pages.snapshot import Row, Snapshot, record_of

PICTURES_BYTES = 128 * 2**20
PIXEL_AUDITS = 4
"""Images whose probabilities of the CRF are kept: the one on the page, and a few before it."""
MASK_SETS = 6
Stamp = tuple[tuple[tuple[str, int, int], ...], str]
"""The files behind the images, and the digest of the ledger's last file."""
STAMP_SECONDS = 1.0
"""Seconds between two looks for changed files."""


@dataclass(frozen=True)
class PageAddresses:
    """Addresses of the pages of MLflow and Prefect; empty if not known."""

    mlflow: str = ""
    prefect: str = ""


@dataclass
class Project:
    """The project in the current folder, for several threads.

    Args:
        state: DVC's state of each stage.
        runs: MLflow's run of each execution.
        addresses: of other programs' pages.
    """

    state: SlowQuery
    runs: SlowQuery
    addresses: PageAddresses = field(default_factory=PageAddresses)

    def __post_init__(self) -> None:
        self.model_on_disk = ModelOnDisk()
        self._ledger_lock, self._predicting, self._making = RLock(), Lock(), Lock()
        self._lookup: tuple[object, Lookup] | None = None
        self._snapshot: tuple[Stamp, Snapshot] | None = None
        self._withdrawn: tuple[str | None, Withdrawn] = None, Withdrawn()
        self._model_classes: tuple[str, tuple[str, ...] | None] = "", None
        self._checked = 0.0
        self._pictures: Cache[tuple[bytes, str]] = Cache(PICTURES_BYTES, size=lambda item: len(item[0]))
        self._pixel_audits: Cache[PixelAudit] = Cache(PIXEL_AUDITS)
        self._mask_sets: Cache[MaskSet] = Cache(MASK_SETS)

    def warm(self) -> None:
        """Read what the first page needs, as far as it is there."""
        try:
            self.images()
            self.model_on_disk.load()
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
        """The images but for withdrawn ones. A page that finds them old shows them once more, while they are read again.

        Raises:
            MissingError: there is no data set yet.
        """
        images = self._images()
        images.leave_out(self._withdrawn_now())
        return images

    def _images(self) -> Snapshot:
        kept = self._snapshot
        if kept is not None and time.monotonic() - self._checked < STAMP_SECONDS:
            return kept[1]
        self._checked = time.monotonic()
        stamp = (files_behind(), Ledger().head()["digest"])
        if kept is None:
            with self._making:
                return self._snapshot[1] if self._snapshot else self._read(stamp)
        if kept[0] != stamp and self._making.acquire(blocking=False):
            Thread(target=self._read_again, args=(stamp,), daemon=True).start()
        return kept[1]

    def row_digests(self, *, running: bool) -> dict[str, str]:
        """Digest of the rows of each output on disk; empty text for one whose files changed since they were read.

        Args:
            running: while a run writes rows, they are not read again.
        """
        try:
            if self._snapshot is None or not running:
                self.images()
        except UserError:
            return {}
        kept = self._snapshot
        if kept is None:
            return {}
        changed = set(files_behind()) ^ set(kept[0][0])
        folders = {Path(path).parent.name for path, _, _ in changed}
        nouns = read_wiring().row_outputs
        return {noun: "" if noun in folders else kept[1].row_digests.get(noun, "") for noun in nouns}

    def _read_again(self, stamp: Stamp) -> None:
        try:
            self._read(stamp)
        except UserError:  # a stage is writing: the next page tries again
            pass
        finally:
            self._making.release()

    def _read(self, stamp: Stamp) -> Snapshot:
        try:
            with self.lookup() as lookup:
                snapshot = Snapshot(lookup)
        except MissingError:
            snapshot = Snapshot(None)
        self._snapshot = stamp, snapshot
        return snapshot

    def row(self, image_id: str) -> Row:
        """All that is known of an image without opening a payload.

        Raises:
            MissingError: the data set holds no such image, or its photograph is withdrawn.
        """
        row = self.images().row(image_id)
        if row is None or self._withdrawn_now().refuses(image_id, row["sha256"]):
            raise MissingError("the data set holds no such image", "Choose one on the page Images.")
        return row

    def _withdrawn_now(self) -> Withdrawn:
        """What is withdrawn as the ledger has it now: `images` may be older than that."""
        last = Ledger().last()[1]
        if self._withdrawn[0] != last:
            self._withdrawn = last, withdrawn(keep=False)
        return self._withdrawn[1]

    def report_shows_withdrawn(self) -> bool:
        """Whether the report may show a withdrawn image: something is withdrawn, and it is not the report that was made of the
        data set on disk, or that has the image."""
        gone = self._withdrawn_now()
        return gone != Withdrawn() and REPORT.is_file() and not is_report(report_without(gone.refuses))

    def holds_all(self, image_ids: Sequence[str] | None) -> bool:
        """Whether the data set holds all of these images, none of them withdrawn; always where nothing was ever withdrawn.

        Args:
            image_ids: None for images that are not known.
        """
        if self._withdrawn_now() == Withdrawn():
            return True
        try:
            for image_id in image_ids or ():
                self.row(image_id)
        except UserError:
            return False
        return image_ids is not None

    def model(self, text: str) -> Model | None:
        """The model that a query names; None if there is none of that name."""
        if not text:
            return None
        try:
            with self.lookup() as lookup:
                return lookup.model(text)
        except MissingError:
            return None

    def training_known(self, query: ImageQuery, images: Snapshot) -> Model | None:
        """The model that a query names, after its training rows were read into the snapshot."""
        model = self.model(query.model)
        if model is not None:
            with self.lookup() as lookup:
                images.know(model, lookup)
        return model

    def picture(self, name: str, row: Row) -> tuple[bytes, str]:
        """A layer of an image, and its media type.

        Raises:
            UserError: as `pages.layers.picture`.
        """
        images = self.images()
        if name == "truth" and row["scored"] and not images.truths:
            raise MissingError("the data set has changed since this true mask was scored", "Type `labelfactory run`.")
        classes = images.classes[1:]
        return self._pictures.get(
            (name, row["image_id"], version_of(name, row, self.model_stamp()), classes),
            lambda: picture(name, record_of(row), classes, lambda record: self._predict(record, classes)),
        )

    def model_stamp(self) -> str:
        """A text that changes with the model on disk; empty without one."""
        try:
            stat = model_file().stat()
        except FileNotFoundError:
            return ""
        return f"{stat.st_mtime_ns:x}"

    def model_fits(self) -> bool:
        """Whether there is a model on disk that was trained for the classes of the data set."""
        stamp = self.model_stamp()
        if self._model_classes[0] != stamp:
            passport = passport_of(read_wiring().model.noun) if stamp else None
            self._model_classes = stamp, None if passport is None else tuple(passport.classes)
        return self._model_classes[1] == self.images().classes[1:]

    def _predict(self, record: ImageRecord, classes: tuple[str, ...]) -> Mask:
        with self._predicting:
            return self.model_on_disk.predict(record, classes)

    def pixel_audit(self, row: Row) -> PixelAudit:
        """Explains the pixels of an image's mask.

        Raises:
            MissingError: it has none.
        """
        names = self.images().classes
        record = record_of(row)
        now = Path(PARAMS_FILE).stat().st_mtime_ns, stamp_behind(record.shard)  # a CRF of other parameters is another
        return self._pixel_audits.get((row["image_id"], row["digest"], now), lambda: PixelAudit(record, names))

    def mask_set(self, text: str) -> MaskSet:
        """A set of masks by the name of a model, a run or a commit, or `now`; never by a path.

        Raises:
            MissingError: there is none of that name.
        """
        with self.lookup() as lookup:
            key = text, lookup.ledger.head()["digest"], self._stamp_of_now() if text == "now" else ""
            return self._mask_sets.get(key, lambda: mask_set(lookup, text, folders=False))

    def _stamp_of_now(self) -> object:
        folder = f"{DATA / read_wiring().masks.noun}/"
        return tuple(entry for entry in files_behind() if entry[0].startswith(folder))


def version_of(name: str, row: Row, model: str) -> str:
    """The version of a layer in a few characters: part of the picture's address and of its key in the cache."""
    if name in ("photo", "plain"):
        return str(row["sha256"])[:16]
    if name == "prediction":
        return f"{row['sha256'][:8]}{model}"
    if name == "truth":
        return str(row["mask_sha256"] or "")[:16]
    layer = layers_of_line().get(name.partition("-")[0])
    if layer is None or layer.maker is None:  # the small picture of the mask
        return str(row["digest"] or "")[:16]
    digest, thresholds = row[f"digest_{layer.maker.noun}"], layer.maker.meta.scores.thresholds
    if digest and thresholds and not layer.heat:
        return f"{digest[:8]}{thresholds_digest(DATA / thresholds)[:8]}"
    return str(digest or "")[:16]
