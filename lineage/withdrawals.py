"""Withdrawals as the ledger holds them: what each has to delete, whether it is complete, and whether something came back."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from labelfactory.dataset.account import ACCOUNT
from labelfactory.dataset.audits import (
    AUDITS,
    SAMPLE,
    AnsweredPoints,
    SampledImage,
    read_audits,
    read_points,
    read_sample,
)
from labelfactory.dataset.corrections import CORRECTIONS, Correction, read_corrections
from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.dataset.map_files import MAPS, ids_in_name
from labelfactory.dataset.withdrawn import Withdrawn, digests_of, withdrawn, withdrawn_in
from labelfactory.digests import digest_file
from labelfactory.dvc_cache import is_ours
from labelfactory.errors import UserError
from labelfactory.foreign_files import is_allowed, is_inside
from lineage.cached_objects import unneeded
from lineage.ledger import Ledger
from lineage.raw_files import RawFiles
from lineage.traces import Traces


@dataclass(frozen=True)
class OwnFile:
    """A file under data/ as it was when the withdrawal began."""

    path: str
    sha256: str
    bytes: int

    @classmethod
    def at(cls, path: Path) -> "OwnFile":
        """The file there now."""
        return cls(path.as_posix(), digest_file(path), path.stat().st_size)

    @property
    def is_there(self) -> bool:
        """Whether the path holds these very bytes."""
        path = Path(self.path)
        return path.is_file() and path.stat().st_size == self.bytes and digest_file(path) == self.sha256


@dataclass(frozen=True)
class Withdrawal:
    """One withdrawal.

    Attributes:
        id: names the event.
        images: ids.
        digests: of the photographs, which no door takes again.
        true_masks: digests of true masks that no other image has.
        drawn_masks: digests of masks that people drew of the photographs, earlier ones too, and that no other image has.
        models: digests of models that learnt from them.
        files: to be deleted.
        elsewhere: files outside of data/, which are not ours.
        cache: MD5 of objects in DVC's cache that contain the images.
        objects: MD5 of others that do, and that the cache did not have: a remote may.
        known_sizes: digest → bytes of photographs, wherever they lay.
        left: how much the last signed report found left; None before the first.
        report: name of that report.
    """

    id: str
    images: tuple[str, ...]
    photographs: Mapping[str, str]
    digests: frozenset[str]
    true_masks: frozenset[str]
    models: tuple[str, ...]
    files: tuple[OwnFile, ...]
    elsewhere: tuple[str, ...]
    cache: tuple[str, ...]
    by: str
    reason: str
    time: datetime
    known_sizes: Mapping[str, int] = field(default_factory=dict)
    left: int | None = None
    report: str = ""
    drawn_masks: frozenset[str] = frozenset()
    objects: tuple[str, ...] = ()

    @property
    def names(self) -> str:
        """How people call it: the ids, or what the digests were learnt from."""
        return ", ".join(self.images) or self.reason

    def has(self, image_id: str, sha256: str) -> bool:
        """Whether an image or its photograph is withdrawn."""
        return image_id in self.images or sha256 in self.digests

    def is_part_of(self, other: "Withdrawal") -> bool:
        """Whether another withdrawal means all images of this one; by their photographs where no image is named."""
        return set(self.images) <= set(other.images) if self.images else self.digests <= other.digests

    @property
    def pixels(self) -> frozenset[str]:
        """Digests of the photographs, and of true and drawn masks that no other image has."""
        return self.digests | self.true_masks | self.drawn_masks

    @property
    def sizes(self) -> dict[str, int]:
        """Digest → bytes, as far as they are known."""
        return {**self.known_sizes, **{file.sha256: file.bytes for file in self.files}}


@dataclass(frozen=True)
class Inputs:
    """What the import, the corrections and the audits name now, id and digest of the photograph, and the files below data/raw."""

    named: frozenset[tuple[str, str]]
    raw: RawFiles = field(default_factory=RawFiles)

    @classmethod
    def now(cls) -> "Inputs":
        """From the files on the disk. Raises DataError where one of them is damaged."""
        entries = read_manifest().entries if MANIFEST.exists() else ()
        drawn: list[Correction | AnsweredPoints | SampledImage] = [*read_corrections(CORRECTIONS).values()]
        drawn += [*read_audits().values(), *read_points().values(), *(read_sample().images if SAMPLE.exists() else ())]
        return cls(
            frozenset({*((e.image_id, e.sha256) for e in entries), *((d.image_id, d.photograph) for d in drawn)})
        )

    def hold(self, withdrawal: Withdrawal) -> bool:
        """Whether they, or a file under data/, hold something of a withdrawal: a photograph by any name, or a map."""
        if any(withdrawal.has(*image) for image in self.named) or any(file.is_there for file in withdrawal.files):
            return True
        if self._maps & set(withdrawal.images) and maps_of(withdrawal.images, [image_id for image_id, _ in self.named]):
            return True
        if ACCOUNT.is_file() and Traces.of(withdrawal.images, withdrawal.pixels, ()).in_file(ACCOUNT):
            return True
        return bool(self.raw.same(withdrawal.pixels, withdrawal.sizes))

    @cached_property
    def _maps(self) -> frozenset[str]:
        """Every id that a map's name may mean."""
        return frozenset(end for path in _map_files() for end in ids_in_name(path.relative_to(MAPS)))


def read_withdrawals(ledger: Ledger) -> list[Withdrawal]:
    """All withdrawals, oldest first. One of the same images or more takes the place of an earlier one, with all that it named."""
    if withdrawn_in(ledger.folder) == Withdrawn():  # quick: the usual case
        return []
    found: dict[Any, Withdrawal] = {}
    events = ledger.events("withdrawn", "signed off")
    for event in events:
        if event["event"] == "withdrawn":
            new = _of_event(event)
            for same in [each for each, old in found.items() if old.is_part_of(new)]:
                new = _joined(found.pop(same), new)
            found[new.images or new.digests] = new
    for event in events:
        if event["event"] == "signed off":
            for same, each in found.items():
                named = event["detail"].get("withdrawal", "")
                if named == each.id or (not named and f"-{each.id[:8]}." in event["detail"]["report"]):
                    found[same] = replace(each, left=event["detail"]["left"], report=event["detail"]["report"])
    used = _masks_in_use()
    return [_without_masks(each, used) for each in found.values()]


def _masks_in_use() -> dict[str, str]:
    """Path → digest of the true and drawn masks of images that are not withdrawn: two images may have masks of the same bytes."""
    try:
        gone, entries, corrections = withdrawn(), read_manifest().entries, read_corrections(CORRECTIONS).values()
        audits = read_audits().values()
    except UserError:  # nothing was imported, or one of them cannot be read
        return {}
    used = {e.mask_path: e.mask_sha256 for e in gone.kept(entries) if e.mask_path and e.mask_sha256}
    drawn = [*((c, CORRECTIONS) for c in corrections), *((a, AUDITS) for a in audits)]
    kept = ((mask, folder) for mask, folder in drawn if not gone.refuses(mask.image_id, mask.photograph))
    return used | {mask.path(folder).as_posix(): mask.mask for mask, folder in kept}


def _without_masks(withdrawal: Withdrawal, used: Mapping[str, str]) -> Withdrawal:
    """The withdrawal without masks that another image has by now."""
    files = tuple(file for file in withdrawal.files if file.path not in used)
    true_masks, drawn_masks = (m.difference(used.values()) for m in (withdrawal.true_masks, withdrawal.drawn_masks))
    return replace(withdrawal, true_masks=true_masks, drawn_masks=drawn_masks, files=files)


def open_withdrawals(ledger: Ledger, also: Collection[str] = ()) -> list[Withdrawal]:
    """Withdrawals that are not complete, or of which something came back that they name; `also` those of these images or ids.

    What came back by other names, such as rows in data/store, `came_back` finds.
    """
    found = read_withdrawals(ledger)
    inputs = Inputs.now() if found else None
    return [
        each
        for each in found
        if each.left != 0
        or {each.id, *each.images} & set(also)
        or (inputs is not None and inputs.hold(each))
        or (is_ours() and unneeded(each.cache))
    ]


def _of_event(event: Mapping[str, Any]) -> Withdrawal:
    detail = event["detail"]
    return Withdrawal(
        id=event["subject"],
        images=tuple(detail["images"]),
        photographs=detail["photographs"],
        digests=digests_of(detail.get("digests", detail["photographs"].values())),
        true_masks=digests_of(detail.get("true_masks", ())),
        models=tuple(detail["models"]),
        files=tuple(OwnFile(**file) for file in detail.get("files", ())),
        elsewhere=tuple(detail.get("elsewhere", ())),
        cache=tuple(detail.get("cache", ())),
        by=detail["by"],
        reason=detail["reason"],
        time=event["time"],
        known_sizes=detail.get("bytes", {}),  # an earlier version had `sizes`, of files that may have changed
        drawn_masks=digests_of(detail.get("drawn_masks", ())),
        objects=tuple(detail.get("objects", ())),
    )


def _joined(old: Withdrawal, new: Withdrawal) -> Withdrawal:
    def both(name: str) -> Any:
        return tuple(dict.fromkeys([*getattr(old, name), *getattr(new, name)]))

    return replace(
        new,
        photographs={**old.photographs, **new.photographs},
        digests=old.digests | new.digests,
        true_masks=old.true_masks | new.true_masks,
        known_sizes={**old.known_sizes, **new.known_sizes},
        models=both("models"),
        files=both("files"),
        elsewhere=both("elsewhere"),
        cache=both("cache"),
        drawn_masks=old.drawn_masks | new.drawn_masks,
        objects=both("objects"),
    )


def is_own(path: Path) -> bool:
    """Whether a file is ours to delete: a photograph or mask below data/raw, a correction, an audit or a map, links resolved."""
    return is_allowed(path, "delete") or is_inside(path.parent, CORRECTIONS, AUDITS, MAPS)


def maps_of(image_ids: Collection[str], others: Iterable[str], folder: Path = MAPS) -> list[Path]:
    """Files of maps that another program made of these images.

    A map's name is its image's id below any folder (`models.priors.files`): it belongs to the longest id that it ends with.
    """
    owners = set(image_ids) | set(others)
    ends = ((path, ids_in_name(path.relative_to(folder))) for path in _map_files(folder))
    return [path for path, may_be in ends if next((each for each in may_be if each in owners), "") in image_ids]


def _map_files(folder: Path = MAPS) -> list[Path]:
    """Files of maps that another program made."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same_files(digests: Collection[str], sizes: Mapping[str, int]) -> list[OwnFile]:
    """Files below data/raw with one of these digests, such as copies that were pulled; sizes as far as they are known."""
    return [OwnFile.at(path) for path in RawFiles().same(digests, sizes)]
