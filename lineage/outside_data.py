"""Search the project's folder outside of data/: results of our commands, copies, and files that name withdrawn images.

They are people's to delete: the report names them. Not searched are git's own folder and DVC's cache, which the report and another
search are for, and environments of Python and caches of tools. Links to folders elsewhere are named instead.
"""

import json
import os
import re
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from labelfactory.destinations import command_of
from labelfactory.dvc_cache import cache_folder
from labelfactory.foreign_files import PHOTOGRAPHS, is_inside
from labelfactory.names import file_name
from labelfactory.settings.wiring import DATA
from lineage.lookup import Lookup
from lineage.trace_words import ID, MODEL, PHOTOGRAPH
from lineage.traces import UNREAD, Traces
from lineage.withdrawals import Withdrawal

PROVENANCE = "provenance.json"
"""The file in every export that names its images."""
NOTES = (".dvc", ".labelfactory")
"""Folders whose notes remember ids; the report names them as a whole."""
MARKS = ("pyvenv.cfg", "conda-meta", "CACHEDIR.TAG")
"""What environments of Python and caches of tools have in them."""
ADDED = re.compile(r"(~\d+)?(_overlay)?$")
"""What `labelfactory predict` adds to a picture's name."""


@dataclass(frozen=True)
class Outside:
    """What lies outside of data/."""

    held: tuple[str, ...]  # files and exports that hold or name the images, and how
    links: tuple[str, ...]  # links to folders outside of the project, which were not searched


def search_outside(lookup: Lookup, withdrawal: Withdrawal, traces: Traces) -> Outside:
    """Search the project's folder.

    Args:
        lookup: the ledger, which has the weights of the models.
        withdrawal: of which.
        traces: what is looked for under data/.
    """
    traces = traces.with_weights(lookup.models[d].weights for d in withdrawal.models if d in lookup.models)
    files, links = _files()
    provenances = [
        path for path in files if path.name == PROVENANCE and path.parent != Path()
    ]  # one here is no export's
    exports = [path.parent for path in provenances if _exported(path, withdrawal)]
    known = {os.path.realpath(path) for path in withdrawal.elsewhere}  # the report has them already
    tracked, names = _tracked(), _names(withdrawal)
    held = [f"{folder} (an export)" for folder in exports]
    for path in files:
        if os.path.realpath(path) in known or any(path.is_relative_to(folder) for folder in exports):
            continue
        quiet = (
            path.parts[0] in NOTES or path.as_posix() in tracked
        )  # git's history is named, and code is full of words
        how = _how(path, traces, names, quiet=quiet)
        held += [f"{path} ({how})"] if how else []
    return Outside(tuple(held), tuple(links))


def _how(path: Path, traces: Traces, names: Collection[str], *, quiet: bool) -> str:
    """How a file holds or names the images; empty where it does not. `quiet`: only if it holds pixels of them, or may."""
    found = traces.read(path)
    unread = UNREAD if UNREAD in found else ""
    found.discard(UNREAD)
    if PHOTOGRAPH in found:
        return PHOTOGRAPH
    owner = _owner(path.stem, names, traces)
    command = command_of(path) if owner in names else ""
    if command:
        return f"a result of `{command}`"
    is_named = path.suffix.lower() in PHOTOGRAPHS and owner in names
    if quiet:
        return "named after it" if is_named else unread
    if MODEL in found:
        return MODEL
    in_name = traces.in_text(path.as_posix()) if owner in ("", *names) else set()
    in_name |= traces.in_name(path) if path.suffix.lower() in PHOTOGRAPHS else set()
    return "named after it" if ID in in_name else "names it" if found or in_name else unread


def _owner(name: str, names: Collection[str], traces: Traces) -> str:
    """The known name in that of a file, without suffix: the whole, or without what `predict` adds to it; empty for none."""
    forms = (name, name.removesuffix("_overlay"), ADDED.sub("", name))
    return next((form for form in forms if form in names or traces.is_others(form)), "")


def _names(withdrawal: Withdrawal) -> set[str]:
    """What results of commands may be called: after an id, or after the file of a photograph."""
    files = [*(file.path for file in withdrawal.files), *withdrawal.elsewhere]
    return {file_name(name) for name in (*withdrawal.images, *(Path(path).stem for path in files))}


def _files() -> tuple[list[Path], list[str]]:
    """The files that are searched, and the links to folders that are not."""
    files, links = [], []
    apart = {Path(".git"), DATA, cache_folder()}
    for folder, inside, names in os.walk("."):
        here = Path(folder)
        inside[:] = sorted(name for name in inside if here / name not in apart and not _is_tools(here / name))
        for name in [name for name in inside if (here / name).is_symlink()]:
            inside.remove(name)
            if not is_inside(here / name, Path()):
                links.append(f"{here / name} (a link to {os.path.realpath(here / name)}, which was not searched)")
        files += [here / name for name in sorted(names) if (here / name).is_file()]
    return files, links


def _is_tools(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in MARKS)


def _exported(path: Path, withdrawal: Withdrawal) -> bool:
    """Whether an export holds the images, by its provenance."""
    try:
        images = json.loads(path.read_text(encoding="utf-8")).get("images", {})
        held = {str(image.get("photograph", "")) for image in images.values() if isinstance(image, dict)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    return bool(set(images) & set(withdrawal.images) or held & withdrawal.digests)


def _tracked() -> frozenset[str]:
    """The files here that git tracks; none where there is no git."""
    try:
        found = subprocess.run(["git", "ls-files", "-z"], capture_output=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    return frozenset(os.fsdecode(name) for name in found.split(b"\0") if name)
