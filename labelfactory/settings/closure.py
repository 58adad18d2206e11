"""The code in a key: the files of ours that a stage runs, as far as they bear values, in their normal form.

A stage's file is followed through its imports, those inside functions too. Of a plug-in family only the chosen methods are
followed, not their neighbours. Of the ground floor only the value rooms count; all other files there answer together with
`ENGINE_FORMAT`. docs/architecture.md says what that saves.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from labelfactory.digests import digest_json
from labelfactory.errors import MissingError
from labelfactory.settings.source_file import read_source
from labelfactory.settings.value_rooms import NOT_FOLLOWED, answers_by_number

ENGINE_FORMAT = 1
"""Raise it where a file that answers by number (`value_rooms.BY_NUMBER`) makes other rows or weights than before: every row and
network is then made again. tests/golden fails where values move without it."""

Chosen = Mapping[str, Collection[str]]
"""Plug-in family, such as models.cams → the methods of it that a stage runs."""

ARCHITECTURE_FAMILIES = {
    "affinity": "models.affinity",
    "backbone": "models.backbones",
    "block": "models.blocks",
    "net": "models.segmenters",
    "objective": "models.objectives",
}
"""Keys of a passport's architecture that name a method, alone or with its knobs → its family."""

UNNAMED = {"models.affinity": "psa", "models.blocks": "none", "models.objectives": "tags"}
"""Family → the method of a network whose passport names none of it."""


def chosen_by(architecture: Mapping[str, Any]) -> dict[str, str]:
    """Family → method of the network that a passport describes."""
    named = {family: architecture[key] for key, family in ARCHITECTURE_FAMILIES.items() if key in architecture}
    return {family: method["name"] if isinstance(method, Mapping) else method for family, method in named.items()}


def joined(named: Iterable[Mapping[str, str]]) -> dict[str, set[str]]:
    """What sections and checkpoints name, together: family → methods.

    Of a family that checkpoints name, none counts where none is named: a network that was not trained runs no code.
    """
    chosen: dict[str, set[str]] = {family: set() for family in ARCHITECTURE_FAMILIES.values()}
    for family, method in (pair for methods in named for pair in methods.items()):
        chosen.setdefault(family, set()).add(method)
    return chosen | {family: {method} for family, method in UNNAMED.items() if not chosen[family]}


def code_digest(module: str, chosen: Chosen | None = None, root: Path = Path()) -> str:
    """SHA-256 of the code that decides what a stage makes, `ENGINE_FORMAT` included.

    Args:
        module: the stage's, such as stages.extract_cams.
        chosen: as for `code_of`.
        root: the project's folder.

    Raises:
        MissingError, ParamsError: as `code_of`.
    """
    return digest_json({"engine": ENGINE_FORMAT, "files": code_of(module, chosen, root)})


def code_of(module: str, chosen: Chosen | None = None, root: Path = Path()) -> dict[str, str]:
    """Files that are in a stage's key: path from the root, with slashes → digest of its normal form.

    Args:
        module: the stage's.
        chosen: methods that it runs; of a family that is not named here all methods count.
        root: the project's folder. Only files below it count as ours.

    Raises:
        MissingError: the module has no file.
        ParamsError: a file is not Python.
    """
    paths = sorted(path for path in reached(module, chosen, root) if not answers_by_number(path))
    return {path: digest for path in paths if (digest := read_source(root / path).digest)}


def reached(module: str, chosen: Chosen | None = None, root: Path = Path()) -> set[str]:
    """All files of ours that a stage runs, those that answer by number too. Arguments and errors as for `code_of`."""
    chosen = {} if chosen is None else chosen
    waiting = _files(module, root)
    if not waiting:
        raise MissingError(f"{module}: there is no such module in {root.resolve()}", "Type it in the project's folder.")
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or path in NOT_FOLLOWED:
            continue
        seen.add(path)
        source = read_source(root / path)
        for name in source.imports:
            waiting += _files(_absolute(name, path), root)
        for family in source.families:
            for method in chosen[family] if family in chosen else _methods(family, root):
                waiting += _files(f"{family}.{method}", root)
    return seen


def _absolute(name: str, path: str) -> str:
    """A module's name without leading dots, where the file `path` imports it."""
    level = len(name) - len(name.lstrip("."))
    around = list(Path(path).parts[:-level]) if level else []
    return ".".join([*around, *filter(None, [name.lstrip(".")])])


def _files(module: str, root: Path) -> list[str]:
    """The file of a module of ours and of the packages around it; none for a foreign one or a plain name."""
    parts = module.split(".")
    own = "/".join(parts)
    path = f"{own}/__init__.py" if (root / own).is_dir() else f"{own}.py"
    if not (root / path).is_file():
        return []
    packages = ["/".join([*parts[:k], "__init__.py"]) for k in range(1, len(parts))]
    return [path, *(package for package in packages if (root / package).is_file())]


def _methods(family: str, root: Path) -> list[str]:
    """Names of a family's methods, without loading it."""
    return sorted(f.stem for f in root.joinpath(*family.split(".")).glob("*.py") if not f.name.startswith("_"))
