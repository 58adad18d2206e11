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

ENGINE_FORMAT = 1
"""Raise it where a file that answers by number (`BY_NUMBER`) makes other rows or weights than before. Every row and every
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

VALUE_ROOMS = {
    "dataset/corrections.py": "a person's mask in the classes of the data set",
    "dataset/images.py": "pixels of photographs and masks",
    "dataset/tensors.py": "what a network is given",
    "dataset/truth.py": "what the upper bound learns from",
    "learning/augment.py": "the views that a network learns from",
    "learning/batches.py": "which examples meet in a step, and the seed of each view",
    "learning/examples.py": "what one example is made of",
    "learning/ranks.py": "the mean that losses divide by",
    "learning/training.py": "optimiser, schedule and loop",
    "rows/columns.py": "dtype and rounding of what a row holds",
    "schema.py": "class ids, void, and the class of each channel",
}
"""Files under labelfactory/ that are in the key of every stage that reaches them, and the value that each decides."""

BY_NUMBER = {
    "__init__.py": "sets up threads",
    "console.py": "messages",
    "dataset/__init__.py": "a docstring",
    "dataset/left_out.py": "messages",
    "dataset/manifest.py": "a table; its rows are in keys by their digests",
    "dataset/prepared.py": "likewise",
    "dataset/tables.py": "a file format with a number of its own",
    "devices.py": "where to compute",
    "digests.py": "what keys are written in",
    "errors.py": "messages",
    "files.py": "whole files",
    "forecast.py": "messages",
    "learning/__init__.py": "a docstring",
    "learning/checkpoints.py": "a file format; weights are in keys by their digest",
    "learning/resume.py": "a run that was killed ends in the same weights",
    "learning/supervision.py": "refuses, computes nothing",
    "lock.py": "one run at a time",
    "metrics.py": "scores, which no row or weight depends on; a threshold that they choose is in keys by its number",
    "names.py": "file names",
    "pool/": "processes",
    "progress.py": "messages",
    "rows/__init__.py": "a docstring",
    "rows/engine.py": "computes what changed, copies the rest",
    "rows/header.py": "a file format with a number of its own",
    "rows/own_shard.py": "a shard before it is written",
    "rows/plan.py": "what changed",
    "rows/reader.py": "rows by image",
    "rows/shards.py": "rows in files",
    "settings/": "params.yaml, which is in keys by its values",
    "stage/": "what surrounds a stage's science",
    "versions.py": "for the record",
}
"""The other files and folders under labelfactory/, for which `ENGINE_FORMAT` stands, and what they do instead. They are
followed, since a stage may use a value room through them."""

NOT_FOLLOWED = frozenset({"labelfactory/stage/preflight.py"})
"""Checks before a run: what they import makes no value."""


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


def answers_by_number(path: str) -> bool:
    """Whether `ENGINE_FORMAT` stands for a file; one under labelfactory/ that no list names counts as a value room."""
    name = path.removeprefix("labelfactory/")
    return name != path and (name in BY_NUMBER or f"{name.split('/')[0]}/" in BY_NUMBER)


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
