"""Whole outputs in the store, by their key: networks with their curves and training rows, thresholds.

data/store/<noun>/<key>/…, and in the same folder FILES: the SHA-256 of each file, in the order in which they are put back.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from labelfactory.console import say
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.files import temporary_path, write_json, write_whole
from labelfactory.json_files import read_json
from labelfactory.store.entries import folder_of, holds, keep, link, remove, use
from labelfactory.store.limit import is_on

FILES = ".files.json"
FOUND = "found"
"""What a temporary name says of an entry that is being copied."""


def kept_output(noun: str, key: str) -> Path | None:
    """The folder with the output of this key; None where there is none. Its files are not looked at."""
    folder = folder_of(noun, key)
    return folder if is_on() and (folder / FILES).exists() else None


def keep_output(noun: str, key: str, files: Sequence[Path]) -> None:
    """Keep an output, unless it is kept.

    Args:
        noun: whose.
        key: of all that it depends on.
        files: the last one decides for a reader whether the output is there.
    """
    if not is_on() or holds(folder_of(noun, key), files):
        return

    def fill(folder: Path) -> None:
        for file in files:
            link(file, folder / file.name)
        write_json(folder / FILES, {file.name: digest_file(folder / file.name) for file in files})

    keep(noun, key, fill)


@contextmanager
def _held(kept: Path) -> Iterator[Path]:
    """The files of an entry under names of this process, which nobody removes meanwhile. Raises OSError where it is gone."""
    held = temporary_path(kept, FOUND)
    shutil.rmtree(held, ignore_errors=True)
    held.mkdir()
    try:
        for file in kept.iterdir():
            link(file, held / file.name)
        yield held
    finally:
        shutil.rmtree(held, ignore_errors=True)


def put_back(noun: str, key: str, output: Path) -> bool:
    """Copy the files of a kept output into a folder, byte for byte; whether there was one.

    A damaged one is removed from the store; one that another process removes meanwhile comes back whole or not at all. Raises
    DiskError as `write_whole`.
    """
    kept = kept_output(noun, key)
    if kept is None:
        return False
    with suppress(FileNotFoundError), _held(kept) as held:
        try:
            digests: dict[str, str] = read_json(held / FILES, dict[str, str], "")
            intact = all(Path(name).name == name and digest_file(held / name) == d for name, d in digests.items())
        except (DataError, OSError):
            intact = False
        if not intact:
            say(f"{kept}: damaged: not used, removed")
            remove(kept)
            return False
        for name in digests:
            with write_whole(output / name) as temporary:  # a copy: who spoils an output must not spoil what is kept
                shutil.copyfile(held / name, temporary)
        use(kept)
        return True
    return False
