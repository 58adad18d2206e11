"""Files `data/<name>.dvc`, which `dvc add data/<name>` writes: DVC also takes stages from them, which copy and fetch."""

from pathlib import Path
from typing import Any

from dvc.repo import Repo

from labelfactory.console import first_of
from labelfactory.dataset.changed_corrections import AUDITED, CORRECTED
from labelfactory.dvc_cache import cached
from labelfactory.errors import DataError, UserError
from labelfactory.files import write_json
from labelfactory.json_files import read_json
from labelfactory.settings.params import read_yaml
from labelfactory.settings.wiring import DATA

HAD = Path(".labelfactory/noted.json")
"""Name of a folder below data/ → MD5 of its last state that DVC noted here: a withdrawal takes the list of it out of the cache."""
KEYS = frozenset({"outs", "desc", "meta"})
KEYS_OF_OUTPUT = frozenset({"path", "hash", "md5", "size", "nfiles", "desc", "type", "labels", "meta"})
"""What a source of data says of itself. Any other key names an origin, a folder, a remote or files by paths."""


def check_data_source(path: Path) -> None:
    """Check that a file says only which state `data/<name>` has.

    Args:
        path: `data/<name>.dvc`.

    Raises:
        ParamsError: it cannot be read.
        UserError: it says more, or speaks of another path.
    """
    problem = _problem(read_yaml(path), path.stem)
    if problem:
        place = (DATA / path.stem).as_posix()
        raise UserError(
            f"{path}: {problem}; `dvc add {place}` notes only the state of {place}, and DVC would copy or fetch files for more",
            "Move it out of the project.",
        )


def note_what_was_added(repo: Repo) -> list[DataError]:
    """Have DVC note what `data/<name>` holds now, for each that `dvc add` has noted once; its lock is held.

    A run of the line does so for what its stages read. No stage reads data/audits: it would stay as it was added, and neither
    `push` nor `dvc push` would send what people answered since. A state that was never here, such as one that came by `git pull`
    from a machine on which others answered, stays noted: what is here is not what became of it.

    Returns:
        What to say of each that stays so.
    """
    had, now, left = _read_had(), {}, []
    for path in sorted(DATA.glob("*.dvc")):
        folder, source = DATA / path.stem, path.as_posix()
        if repo.dvcignore.is_ignored_file(str(path.absolute())) or not folder.is_dir():
            continue
        if not repo.status(targets=[source]):
            now[path.stem] = _noted(path)
        elif missing := _missing(folder, _noted(path)):
            lost = f"{first_of(missing, 3)} {'is' if len(missing) == 1 else 'are'} missing"
            left.append(
                DataError(f"{folder}: {lost}, and {path} names what was there", f"Type `dvc checkout {source}`.")
            )
        elif _was_here(_noted(path), had.get(path.stem)):
            repo.commit(source, force=True)
            now[path.stem] = _noted(path)
        else:
            left.append(
                DataError(
                    f"{path} names a state of {folder} that was never on this machine, and what is here is another one",
                    f"Type `dvc pull {source}` to fetch it, or `dvc commit {source}` to note what is here in its place.",
                )
            )
    if now.items() - had.items():
        write_json(HAD, had | now)
    return left


def _missing(folder: Path, noted: str) -> list[str]:
    """Tables of a folder that were there when it was noted, and masks that its tables name, without a file now."""
    drawn = {CORRECTED.folder: CORRECTED, AUDITED.folder: AUDITED}.get(folder)
    masks = [mask.path(folder) for mask in drawn.read().values()] if drawn else []
    try:
        listed = read_json(cached(noted), list[dict[str, Any]], "") if noted else []
    except DataError:
        listed = []
    tables = [
        folder / str(file.get("relpath", "")) for file in listed if str(file.get("relpath", "")).endswith(".parquet")
    ]
    return [path.as_posix() for path in (*tables, *masks) if not path.is_file()]


def _was_here(noted: str, had: str | None) -> bool:
    return noted == had or bool(noted and cached(noted).exists())


def _noted(path: Path) -> str:
    """The MD5 of the state that a file names; it was checked when the repository was opened."""
    return str(read_yaml(path)["outs"][0].get("md5", ""))


def _read_had() -> dict[str, str]:
    try:
        had: dict[str, str] = read_json(HAD, dict[str, str], "")
    except DataError:  # none yet; the cache knows most of it
        return {}
    return had


def _problem(stated: dict[str, Any], name: str) -> str:
    outputs = stated.get("outs")
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        return "has not one output"
    foreign = sorted(map(str, {*stated} - KEYS | {*outputs[0]} - KEYS_OF_OUTPUT))
    if foreign:
        return f"has `{foreign[0]}`"
    return "" if outputs[0].get("path") == name else f"has the output {str(outputs[0].get('path'))[:80]!r}"
