"""Who takes part in a tournament: params.yaml as it stands, the baseline, and overlays of it, each with a name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelfactory.digests import digest_json
from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.settings.overlay import flat, lay_over, nested
from labelfactory.settings.params import PARAMS_FILE, Section, check_sections, read_yaml
from labelfactory.settings.registry import Family, method_names
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import stage_class
from labelfactory.tournament import BASELINE

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}")
"""Of a contender, which `--adopt` names."""
EXAMPLE = (
    "Name families, such as `labelfactory tournament objectives`, or a YAML file of lines such as\n"
    "    seam: {train_classifier.objective: seam}"
)
FOR_ALL = {"prepare.train_list": "--list", "prepare.val_list": "params.yaml", "evaluate.lists": "--list"}
"""Parameters that all contenders share → what sets them."""
Sections = Mapping[str, Section]


@dataclass(frozen=True)
class Entrant:
    """One contender, checked.

    Attributes:
        name: of it.
        overlay: dotted name of a parameter → value, where it differs from params.yaml.
        values: all of params.yaml with the overlay.
        sections: the same, checked.
        problem: why it cannot run, where that is known before; its sections are the baseline's then.
    """

    name: str
    overlay: Mapping[str, Any]
    values: Mapping[str, Any]
    sections: Sections
    problem: str = ""


def entrants(words: Sequence[str]) -> list[Entrant]:
    """The baseline, then the contenders in the order in which they are named.

    Args:
        words: names of families, such as `objectives`, and paths of YAML files of overlays by name.

    Raises:
        ParamsError: a word is neither, a parameter is unknown, a value is not valid, two contenders have one name or are the same,
            or there is none beside the baseline.
    """
    values = read_yaml(Path(PARAMS_FILE))
    baseline = _entrant(BASELINE, {}, values)
    found, by_digest = [baseline], {_digest(baseline): BASELINE}
    for word in words:
        is_family = not word.endswith((".yaml", ".yml"))
        named = _of_family(word, baseline.sections) if is_family else _in_file(Path(word))
        for given, overlay in named:
            taken = any(entrant.name == given and entrant.overlay != overlay for entrant in found)
            name = f"{word}.{given}" if is_family and taken else given
            entrant = _entrant_of_family(name, overlay, baseline) if is_family else _entrant(name, overlay, values)
            same = by_digest.setdefault(_digest(entrant), name)
            if is_family and same != name and not entrant.problem:
                continue  # the baseline's own method, or one that another family has entered
            if same != name and not entrant.problem:
                raise ParamsError(f"{word}: {name} is the same as {same}", "Leave one of them out.")
            if name in {entrant.name for entrant in found}:
                raise ParamsError(f"{word}: two contenders are called {name}", "Give each a name of its own.")
            found.append(entrant)
    if len(found) == 1:
        raise ParamsError(
            f"{' '.join(words) or 'a tournament'}: nobody to hold against {PARAMS_FILE} as it stands", EXAMPLE
        )
    return found


def families() -> list[str]:
    """Names of the plug-in families that a section of params.yaml chooses from."""
    sections = {stage: stage_class(stage).section for stage in read_wiring()}
    return sorted({family.removeprefix("models.") for _, _, family in _choices(sections.items())})


def _of_family(word: str, sections: Sections) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each method of a family with its own defaults, wherever a section chooses one of that family."""
    known = families()
    if word not in known:
        problem = f"{word!r} is not a family of methods{did_you_mean(word, known)}"
        raise ParamsError(problem, f"{EXAMPLE}\nFamilies: {', '.join(known)}")
    kinds = [(name, type(section)) for name, section in sections.items()]
    places = [(section, field) for section, field, family in _choices(kinds) if family == f"models.{word}"]
    for method in method_names(f"models.{word}"):
        yield method, {f"{section}.{field}": {"name": method} for section, field in places}


def _choices(sections: Any) -> Iterator[tuple[str, str, str]]:
    """Section, field and family of each field that chooses a method."""
    for name, kind in sections:
        for field, info in kind.model_fields.items():
            for mark in info.metadata:
                if isinstance(mark, Family):
                    yield name, field, mark.package


def _in_file(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    content = read_yaml(path)
    for name, overlay in content.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ParamsError(f"{path}: {str(name)[:40]!r} is not a name of letters, digits and . _ + -", EXAMPLE)
        if name == BASELINE or not isinstance(overlay, Mapping) or not overlay:
            what = "is params.yaml as it stands" if name == BASELINE else "has no parameters"
            raise ParamsError(f"{path}: {name}: {what}", EXAMPLE)
        yield name, dict(flat(nested(overlay)))


def _entrant(name: str, overlay: Mapping[str, Any], values: Mapping[str, Any]) -> Entrant:
    """A contender. Raises ParamsError where params.yaml with its overlay is not valid."""
    own = deepcopy(dict(values))
    _refuse_unknown(name, overlay, own)
    lay_over(own, nested(overlay), [], whole_methods=True)
    kinds = {stage: stage_class(stage).section for stage in read_wiring()}
    return Entrant(name, overlay, own, check_sections(own, kinds, f"{PARAMS_FILE} with {name}"))


def _entrant_of_family(name: str, overlay: Mapping[str, Any], baseline: Entrant) -> Entrant:
    """The same for a method of a family, which nobody has typed: what it lacks stands in the table."""
    try:
        return _entrant(name, overlay, baseline.values)
    except ParamsError as error:
        return Entrant(name, overlay, baseline.values, baseline.sections, str(error))


def _refuse_unknown(name: str, overlay: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for key in overlay:
        section = key.split(".")[0]
        if section not in values:
            raise ParamsError(f"{name}: {key}: unknown section{did_you_mean(section, values)}", EXAMPLE)
        if "." not in key:
            raise ParamsError(f"{name}: {key}: not of the form section.key", EXAMPLE)
        if key in FOR_ALL:
            raise ParamsError(f"{name}: {key}: the same photographs are for all", f"Set it for all, by {FOR_ALL[key]}.")


def _digest(entrant: Entrant) -> str:
    """Of all that can change a result."""
    return digest_json({name: section.digest() for name, section in entrant.sections.items()})
