"""Lay values over params.yaml: what a profile, `--set` and a contender of a tournament say, and nothing else, changes."""

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml.comments import CommentedSeq

from labelfactory.errors import ParamsError
from labelfactory.settings.params import in_one_line


def lay_over(
    values: Any, over: Mapping[str, Any], changes: list[str], prefix: str = "", *, whole_methods: bool = False
) -> None:
    """Set the values of `over` recursively, and note each change as `section.key: old → new`.

    A mapping without `name` over a method sets its knobs; another method comes with its own knobs alone. With `whole_methods`, so
    does the method that is there already, where `over` names it: other knobs of it get their defaults.
    """
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), str) and "name" not in value:
            value = {"name": values[key], **value}  # knobs of the method that is chosen
        if _another_method(values.get(key), value):
            changes.append(
                f"{prefix}{key}: {values[key]['name']} → {value if isinstance(value, str) else value['name']}"
            )
            values[key] = value
        elif (
            isinstance(value, Mapping) and isinstance(values.get(key), dict) and not (whole_methods and "name" in value)
        ):
            lay_over(values[key], value, changes, f"{prefix}{key}.", whole_methods=whole_methods)
        elif key not in values or values[key] != value:  # unknown keys too: the check names them
            changes.append(
                f"{prefix}{key}: {in_one_line(values[key]) if key in values else '—'} → {in_one_line(value)}"
            )
            values[key] = _in_one_line(value, values.get(key)) if isinstance(value, list) else value


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1, "a": {"c": 2}}` → `{"a": {"b": 1, "c": 2}}`.

    Raises:
        ParamsError: a name is given twice, or as a value and as a section.
    """
    result: dict[str, Any] = {}
    for name, value in flat(dotted):
        *path, last = name.split(".")
        inside = result
        for part in path:
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise ParamsError(f"{name}: {part!r} has a value already", "Give each parameter once.")
        if last in inside:
            raise ParamsError(f"{name} is given twice", "Give each parameter once.")
        inside[last] = value
    return result


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The parameters in a mapping by their dotted names; a method with its name and knobs is one value."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and "name" not in value and value:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def _another_method(old: Any, new: Any) -> bool:
    """Whether a method with knobs gives way to another one: then its knobs go with it."""
    if not isinstance(old, dict) or "name" not in old:
        return False
    return isinstance(new, str) or (isinstance(new, Mapping) and new.get("name", old["name"]) != old["name"])


def _in_one_line(value: list[Any], old: Any) -> CommentedSeq:
    """A list as `[a, b]`, with the comment after the old one."""
    new = CommentedSeq(value)
    new.fa.set_flow_style()
    if isinstance(old, CommentedSeq):
        old.copy_attributes(new)
        new.fa.set_flow_style()
    return new
