"""What people give a stage: its sections of params.yaml, the files that no stage writes, and its code."""

import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from labelfactory.dataset.account import ACCOUNT
from labelfactory.digests import digest_file, digest_json
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import DATA, read_wiring

ATTEMPTS = 3
"""How often a stage runs whose inputs change meanwhile."""
CODE = "code"
"""Names the code among what a stage is given."""


def given_inputs(name: str) -> dict[str, Any]:
    """What a stage is given, as it is now: its sections of params.yaml, a digest of its code, size and time of each file."""
    given = _sections(name) | {CODE: digest_code(name)}
    for path in (path for noun in _nouns(name) for path in _files_in(DATA / noun)):
        with suppress(FileNotFoundError):  # a command is replacing it
            state = path.stat()
            given |= {str(path): (state.st_size, state.st_mtime_ns)} if stat.S_ISREG(state.st_mode) else {}
    return given


def changed_inputs(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The first input that differs, and how many more do; empty if none does."""
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return f"{changed[0]}{f' and {len(changed) - 1} more' if len(changed) > 1 else ''}" if changed else ""


def digest_given(name: str) -> str:
    """One SHA-256 of what a stage is given now: values and bytes, not times, so that it is the same in a clone.

    Its code has a digest of its own, `digest_code`.
    """
    given = _sections(name)
    for noun in _nouns(name):
        given |= file_digests(noun)
    return digest_json(given)


def digest_of_all_given() -> str:
    """The same over all stages."""
    return digest_json({name: digest_given(name) for name in read_wiring()})


def digest_code(name: str) -> str:
    """One SHA-256 of every Python file that DVC takes for this stage's code: more than its key has, and read quickly."""
    files = (path for place in read_wiring()[name].code for path in (sorted(place.rglob("*.py")) or [place]))
    return digest_json({path.as_posix(): digest_file(path) for path in files if path.is_file()})


def file_digests(noun: str, project: Path = Path()) -> dict[str, str]:
    """Path in a project → SHA-256 of each file of data/<noun> that stages read; for a folder that no stage writes."""
    digests: dict[str, str] = {}
    for path in _files_in(project / DATA / noun, project):
        with suppress(FileNotFoundError):
            digests |= {path.relative_to(project).as_posix(): digest_file(path)} if path.is_file() else {}
    return digests


def used_what_is_given(name: str) -> bool:
    """Whether the last run of a stage used what it is given now, and the code of now. True where its report does not say.

    Raises:
        DataError: the report is damaged.
    """
    report = read_report(name)
    used, code = report.get("given"), report.get("given_code")
    return (not used or used == [digest_given(name)]) and (not code or code == [digest_code(name)])


def _sections(name: str) -> dict[str, Any]:
    params = read_yaml(Path(PARAMS_FILE)) if Path(PARAMS_FILE).exists() else {}
    return {f"{PARAMS_FILE}: {section}": params.get(section) for section in read_wiring()[name].params}


def _nouns(name: str) -> list[str]:
    """The folders that a stage reads and no stage writes, such as the import."""
    wiring = read_wiring()
    return [noun for noun in wiring[name].inputs if wiring.maker(noun) is None]


def _files_in(folder: Path, project: Path = Path()) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("[!.]*")) if path != project / ACCOUNT)
