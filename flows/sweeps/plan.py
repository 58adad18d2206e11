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
from labelfactory.settings.wiring import METRICS, read_wiring
from labelfactory.settings.yaml_text import parse_yaml
from labelfactory.stage.runner import stage_class

EXAMPLE = "Type it like this: labelfactory sweep random_walk.beta=4,8,16"
Parameters = Mapping[str, Sequence[Any]]
"""Dotted name of a parameter → its values."""


@dataclass(frozen=True)
class Variant:
    """One combination and the name of its experiment, which follows from `params`, `inputs` (`inputs_in`) and where it stops."""

    name: str
    settings: Mapping[str, Any]
    params: Mapping[str, Any]
    """All of params.yaml with these settings, as it was when the sweep was planned."""
    inputs: Mapping[str, str]
    stages: tuple[str, ...] = ()
    """Those that run, and no others; none for the whole line."""

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


def variants(parameters: Parameters, until: str = "") -> list[Variant]:
    """All combinations, in the order of the values.

    Args:
        parameters: dotted names and values.
        until: the last stage that runs; none for the whole line.

    Raises:
        ParamsError: there is none, params.yaml has no such parameter, dvc.yaml no such stage, or a value is invalid.
    """
    stages = stages_until(until)
    if not parameters or not all(parameters.values()):
        raise ParamsError("a sweep needs a parameter and its values", EXAMPLE)
    values = read_yaml(Path(PARAMS_FILE))
    sections = {stage: stage_class(stage).section for stage in read_wiring()}
    inputs = inputs_in(Path(), stages)
    planned = []
    for combination in product(*parameters.values()):
        settings = dict(zip(parameters, combination, strict=True))
        varied = deepcopy(values)
        for name, value in settings.items():
            _put(varied, name, value)
        check_sections(varied, sections, f"{PARAMS_FILE} with {', '.join(f'{n}={v}' for n, v in settings.items())}")
        planned.append(Variant(name_of(varied, inputs, until), settings, varied, inputs, stages))
    return planned


def stages_until(until: str) -> tuple[str, ...]:
    """The stages that a sweep runs which stops at one; none for the whole line.

    They are those that it needs, those that choose the thresholds at which these are scored, and the one that scores.

    Raises:
        ParamsError: there is no such stage, or nothing that it needs is scored.
    """
    if not until:
        return ()
    wiring = read_wiring()
    if until not in wiring:
        raise ParamsError(f"--until: there is no stage {until!r}{did_you_mean(until, list(wiring))}", EXAMPLE)
    scoring = wiring.maker(METRICS.parent.name)
    if scoring is None or not scored_until(until):
        with_scores = [stage.name for stage in wiring.scored]
        raise ParamsError(
            f"--until {until}: nothing up to that stage is scored", f"Name one of {', '.join(with_scores)}."
        )
    return tuple(name for name in wiring if name in {*wiring.scored_with(until), scoring.name})


def scored_until(until: str) -> set[str]:
    """Names of the scores of what a sweep makes that stops at a stage, such as masks; all of the line's without one."""
    wiring = read_wiring()
    names = set(wiring.scored_with(until) if until else wiring)
    return {stage.meta.scores.name for stage in wiring.scored if stage.name in names}


def _put(values: Any, name: str, value: Any) -> None:
    """Set an existing dotted name. Raises ParamsError for an unknown one."""
    *path, last = name.split(".")
    for part in path:
        inside = _inside(values, part, name)
        if part != path[0] and isinstance(inside[part], str):  # a method without knobs of its own: this is its first
            inside[part] = {"name": inside[part]}
        values = inside[part]
    # a method's knobs have defaults: the check of the section knows their names
    if not isinstance(values, dict) or "name" not in values:
        _inside(values, last, name)
    values[last] = value


def _inside(values: Any, part: str, name: str) -> Any:
    if not isinstance(values, dict) or part not in values:
        known = list(values) if isinstance(values, dict) else []
        raise ParamsError(f"{PARAMS_FILE} has no {name}: {part!r} is unknown{did_you_mean(part, known)}", EXAMPLE)
    return values
