"""The variants of a sweep: every combination of its values, all checked before the first one runs."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from flows.line.experiment_inputs import inputs_in, name_of
from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.settings.params import PARAMS_FILE, SHOWN, check_sections, in_one_line, read_yaml
from labelfactory.settings.wiring import read_wiring
from labelfactory.settings.yaml_text import parse_yaml
from labelfactory.stage.runner import stage_class

EXAMPLE = "Type it like this: labelfactory sweep random_walk.beta=4,8,16"
Parameters = Mapping[str, Sequence[Any]]
"""Dotted name of a parameter → its values."""


@dataclass(frozen=True)
class Variant:
    """One combination and the name of its experiment, which follows from `params` and `inputs` (`inputs_in`)."""

    name: str
    settings: Mapping[str, Any]
    params: Mapping[str, Any]
    """All of params.yaml with these settings, as it was when the sweep was planned."""
    inputs: Mapping[str, str]

    def __str__(self) -> str:
        return ", ".join(f"{name}={in_one_line(value)}" for name, value in self.settings.items())


def parse(words: Sequence[str]) -> dict[str, list[Any]]:
    """`random_walk.beta=4,8` → {"random_walk.beta": [4, 8]}. Values are YAML; a list is written as `[1.0, 2.0]`.

    Raises:
        ParamsError: a word has another form, or a name appears twice.
    """
    parameters: dict[str, list[Any]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        listed = parse_yaml(f"[{values}]", repr(word[:SHOWN]), EXAMPLE) if equals and "." in name else None
        if not listed:
            raise ParamsError(f"{word[:SHOWN]!r} is not of the form section.key=value,value", EXAMPLE)
        if name in parameters:
            raise ParamsError(f"{name} appears twice", EXAMPLE)
        parameters[name] = listed
    return parameters


def variants(parameters: Parameters) -> list[Variant]:
    """All combinations, in the order of the values.

    Raises:
        ParamsError: there is none, params.yaml has no such parameter, or a value is invalid.
    """
    if not parameters or not all(parameters.values()):
        raise ParamsError("a sweep needs a parameter and its values", EXAMPLE)
    values = read_yaml(Path(PARAMS_FILE))
    sections = {stage: stage_class(stage).section for stage in read_wiring()}
    inputs = inputs_in(Path())
    planned = []
    for combination in product(*parameters.values()):
        settings = dict(zip(parameters, combination, strict=True))
        varied = deepcopy(values)
        for name, value in settings.items():
            _put(varied, name, value)
        check_sections(varied, sections, f"{PARAMS_FILE} with {', '.join(f'{n}={v}' for n, v in settings.items())}")
        planned.append(Variant(name_of(varied, inputs), settings, varied, inputs))
    return planned


def _put(values: Any, name: str, value: Any) -> None:
    """Set an existing dotted name. Raises ParamsError for an unknown one."""
    *path, last = name.split(".")
    for part in path:
        inside = _inside(values, part, name)
        if part != path[0] and isinstance(inside[part], str):  # a method without knobs of its own: this is its first
            inside[part] = {"name": inside[part]}
        values = inside[part]
    if (
        not isinstance(values, dict) or "name" not in values
    ):  # a method's knobs have defaults: the check of the section knows their names
        _inside(values, last, name)
    values[last] = value


def _inside(values: Any, part: str, name: str) -> Any:
    if not isinstance(values, dict) or part not in values:
        known = list(values) if isinstance(values, dict) else []
        raise ParamsError(f"{PARAMS_FILE} has no {name}: {part!r} is unknown{did_you_mean(part, known)}", EXAMPLE)
    return values
