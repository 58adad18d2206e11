"""params.yaml: one section per stage, each checked by its pydantic model before the first image.

Unknown keys, wrong types and values out of range are all listed at once, each with a suggestion.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from labelfactory.digests import digest_json
from labelfactory.errors import MissingError, ParamsError, did_you_mean
from labelfactory.settings.yaml_text import parse_yaml

PARAMS_FILE = "params.yaml"
SHOWN = 120
"""Characters of a wrong value that a message shows."""

Scales = Annotated[tuple[Annotated[float, Field(ge=0.1, le=4)], ...], Field(min_length=1)]
"""Scales of a photograph for a network; 2 is twice its width and height."""


class Section(BaseModel):
    """One stage's section of params.yaml. Frozen; refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    speed_only: ClassVar[frozenset[str]] = frozenset()
    """Names of fields that change the speed, never a value: keys leave them out."""
    moved: ClassVar[Mapping[str, str]] = {}
    """Keys of older files → the field whose method has them now."""

    def digest(self) -> str:
        """SHA-256 of all values that can change a result."""
        return digest_json(self._result_values())

    def methods(self) -> set[tuple[str, str]]:
        """Plug-in family and method, of each method that this section names, sections inside it included.

        A field of `registry.method_of` carries its family as a mark with a `package`.
        """
        named: set[tuple[str, str]] = set()
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            named |= {(m.package, getattr(value, "name", value)) for m in field.metadata if hasattr(m, "package")}
            named |= value.methods() if isinstance(value, Section) else set()
        return named

    def _result_values(self) -> dict[str, Any]:
        values = self.model_dump(mode="json", exclude=set(self.speed_only))
        inner = {name: getattr(self, name) for name in values}
        return values | {name: value._result_values() for name, value in inner.items() if isinstance(value, Section)}

    @model_validator(mode="before")
    @classmethod
    def _fold_moved_keys(cls, values: Any) -> Any:
        """Move keys of an older params.yaml to the method that has them now; those of other methods are dropped."""
        flat = [key for key in cls.moved if isinstance(values, Mapping) and key in values]
        if not flat:
            return values
        folded = {key: value for key, value in values.items() if key not in flat}
        for key in flat:
            field = cls.moved[key]
            choice = folded.get(field, cls.model_fields[field].default)
            choice = (
                {"name": choice} if isinstance(choice, str) else dict(choice) if isinstance(choice, Mapping) else {}
            )
            if isinstance(choice.get(key), Mapping) and isinstance(values[key], Mapping):
                choice[key] = {**choice[key], **values[key]}
                folded[field] = choice
                continue
            if key in choice:
                raise ValueError(f"{key} is given twice, alone and in {field}; keep {field}: {{name: …, {key}: …}}")
            if "name" in choice:
                families = [mark for mark in cls.model_fields[field].metadata if hasattr(mark, "has_knob")]
                known = any(family.has_knob(choice["name"], key) for family in families)
                folded[field] = choice | {key: values[key]} if known else choice
        return folded


class KnobsError(ValueError):
    """Knobs of a method are wrong: pydantic's report, and the method's model."""

    def __init__(self, error: ValidationError, model: type[Section]) -> None:
        super().__init__(str(error))
        self.error, self.model = error, model


S = TypeVar("S", bound=Section)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        MissingError: no such file.
        ParamsError: not readable, not YAML, too deep or too large, or not a mapping at the top.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file", "Run the command in the project's root folder.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(
            f"{path}: not readable: {getattr(error, 'strerror', None) or error}", f"Mend {path}."
        ) from None
    _refuse_conflict(text, path)
    loaded = parse_yaml(text, str(path), f"Mend {path}.")
    if not isinstance(loaded, dict):
        raise ParamsError(f"{path}: expected sections, found {type(loaded).__name__}", f"Mend {path}.")
    return loaded


def _refuse_conflict(text: str, path: Path) -> None:
    """Refuse a file that git could not merge. Raises ParamsError."""
    lines = text.splitlines()
    row = next((n for n, line in enumerate(lines, 1) if line.startswith("<<<<<<< ")), 0)
    if row and any(line.startswith(">>>>>>> ") for line in lines[row:]):
        raise ParamsError(
            f"{path}: line {row}: git could not merge it, and its marks `<<<<<<<` and `>>>>>>>` stand in it",
            f"Type `git checkout --ours {path}` for this branch's, or `--theirs` for the other's; then `labelfactory run`, which "
            "keeps every result whose settings and inputs are the same.",
        )


def in_one_line(value: Any) -> str:
    """A value as one line of YAML, such as `{name: chebyshev, steps: 256}`."""
    plain = json.loads(json.dumps(value, default=str))  # ruamel's lists, mappings and dates too
    return (
        str(yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=4096))
        .removesuffix("\n")
        .removesuffix("\n...")
    )


def check_sections(values: Mapping[str, Any], sections: Mapping[str, type[Section]], source: str) -> dict[str, Section]:
    """Check every section at once.

    Args:
        values: what the file holds, section name → mapping.
        sections: section name → its model.
        source: name of the file, for messages.

    Raises:
        ParamsError: lists every problem of every section.
    """
    problems: list[str] = []
    checked: dict[str, Section] = {}
    for name in values:
        if name not in sections:
            problems.append(f"{name}: unknown section{did_you_mean(str(name), sections)}")
    for name, model in sections.items():
        if name not in values:
            problems.append(f"{name}: section is missing{_to_write(name, model)}")
            continue
        try:
            checked[name] = model.model_validate(values[name])
        except ValidationError as error:
            problems += [f"{name}{line}" for line in _problem_lines(error, model)]
    if problems:
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        raise ParamsError(
            f"{source}: {count}\n" + "\n".join(f"  {p}" for p in problems), f"Mend {source} and run `dvc repro` again."
        )
    return checked


def _to_write(name: str, model: type[Section]) -> str:
    """What to write for a section that an older file lacks, where each of its fields has a default."""
    if any(field.is_required() for field in model.model_fields.values()):
        return ""
    inside = ", ".join(f"{key}: {in_one_line(field.default)}" for key, field in model.model_fields.items())
    return f"; write `{name}: {{{inside}}}`"


def _problem_lines(error: ValidationError, model: type[Section]) -> list[str]:
    """One text per problem, to follow the section's name: `.key: text`, or `: text` for the whole section."""
    lines = []
    locations = [item["loc"] for item in error.errors()]
    for item in error.errors():
        if item["type"] == "too_short" and any(location[:-1] == item["loc"] for location in locations):
            continue  # too short without the items that are wrong
        where = ".".join(str(part) for part in item["loc"])
        context = item.get("ctx", {})
        match item["type"]:
            case "extra_forbidden":
                text = f"unknown key{did_you_mean(str(item['loc'][-1]), _fields_at(model, item['loc'][:-1]))}"
            case "missing":
                text = "is missing"
            case "greater_than_equal":
                text = f"{item['input']} is below the minimum {context['ge']}"
            case "less_than_equal":
                text = f"{item['input']} is above the maximum {context['le']}"
            case "greater_than":
                text = f"{item['input']} must be greater than {context['gt']}"
            case "less_than":
                text = f"{item['input']} must be less than {context['lt']}"
            case "value_error" if isinstance(context.get("error"), KnobsError):
                knobs: KnobsError = context["error"]
                lines += [f".{where}{line}" for line in _problem_lines(knobs.error, knobs.model)]
                continue
            case "value_error":
                text = str(context.get("error", item["msg"]))
            case _:
                shown = repr(item["input"])
                shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
                text = f"{shown}: {item['msg'][0].lower()}{item['msg'][1:]}"
        lines.append(f".{where}: {text}" if where else f": {text}")
    return lines


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that the section, or a mapping inside it, may have."""
    for part in location:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return [name for name, field in model.model_fields.items() if not field.exclude]
