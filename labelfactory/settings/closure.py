"""The code in a key: the project's files that a stage runs and that decide values, in normal form.

Imports are followed from the stage's file, those inside functions too. Of a plug-in family only the chosen methods are
followed. Of the ground floor only the value rooms count; its other files share one number, `ENGINE_FORMAT`.
See docs/architecture.md.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from labelfactory.digests import digest_json
from labelfactory.errors import MissingError
from labelfactory.settings.source_file import read_source
from labelfactory.settings.value_rooms import NOT_FOLLOWED, answers_by_number

ENGINE_FORMAT = 1
"""Raise it when a file covered by it (`value_rooms.BY_NUMBER`) makes different rows or weights: every row and network is then
made again. tests/golden fails when values change without it."""

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
"""Family → the method of a network whose passport names no method of it."""


def chosen_by(architecture: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Family and method, of each method of the network that a passport describes."""
    named = {family: architecture[key] for key, family in ARCHITECTURE_FAMILIES.items() if key in architecture}
    return {(family, method["name"] if isinstance(method, Mapping) else method) for family, method in named.items()}


def joined(named: Iterable[Collection[tuple[str, str]]]) -> dict[str, set[str]]:
    """All methods that sections and checkpoints name: family → methods.

    A family of networks that nothing names has its method in `UNNAMED`, or none: a network that was not trained runs no code.
    """
    chosen: dict[str, set[str]] = {family: set() for family in ARCHITECTURE_FAMILIES.values()}
    for family, method in (pair for methods in named for pair in methods):
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
        root: the project's folder. Files outside of it are not followed.

    Raises:
        MissingError: the module has no file.
        ParamsError: a file is not Python.
    """
    paths = sorted(path for path in reached(module, chosen, root) if not answers_by_number(path))
    return {path: digest for path in paths if (digest := read_source(root / path).digest)}


def reached(module: str, chosen: Chosen | None = None, root: Path = Path()) -> set[str]:
    """All project files that a stage runs, those covered by `ENGINE_FORMAT` too. Arguments and errors as for `code_of`."""
    chosen = {} if chosen is None else chosen
    pending = _files(module, root)
    if not pending:
        raise MissingError(f"{module}: no such module in {root.resolve()}", "Run the command in the project's folder.")
    paths: set[str] = set()
    modules: set[str] = set()
    while pending:
        path = pending.pop()
        if path in paths or path in NOT_FOLLOWED:
            continue
        paths.add(path)
        source = read_source(root / path)
        imported = {_absolute(name, path) for name in source.imports} - modules
        modules |= imported
        for name in imported:
            pending += _files(name, root)
        for family in source.families:
            for method in chosen[family] if family in chosen else _methods(family, root):
                pending += _files(f"{family}.{method}", root)
    return paths


def _absolute(name: str, path: str) -> str:
    """A module's name without leading dots, where the file `path` imports it."""
    level = len(name) - len(name.lstrip("."))
    package = list(Path(path).parts[:-level]) if level else []
    return ".".join([*package, *filter(None, [name.lstrip(".")])])


def _files(module: str, root: Path) -> list[str]:
    """The file of a project module and those of its packages; empty for any other name."""
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
