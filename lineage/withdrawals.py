"""Withdrawals as the ledger holds them: what each has to delete, whether it is complete, and whether something came back."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from labelfactory.dataset.corrections import CORRECTIONS, read_corrections
from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.dataset.map_files import MAPS
from labelfactory.dataset.withdrawn import Withdrawn, withdrawn
from labelfactory.digests import digest_file
from labelfactory.foreign_files import RAW, is_allowed, is_inside
from lineage.ledger import Ledger


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
        models: digests of models that learnt from them.
        files: to be deleted.
        elsewhere: files outside of data/, which are not ours.
        cache: MD5 of objects in DVC's cache that contain the images.
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
    left: int | None = None
    report: str = ""

    @property
    def names(self) -> str:
        """How people call it: the ids, or what the digests were learnt from."""
        return ", ".join(self.images) or self.reason

    @property
    def pixels(self) -> frozenset[str]:
        """Digests of the photographs, and of true masks that no other image has."""
        return self.digests | self.true_masks

    @property
    def sizes(self) -> dict[str, int]:
        """Digest → bytes of the files that were here."""
        return {file.sha256: file.bytes for file in self.files}


@dataclass(frozen=True)
class Inputs:
    """What the import and the corrections name now."""

    image_ids: frozenset[str]
    photographs: frozenset[str]
    corrected: frozenset[str]

    @classmethod
    def now(cls) -> "Inputs":
        """From the files on the disk. Raises DataError where one of them is damaged."""
        entries = read_manifest().entries if MANIFEST.exists() else ()
        ids, photographs = ({getattr(entry, name) for entry in entries} for name in ("image_id", "sha256"))
        return cls(frozenset(ids), frozenset(photographs), frozenset(read_corrections(CORRECTIONS)))

    def hold(self, withdrawal: Withdrawal) -> bool:
        """Whether they, or a file under data/, hold something of a withdrawal."""
        images = set(withdrawal.images)
        named = images & (self.image_ids | self.corrected) or withdrawal.digests & self.photographs
        return bool(named) or any(file.is_there for file in withdrawal.files)


def read_withdrawals(ledger: Ledger) -> list[Withdrawal]:
    """All withdrawals, oldest first. One of the same images or more takes the place of an earlier one, with all that it named."""
    if withdrawn(ledger.folder) == Withdrawn():  # quick: the usual case
        return []
    found: dict[Any, Withdrawal] = {}
    events = ledger.events("withdrawn", "signed off")
    for event in events:
        if event["event"] == "withdrawn":
            new = _of_event(event)
            for same in [each for each, old in found.items() if old.images and set(old.images) <= set(new.images)]:
                new = _joined(found.pop(same), new)
            found[new.images or new.digests] = new
    for event in events:
        if event["event"] == "signed off":
            for same, each in found.items():
                named = event["detail"].get("withdrawal", "")
                if named == each.id or (not named and f"-{each.id[:8]}." in event["detail"]["report"]):
                    found[same] = replace(each, left=event["detail"]["left"], report=event["detail"]["report"])
    return list(found.values())


def open_withdrawals(ledger: Ledger, also: Collection[str] = ()) -> list[Withdrawal]:
    """Withdrawals that are not complete, or of which something came back; `also` those of these images."""
    found = read_withdrawals(ledger)
    inputs = Inputs.now() if found else None
    return [
        each
        for each in found
        if each.left != 0 or set(each.images) & set(also) or (inputs is not None and inputs.hold(each))
    ]


def _of_event(event: Mapping[str, Any]) -> Withdrawal:
    detail = event["detail"]
    return Withdrawal(
        id=event["subject"],
        images=tuple(detail["images"]),
        photographs=detail["photographs"],
        digests=frozenset(detail.get("digests", detail["photographs"].values())),
        true_masks=frozenset(detail.get("true_masks", ())),
        models=tuple(detail["models"]),
        files=tuple(OwnFile(**file) for file in detail.get("files", ())),
        elsewhere=tuple(detail.get("elsewhere", ())),
        cache=tuple(detail.get("cache", ())),
        by=detail["by"],
        reason=detail["reason"],
        time=event["time"],
    )


def _joined(old: Withdrawal, new: Withdrawal) -> Withdrawal:
    def both(name: str) -> Any:
        return tuple(dict.fromkeys([*getattr(old, name), *getattr(new, name)]))

    return replace(
        new,
        photographs={**old.photographs, **new.photographs},
        digests=old.digests | new.digests,
        true_masks=old.true_masks | new.true_masks,
        models=both("models"),
        files=both("files"),
        elsewhere=both("elsewhere"),
        cache=both("cache"),
    )


def is_own(path: Path) -> bool:
    """Whether a file is ours to delete: a photograph or mask below data/raw, a correction or a map, links resolved."""
    return is_allowed(path, "delete") or is_inside(path.parent, CORRECTIONS, MAPS)


def maps_of(image_ids: Collection[str], others: Iterable[str], folder: Path = MAPS) -> list[Path]:
    """Files of maps that another program made of these images.

    A map's name is its image's id below any folder (`models.priors.files`): it belongs to the longest id that it ends with.
    """
    owners = set(image_ids) | set(others)
    maps = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        parts = PurePosixPath(path.relative_to(folder).with_suffix("")).parts
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        if path.is_file() and next((end for end in ends if end in owners), "") in image_ids:
            maps.append(path)
    return maps


def same_files(digests: Collection[str], sizes: Mapping[str, int]) -> list[OwnFile]:
    """Files below data/raw with one of these digests, such as copies that were pulled; only files of a fitting size are read."""
    known = {sizes.get(digest, -1) for digest in digests}
    paths = sorted(path for path in RAW.rglob("*") if not path.is_symlink() and path.is_file()) if digests else []
    fitting = [path for path in paths if -1 in known or path.stat().st_size in known]
    return [file for file in map(OwnFile.at, fitting) if file.sha256 in digests]
