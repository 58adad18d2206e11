"""Delete what a withdrawal names. Each call deletes what is still there: it may be repeated."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from labelfactory.dataset.account import ACCOUNT
from labelfactory.dataset.audits import (
    AUDITS,
    SAMPLE,
    read_audits,
    read_points,
    read_sample,
    write_audits,
    write_points,
    write_sample,
)
from labelfactory.dataset.changed_corrections import AUDITED, CORRECTED, settle
from labelfactory.dataset.corrections import CORRECTIONS, read_corrections, write_corrections
from labelfactory.dataset.left_out import LEFT_OUT, read_left_out, write_left_out
from labelfactory.dataset.manifest import MANIFEST, read_manifest, write_manifest
from labelfactory.dataset.prepared import read_dataset
from labelfactory.dvc_cache import cached, is_ours
from labelfactory.errors import UserError
from labelfactory.files import remove_leftover_folders, remove_leftovers
from labelfactory.foreign_files import RAW
from labelfactory.learning.resume import STATE
from labelfactory.settings.wiring import DATA
from labelfactory.tournament import TOURNAMENT
from lineage.kept_removal import remove_kept
from lineage.traces import HISTORY, Traces
from lineage.walked_folders import files_below
from lineage.withdrawals import Withdrawal, is_own, maps_of, same_files

EXPERIMENTS = Path(".dvc/tmp/exps")
"""Where DVC runs the variants of a sweep, each in a folder of its own."""


def remove(withdrawal: Withdrawal) -> None:
    """Delete everything that the withdrawal names: first from the inputs of the line, then the files.

    The caller holds the project and the line: no stage is at work, and nobody else writes import or corrections.

    Raises:
        DataError: import or corrections cannot be read.
    """
    for drawn in (CORRECTED, AUDITED):
        settle(drawn)  # masks that a killed command wrote, and that no table names
    others = _without_entries(withdrawal)
    if ACCOUNT.is_file() and Traces.of(withdrawal.images, withdrawal.pixels, ()).in_file(ACCOUNT):
        ACCOUNT.unlink()  # it names them: of an import that was restored
    _without_corrections(withdrawal)
    _without_audits(withdrawal)
    _without_left_out(withdrawal)
    files = [Path(file.path) for file in withdrawal.files if file.is_there and is_own(Path(file.path))]
    files += [Path(file.path) for file in same_files(withdrawal.pixels, withdrawal.sizes)]
    files += maps_of(withdrawal.images, others)
    files += _states(withdrawal)
    remove_kept(withdrawal)
    for path in dict.fromkeys(files):
        path.unlink(missing_ok=True)
        _remove_empty(path.parent)
    for folder in _folders():
        remove_leftover_folders(folder, alone=True)
        remove_leftovers(folder)  # of a run that was killed: half a shard, half a photograph
    for copy in (*EXPERIMENTS.glob("tmp*"), *EXPERIMENTS.glob("*/tmp*")):  # of a killed sweep: the whole project
        shutil.rmtree(copy, ignore_errors=True)
    _without_tournament(withdrawal)


def remove_cached(objects: Iterable[str]) -> None:
    """Delete objects of DVC's cache by their MD5; not from a cache outside of the project, which others may share."""
    for md5 in objects if is_ours() else ():
        cached(md5).unlink(missing_ok=True)


def _states(withdrawal: Withdrawal) -> list[Path]:
    """States of interrupted trainings, unless they were written since the withdrawal from a data set without the images."""
    states = list(DATA.glob(f"*/{STATE}"))
    try:
        records = read_dataset().records if states else ()
    except UserError:
        return states
    if any(withdrawal.has(record.image_id, record.sha256) for record in records):
        return states
    began = withdrawal.time.timestamp() + 1  # the event has whole seconds
    return [path for path in states if path.stat().st_mtime < began]


def _without_entries(withdrawal: Withdrawal) -> list[str]:
    """Take the images out of the import; gives the ids that stay."""
    if not MANIFEST.exists():
        return []
    manifest = read_manifest()
    kept = tuple(e for e in manifest.entries if not withdrawal.has(e.image_id, e.sha256))
    if len(kept) < len(manifest.entries):
        ACCOUNT.unlink(missing_ok=True)  # it counts them; the next import writes it again
        write_manifest(replace(manifest, entries=kept), MANIFEST)
    return [entry.image_id for entry in kept]


def _without_corrections(withdrawal: Withdrawal) -> None:
    """Delete what a person drew over these photographs, under any id: the rows first, then masks that no row names."""
    known = read_corrections(CORRECTIONS).values()
    gone = [c for c in known if withdrawal.has(c.image_id, c.photograph)]
    if gone:
        write_corrections((c for c in known if c not in gone), CORRECTIONS)
    for correction in gone:
        correction.path(CORRECTIONS).unlink(missing_ok=True)


def _without_audits(withdrawal: Withdrawal) -> None:
    """Take the images out of the sample and delete what a person answered of them: the rows first, then masks that no row names."""
    audits, points = read_audits(), read_points()
    gone = [audit for audit in audits.values() if withdrawal.has(audit.image_id, audit.photograph)]
    if gone:
        write_audits(audit for audit in audits.values() if audit not in gone)
    for audit in gone:
        audit.path(AUDITS).unlink(missing_ok=True)
    kept = [each for each in points.values() if not withdrawal.has(each.image_id, each.photograph)]
    if len(kept) < len(points):
        write_points(kept)
    if SAMPLE.exists():
        sample = read_sample()
        images = tuple(i for i in sample.images if not withdrawal.has(i.image_id, i.photograph))
        if len(images) < len(sample.images):
            write_sample(replace(sample, images=images))


def _without_left_out(withdrawal: Withdrawal) -> None:
    """Take the images out of the list of what an import left out."""
    if LEFT_OUT.exists():
        files, known = {file.path for file in withdrawal.files}, read_left_out()
        kept = [item for item in known if item.image_id not in withdrawal.images and item.path not in files]
        if len(kept) < len(known):
            write_left_out(kept)


def _without_tournament(withdrawal: Withdrawal) -> None:
    """Delete a tournament that had the images: its networks learnt from them, and its report shows photographs.

    Its imports go last: by them it is found again, where this was killed. One whose imports are gone or damaged is searched.
    """
    traces = Traces.of(withdrawal.images, withdrawal.pixels, ())
    imports = TOURNAMENT / "imports"
    known = any(traces.read(path) for path in imports.glob("*/*"))  # what cannot be read may hold them
    if not known and not any(traces.in_name(path) | traces.in_file(path) for path in files_below(TOURNAMENT)):
        return
    for path in sorted(TOURNAMENT.iterdir(), key=lambda path: path == imports):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
    if not TOURNAMENT.is_symlink():
        TOURNAMENT.rmdir()


def _folders() -> list[Path]:
    """All folders under data/ and data/raw, but those of history, which others write, and those that links lead to."""
    paths = [RAW, *(path for root in (DATA, RAW) for path in root.rglob("*") if not path.is_symlink())]
    folders = [path for path in dict.fromkeys(paths) if path.is_dir()]
    return [path for path in folders if path.relative_to(DATA).parts[0] not in HISTORY]


def _remove_empty(folder: Path) -> None:
    """Delete a folder that has become empty: its name may be an id's."""
    while folder.parent not in (DATA, Path(), folder):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
