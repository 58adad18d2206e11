"""Files `data/<name>.dvc`, which `dvc add data/<name>` writes: DVC also takes stages from them, which copy and fetch."""

from pathlib import Path
from typing import Any

from dvc.repo import Repo

from labelfactory.errors import UserError
from labelfactory.settings.params import read_yaml
from labelfactory.settings.wiring import DATA

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


def note_what_was_added(repo: Repo) -> list[str]:
    """Have DVC note what `data/<name>` holds now, for each that `dvc add` has noted once; its lock is held.

    A run of the line does so for what its stages read. No stage reads data/audits: it would stay as it was added, and neither
    `push` nor `dvc push` would send what people answered since.

    Returns:
        The files `data/<name>.dvc` that changed.
    """
    found = [path for path in sorted(DATA.glob("*.dvc")) if not repo.dvcignore.is_ignored_file(str(path.absolute()))]
    behind = [
        path.as_posix() for path in found if (DATA / path.stem).is_dir() and repo.status(targets=[path.as_posix()])
    ]
    for path in behind:
        repo.commit(path, force=True)
    return behind


def _problem(stated: dict[str, Any], name: str) -> str:
    outputs = stated.get("outs")
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        return "has not one output"
    foreign = sorted(map(str, {*stated} - KEYS | {*outputs[0]} - KEYS_OF_OUTPUT))
    if foreign:
        return f"has `{foreign[0]}`"
    return "" if outputs[0].get("path") == name else f"has the output {str(outputs[0].get('path'))[:80]!r}"
