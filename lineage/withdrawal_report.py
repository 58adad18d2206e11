"""The signed report of a withdrawal: what was deleted, what is left and how it is finished, and what is not ours to delete."""

import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labelfactory.digests import digest_json
from labelfactory.dvc_cache import cached, is_ours
from labelfactory.errors import DataError
from labelfactory.files import remove_leftovers, write_json
from labelfactory.foreign_files import RAW, is_inside
from labelfactory.json_files import read_json
from labelfactory.masking import masked
from labelfactory.names import in_utf8
from labelfactory.settings.wiring import DATA, read_wiring
from labelfactory.store.entries import STORE
from labelfactory.tournament import TOURNAMENT
from lineage.artifacts import md5_of
from lineage.cached_objects import unneeded
from lineage.current_report import REPORT, is_report, report_without
from lineage.ledger import Ledger, events_table
from lineage.lookup import Lookup
from lineage.mlflow_home import HOME, tracking_uri
from lineage.outside_data import search_outside
from lineage.trace_words import PHOTOGRAPH
from lineage.traces import UNREAD, Traces, in_cache, searched
from lineage.withdrawals import Withdrawal

REPORTS = "withdrawals"
"""The folder of signed reports, in the ledger's."""


@dataclass(frozen=True)
class Remote:
    """What became of the images at DVC's remotes."""

    left: tuple[str, ...] = ()  # what could not be deleted where we push to, with the reason
    others: tuple[str, ...] = ()  # remotes that we do not write to, by name and address


@dataclass(frozen=True)
class Found:
    """What is left of a withdrawal under data/ and in DVC's cache."""

    lines: tuple[str, ...]  # what is under data/, one line each
    foreign: tuple[
        str, ...
    ]  # files of people that name it or hold it behind a link, and what was not searched; and how
    cached: tuple[str, ...]  # MD5 of objects in DVC's cache that hold it
    current: frozenset[str]  # of these, what is under data/ too: DVC needs it until the line has run without the images

    @property
    def old(self) -> list[str]:
        """Objects that nothing under data/ needs."""
        return [md5 for md5 in self.cached if md5 not in self.current]


def search(traces: Traces, known: Collection[str] = ()) -> Found:
    """Search every file under data/ but history, and DVC's cache.

    Args:
        traces: what is looked for.
        known: MD5 of objects that were found to hold it when the import still named the images, whose paths told some of them.
    """
    live = searched(traces)
    unread = [path for path, held in live.items() if UNREAD in held]
    live = {path: held - {UNREAD} for path, held in live.items() if held != {UNREAD}}
    if REPORT.is_file() and not is_report(report_without(traces.has)):
        live.setdefault(REPORT, set()).add("pictures, perhaps of before the withdrawal")
    ours, foreign = _our_folders(), []
    for path, held in live.items():
        if path.relative_to(DATA).parts[0] in ours:
            continue
        if PHOTOGRAPH not in held:
            foreign.append(f"{path} (names it)")
        elif not is_inside(path, DATA, RAW):
            foreign.append(f"{path} ({PHOTOGRAPH}; it lies outside of {DATA}, behind a link)")
    foreign += [f"{path} ({UNREAD})" for path in unread]
    cached_now = dict.fromkeys([*in_cache(traces), *unneeded(known, live)])
    return Found(tuple(lines_of(live)), tuple(foreign), tuple(cached_now), frozenset(md5_of(path) for path in live))


def lines_of(live: Mapping[Path, Collection[str]]) -> list[str]:
    """What is left in some files under data/, by what each holds: all of it in our folders, else the photograph alone."""
    ours, lines = _our_folders(), []
    for path, held in live.items():
        own, linked = path.relative_to(DATA).parts[0] in ours, not is_inside(path, DATA, RAW)
        told = [what for what in sorted(held) if what != UNREAD and (own or (what == PHOTOGRAPH and not linked))]
        lines += [f"{path}: {what}" for what in told]
    return lines


def _our_folders() -> set[str]:
    return {
        "import",
        "corrections",
        "audits",
        "reports",
        STORE.name,
        TOURNAMENT.name,
        *(stage.noun for stage in read_wiring().values()),
    }


def left_over(found: Found) -> list[str]:
    """The same in lines, objects of the cache included unless others may own them."""
    objects = found.cached if is_ours() else ()
    return [*found.lines, *(f"{cached(md5)}: in DVC's cache" for md5 in objects if cached(md5).exists())]


def traces_of(lookup: Lookup, withdrawal: Withdrawal) -> Traces:
    """What is looked for, with the keys of every mask that the ledger has of the images."""
    keys = [mask["key"] for mask in lookup.masks_of(withdrawal.digests)]
    return Traces.of(withdrawal.images, withdrawal.pixels, keys, withdrawal.sizes)


def make_report(
    lookup: Lookup, withdrawal: Withdrawal, found: Found, remote: Remote, objects: Collection[str]
) -> dict[str, Any]:
    """What was deleted and what is left. `complete`: nothing of it is left where we write.

    Args:
        lookup: the ledger.
        withdrawal: of which.
        found: what a search found, before old objects were deleted from DVC's cache.
        remote: what became of it at the remotes.
        objects: MD5 of outputs that hold the images, in this cache now or before.
    """
    masks = lookup.masks_of(withdrawal.digests)
    outside = search_outside(lookup, withdrawal, traces_of(lookup, withdrawal))
    left = [*left_over(found), *remote.left]
    told = {line.partition(" (")[0] for line in found.foreign}
    elsewhere = [path for path in withdrawal.elsewhere if Path(path).exists() and path not in told]
    if not is_ours():
        shared = (cached(md5) for md5 in objects)
        elsewhere += [f"{path} (in DVC's cache outside of this project)" for path in shared if path.exists()]
    report = {
        "id": withdrawal.id,
        "time": datetime.now(UTC).replace(microsecond=0).isoformat(),
        "images": list(withdrawal.images),
        "photographs": dict(withdrawal.photographs),
        "digests": sorted(withdrawal.digests),
        "by": withdrawal.by,
        "reason": withdrawal.reason,
        "complete": not left,
        "left_over": left,
        "deleted": [file.path for file in withdrawal.files if not file.is_there],
        "deleted_from_cache": [md5 for md5 in objects if not cached(md5).exists()],
        "elsewhere": [*elsewhere, *found.foreign, *outside.held],
        "not_ours": [*remote.others, *outside.links, *_lost_lists(lookup, withdrawal), *_not_ours(withdrawal)],
        "models": list(withdrawal.models),
        "model_names": {d: lookup.models[d].label for d in withdrawal.models if d in lookup.models},
        "masks": [{"image_id": m["image_id"], "digest": m["digest"], "key": m["key"]} for m in masks],
    }
    return {name: _in_utf8(value) for name, value in report.items()}


def _in_utf8(value: Any) -> Any:
    """The same with texts that UTF-8 can hold: names of files may be any bytes."""
    if isinstance(value, dict):
        return {_in_utf8(name): _in_utf8(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_in_utf8(inner) for inner in value]
    return in_utf8(value) if isinstance(value, str) else value


def sign_off(ledger: Ledger, withdrawal: Withdrawal, report: dict[str, Any]) -> Path:
    """Write the report, and its digest into the ledger: nobody can change it afterwards without being seen."""
    folder = ledger.folder / REPORTS
    stem = f"{report['time'].replace(':', '')}-{report['id'][:8]}"
    with ledger.locked(), _signed_alone(ledger, withdrawal):
        taken = len(list(folder.glob(f"{stem}*.json")))
        path = folder / (f"{stem}-{taken + 1}.json" if taken else f"{stem}.json")
        write_json(path, report)
        detail = {
            "report": path.name,
            "by": report["by"],
            "left": len(report["left_over"]),
            "withdrawal": withdrawal.id,
        }
        now = datetime.now(UTC).replace(microsecond=0)
        ledger.append("events", events_table([("signed off", digest_json(report), detail, now)]))
    return path


@contextmanager
def _signed_alone(ledger: Ledger, withdrawal: Withdrawal) -> Iterator[None]:
    """Write and sign a report of a withdrawal inside. A report whose signing was killed, or fails, is deleted."""
    _remove_unsigned(ledger, withdrawal)
    try:
        yield
    except Exception:
        _remove_unsigned(ledger, withdrawal)
        raise


def _remove_unsigned(ledger: Ledger, withdrawal: Withdrawal) -> None:
    """Delete reports of a withdrawal that the ledger does not name, and what writers of reports left that were killed."""
    folder = ledger.folder / REPORTS
    signed = {event["detail"]["report"] for event in ledger.events("signed off")}
    for path in folder.glob(f"*-{withdrawal.id[:8]}*.json"):
        if path.name not in signed:
            path.unlink(missing_ok=True)
    remove_leftovers(folder)


def last_report(ledger: Ledger, withdrawal: Withdrawal) -> dict[str, Any]:
    """The last signed report of a withdrawal; empty where there is none that can be read."""
    path = ledger.folder / REPORTS / (withdrawal.report or "none")
    try:
        report: dict[str, Any] = read_json(path, dict[str, Any], "")
    except DataError:
        return {}
    return report


def _lost_lists(lookup: Lookup, withdrawal: Withdrawal) -> Iterator[str]:
    """Models of before, of whose training rows the ledger has not all: their lists were damaged when they were recorded."""
    counted = lookup.rows("SELECT model, count(*) AS rows FROM training GROUP BY model")
    rows = {each["model"]: int(each["rows"]) for each in counted}
    for digest, model in lookup.models.items():
        is_short = rows.get(digest, 0) < model.passport.training_rows
        if is_short and digest not in withdrawal.models and model.time <= withdrawal.time:
            yield f"{model.label}: its list of training rows is lost: whether it learnt from the images is not known"


def _not_ours(withdrawal: Withdrawal) -> Iterator[str]:
    """Places that remember, or may: by name."""
    yield f"{DATA / 'ledger'}: ids and digests, as proof of this withdrawal; models that learnt from the images are marked"
    uri = tracking_uri()
    place = HOME if uri.startswith("sqlite:///") else masked(uri).rpartition("@")[2]
    yield f"MLflow ({place}): ids and digests in lists of training rows, weights of the marked models"
    yield "Prefect (.labelfactory, or its server's database): ids in logs and summaries of runs"
    yield "DVC's notes of files (.dvc/tmp, of earlier versions /var/tmp/dvc): ids in names of files"
    yield from _in_git(withdrawal)
    yield "exports, predictions and pictures outside of this folder, and in it such as were renamed and saved again"
    yield "other clones, and backups of any of these"


def _in_git(withdrawal: Withdrawal) -> Iterator[str]:
    """Whether git's history has files that the withdrawal names."""
    names = [file.path for file in withdrawal.files] + list(withdrawal.elsewhere)
    inside: Sequence[str] = [name for name in names if not Path(name).is_absolute()]
    found = ""
    if inside:
        words = ["git", "log", "--all", "--format=%h", "-n", "5", "--", *inside]
        try:
            found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            found = ""
    commits = f": commits {', '.join(found.split())} have files of these images" if found.split() else ""
    yield f"git's history{commits or ', if photographs, masks or exports were ever committed'}"
