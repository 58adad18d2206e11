"""Begin a withdrawal: find what some images touched through all time, and write into the ledger all that is to go.

The event `withdrawn` is written before anything is deleted. It names images, digests, models, files and objects of DVC's cache, so
that a withdrawal which was interrupted anywhere can be finished from the ledger alone (lineage/removal.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labelfactory.dataset.audits import AUDITS, read_audits
from labelfactory.dataset.corrections import CORRECTIONS, read_corrections
from labelfactory.dataset.manifest import MANIFEST, Entry, read_manifest
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_json
from labelfactory.errors import MissingError, did_you_mean
from labelfactory.foreign_files import RAW, is_allowed, is_inside
from lineage.artifacts import md5_of
from lineage.cached_names import named_in_cache
from lineage.drawn_masks import drawn_masks
from lineage.ledger import Ledger, events_table
from lineage.lookup import Lookup
from lineage.outbox import Outbox
from lineage.traces import Traces, in_cache
from lineage.withdrawals import OwnFile, Withdrawal, maps_of, read_withdrawals, same_files


@dataclass(frozen=True)
class Touched:
    """What some images touched, through all time."""

    image_ids: tuple[str, ...]  # those that were named, and others that the photographs have or ever had
    digests: frozenset[str]  # of the photographs, those that the images showed before included
    entries: tuple[Entry, ...]  # their entries in the import
    masks: list[dict[str, Any]]  # of the ledger
    models: list[str]  # digests of those that learnt from them
    descendants: list[str]  # of those that started or learnt from such models
    twins: tuple[str, ...]  # those that were not named

    @property
    def all_models(self) -> list[str]:
        """Every model that must go."""
        return [*self.models, *self.descendants]


def touched_by(lookup: Lookup, image_ids: Sequence[str]) -> Touched:
    """Every mask and model that these images touched, models through their parents included.

    What goes are the bytes: every photograph that an image ever showed, under any id that it ever had. What another image of
    the import shows stays. An id that the import has no more means all that it ever showed, whatever it is called now.

    Raises:
        MissingError: neither the import nor the ledger has an image.
    """
    entries = read_manifest().entries if MANIFEST.exists() else ()
    known = {entry.image_id: entry for entry in entries}
    before = lookup.withdrawn()
    for image_id in image_ids:
        recorded = lookup.photographs_of([image_id]) or lookup.masks(image_id) or lookup.users([image_id])
        if not (image_id in known or image_id in before or recorded):
            near = did_you_mean(image_id, known)
            raise MissingError(
                f"neither the import nor the ledger knows {image_id!r}{near if 'did you mean' in near else ''}",
                "Nothing was withdrawn. Name images as they stand in the import.",
            )
    return touched_with(lookup, _photographs(lookup, image_ids, known), image_ids)


def touched_with(lookup: Lookup, digests: frozenset[str], image_ids: Sequence[str] = ()) -> Touched:
    """What these photographs touched, and images that were named."""
    entries = read_manifest().entries if MANIFEST.exists() else ()
    known = {entry.image_id: entry for entry in entries}
    same = [e.image_id for e in entries if e.sha256 in digests]
    same += [i for i in lookup.ids_of(digests) if i not in known]  # one that the import has shows other bytes now
    wanted = tuple(dict.fromkeys([*image_ids, *same]))
    twins = tuple(i for i in wanted if i not in image_ids)
    models, descendants = models_of(lookup, lookup.users(image_ids, digests))
    ours = tuple(known[i] for i in wanted if i in known)
    return Touched(wanted, digests, ours, lookup.masks_of(digests), models, descendants, twins)


def _photographs(lookup: Lookup, image_ids: Sequence[str], known: Mapping[str, Entry]) -> frozenset[str]:
    """Digests of the photographs of these images, now and before."""
    ids = set(image_ids)
    now = {known[i].sha256 for i in ids if i in known}
    others = {entry.sha256 for i, entry in known.items() if i not in ids} - now
    earlier = [each for each in read_withdrawals(lookup.ledger) if ids & set(each.images)]
    told = {digest for each in earlier for digest in each.digests}
    fresh = ids - {i for each in earlier for i in each.images}  # of the rest, the withdrawal says which photographs go
    kept = lookup.photographs_of(fresh & set(known)) - others
    return frozenset(now | told | kept | lookup.photographs_of(fresh - set(known)))


def models_of(lookup: Lookup, users: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Models that learnt from some rows (`Lookup.users`), and models that started or learnt from their weights."""
    models = list(dict.fromkeys(row["model"] for row in users))
    weights = {lookup.models[digest].weights if digest in lookup.models else digest for digest in models}
    descendants: list[str] = []
    for digest, model in lookup.models.items():  # oldest first, so parents come before their children
        if digest not in models and set(model.passport.parents.values()) & weights:
            descendants.append(digest)
            weights.add(model.weights)
    return models, descendants


def begin(ledger: Ledger, touched: Touched, *, by: str, reason: str) -> Withdrawal:
    """Write the event, and the letter that marks the models in MLflow's registry. Nothing is deleted yet.

    The caller holds the project: import, corrections and the line's outputs must not change meanwhile.
    """
    manifest = read_manifest() if MANIFEST.exists() else None
    others = [e for e in (manifest.entries if manifest else ()) if e.image_id not in touched.image_ids]
    photographs = {m["image_id"]: m["image"] for m in touched.masks if m["image_id"] in touched.image_ids}
    photographs |= {entry.image_id: entry.sha256 for entry in touched.entries}
    digests = set(touched.digests)
    lookup = Lookup(ledger)
    true_masks = {e.mask_sha256 for e in touched.entries if e.mask_sha256} | lookup.true_masks_of(digests)
    true_masks -= {e.mask_sha256 for e in others}
    true_masks -= lookup.masks_of_others(true_masks, digests | withdrawn().photographs)
    drawn = drawn_masks(lookup, touched.image_ids, digests)
    pixels = digests | true_masks | set(drawn)
    sizes = _sizes(touched.entries)
    sizes |= {digest: size for digest, size in drawn.items() if size is not None}
    own, elsewhere = _files(touched, others, pixels, sizes)
    keys = {mask["key"] for mask in touched.masks}
    cache = in_cache(Traces.of(touched.image_ids, pixels, keys, sizes | {file.sha256: file.bytes for file in own}))
    detail = {
        "images": list(touched.image_ids),
        "photographs": photographs,
        "digests": sorted(digests),
        "true_masks": sorted(true_masks),
        "drawn_masks": sorted(drawn),
        "models": touched.all_models,
        "files": [asdict(file) for file in own],
        "elsewhere": elsewhere,
        "bytes": sizes,
        "cache": cache,
        "objects": _objects(touched.image_ids, own, cache),
        "by": by,
        "reason": reason,
    }
    now = datetime.now(UTC).replace(microsecond=0)
    identity = digest_json([detail, now.isoformat()])
    with ledger.locked():
        ledger.append("events", events_table([("withdrawn", identity, detail, now)]))
        withdrawn()  # notes the photographs outside of the ledger too
        begun = next(each for each in read_withdrawals(ledger) if each.id == identity)
        tell_mlflow(ledger, begun)
    return begun


def _sizes(entries: Sequence[Entry]) -> dict[str, int]:
    """Bytes of the photographs by digest, of files that are as they were imported: another file's size would hide their copies."""
    files = [(e.sha256, OwnFile.at(Path(e.path))) for e in entries if Path(e.path).is_file()]
    return {file.sha256: file.bytes for sha256, file in files if file.sha256 == sha256}


def _objects(image_ids: Collection[str], own: Sequence[OwnFile], cache: Collection[str]) -> list[str]:
    """MD5 by which a remote may have files of these images that DVC's cache does not have."""
    pictures = named_in_cache(image_ids).pictures | {md5_of(Path(file.path)) for file in own}
    return sorted(pictures - set(cache))


def again_if_more_known(ledger: Ledger, withdrawal: Withdrawal) -> Withdrawal:
    """The withdrawal; begun once more where more is known than it names: the line ran before all was deleted, so that other
    models learnt from the images, or it was begun by a version that did not look for masks that people drew."""
    lookup = Lookup(ledger)
    images, digests = withdrawal.images, withdrawal.digests
    touched = touched_by(lookup, images) if images else touched_with(lookup, digests)
    drawn = drawn_masks(lookup, touched.image_ids, touched.digests)
    if set(touched.all_models) <= set(withdrawal.models) and set(drawn) <= withdrawal.pixels:
        return withdrawal
    return begin(ledger, touched, by=withdrawal.by, reason=withdrawal.reason)


def begin_elsewhere(ledger: Ledger, digests: Collection[str], *, by: str, reason: str) -> None:
    """Write that photographs were withdrawn of which nothing is known here: no door takes them."""
    detail = {
        "images": [],
        "photographs": {},
        "digests": sorted(digests),
        "models": [],
        "by": by,
        "reason": reason,
    }
    now = datetime.now(UTC).replace(microsecond=0)
    with ledger.locked():
        ledger.append("events", events_table([("withdrawn", digest_json([detail, now.isoformat()]), detail, now)]))
        withdrawn()


def tell_mlflow(ledger: Ledger, withdrawal: Withdrawal) -> None:
    """Put the letter that marks the models into the outbox, unless it waits there. The caller holds the ledger's lock."""
    outbox = Outbox(ledger.folder / "outbox")
    if all(letter.id != withdrawal.id for letter in outbox.letters()):
        detail = {"images": list(withdrawal.images), "models": list(withdrawal.models)}
        outbox.put("withdrawn", withdrawal.id, {**detail, "by": withdrawal.by, "reason": withdrawal.reason})


def _files(
    touched: Touched, others: Sequence[Entry], digests: set[str], sizes: Mapping[str, int]
) -> tuple[list[OwnFile], list[str]]:
    """Files under data/ that go: photographs, copies of them, true masks, corrections, audits and maps; and those outside of it."""
    used = {path for entry in others for path in (entry.path, entry.mask_path)}
    named = [Path(p) for e in touched.entries for p in (e.path, e.mask_path) if p and p not in used]
    corrections = read_corrections(CORRECTIONS).values()
    drawn = [
        c.path(CORRECTIONS) for c in corrections if c.image_id in touched.image_ids or c.photograph in touched.digests
    ]
    drawn += [
        audit.path(AUDITS)
        for audit in read_audits().values()
        if audit.image_id in touched.image_ids or audit.photograph in touched.digests
    ]
    drawn += maps_of(touched.image_ids, [entry.image_id for entry in others])
    present = [path for path in dict.fromkeys([*named, *drawn]) if path.is_file()]
    ours = {path for path in present if path in drawn or is_allowed(path, "delete")}
    own = [OwnFile.at(path) for path in present if path in ours]
    known = {**sizes, **{file.sha256: file.bytes for file in own}}
    copies = [file for file in same_files(digests, known) if file not in own]
    targets = [path.resolve() for path in present if path in ours and path.is_symlink()]  # of links, which go
    outside = [path for path in present if path not in ours] + [path for path in targets if not is_inside(path, RAW)]
    return [*own, *copies], [str(path) for path in outside]
