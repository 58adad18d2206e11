"""`labelfactory parameters`: every parameter and every knob of a method: meaning, range, value or default, effect.

docs/parameters.md is its output: `make docs` writes it, a test compares.
"""

import importlib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app._effects import effect
from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.registry import Family, MethodConfig
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import stage_class

HEAD = """\
# Parameters

`params.yaml` has one section a stage. Every section must be there, and every key but those with a default, which were added later
(`objective`, `block`, `weights_sha256` and the like). An unknown key is refused, and all problems are listed before the first
image. Change values by hand or with `labelfactory profile --set section.key=value`. A changed value makes its stage stale and, if
rows change, what follows. The file is plain YAML: no key twice, at most 64 levels, no tags such as `!!set`; a date is a text.

A key whose range is *method* chooses a method of a plug-in family: `method: pcm`, or with what differs from the method's own
defaults, `method: {name: pcm, rounds: 2}`; on the command line `--set extract_cams.method.rounds=2`. The knobs of each method are
listed under [Methods](#methods). Older files, with knobs beside the method (`random_walk.steps`), are still understood; a knob
that is given in both places is refused.

*Precision* is `32-true`, `bf16-mixed`, `16-mixed`, or `auto`: whichever of the first two is quicker for the network on this
machine. That is measured at its first use (2 seconds where the device multiplies bfloat16 itself), kept for this user, and listed
by `labelfactory doctor`; where it cannot be kept, it is `32-true`. Like the device, it is recorded (but for shards that a cluster
made), and makes nothing stale. *Scales* are factors on the photograph's size, 0.1 to 4.

*Effect* says what more of a value, or another one, does to masks or time; the best value follows from a sweep
(`labelfactory sweep random_walk.beta=4,8`). The column *params.yaml* holds the value that is there.

This page is the output of `labelfactory parameters`.
"""
TAIL = """\
## Environment
No result depends on these on the CPU, but for what `precision: auto` is: `LABELFACTORY_WORKERS` (processes, default one a core),
`LABELFACTORY_DEVICE` (`cpu`, `cuda`, `cuda:1`, default the GPU if there is one), `LABELFACTORY_PLAIN_STARTS` (`1`: each stage
loads its libraries itself), `LABELFACTORY_CACHE` (folder of downloaded weights, measured precisions and machine code, default
`~/.cache/labelfactory`; where other users can rename folders in it or above it, no code is kept there or taken from there).
`LABELFACTORY_DEVICES` (GPUs to train on, default all that a batch can be shared by evenly) changes weights by rounding:
[deployment.md](deployment.md#training-on-several-gpus).
"""


def parameters(
    section: Annotated[str | None, typer.Argument(help="A section of params.yaml; without one, all of them.")] = None,
) -> None:
    """Print every parameter and every knob of a method: meaning, range, value or default, and what it does (Markdown)."""
    if section is None:
        print(page(read_yaml(Path(PARAMS_FILE))), end="")
        return
    if section not in read_wiring():
        raise ParamsError(f"{section!r} is not a section{did_you_mean(section, read_wiring())}", "Type its name.")
    model = stage_class(section).section
    values = _values(read_yaml(Path(PARAMS_FILE)))
    print("\n".join([*_section(section, model, values), "", *(line for f in _families(model) for line in _family(f))]))


def page(params: Mapping[str, Any]) -> str:
    """docs/parameters.md. `params`: the content of params.yaml."""
    values = _values(params)
    models = {name: stage_class(name).section for name in read_wiring()}
    families = sorted({family.package for model in models.values() for family in _families(model)})
    parts = [HEAD, *("\n".join(_section(name, model, values)) + "\n" for name, model in models.items())]
    parts += ["## Methods\n", *("\n".join(_family(Family(package))) for package in families), TAIL]
    return "\n".join(parts)


def _families(model: type[BaseModel]) -> list[Family]:
    """Families from which a section chooses methods."""
    return [mark for field in model.model_fields.values() for mark in field.metadata if isinstance(mark, Family)]


def _section(name: str, model: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    rows = []
    for key, field in _fields(model):
        cells = [f"`{key}`", field.description or "", _range(field), _value(values, f"{name}.{key}", field)]
        rows.append(_row([*cells, effect(name, key)]))
    if not rows:
        return [f"## `{name}`", f"No keys: `{name}: {{}}`."]
    return [f"## `{name}`", "| key | meaning | range | params.yaml | effect |", "|---|---|---|---|---|", *rows]


def _family(family: Family) -> list[str]:
    lines = [f"### `{family.package.replace('.', '/')}`"]
    lines += ["| method | knob | meaning | range | default | effect |", "|---|---|---|---|---|---|"]
    for method in family.names():
        model = family.config(method)
        place = f"{family.package.removeprefix('models.')}/{method}"
        text = importlib.import_module(f"{family.package}.{method}").__doc__ or ""
        about = " ".join(text.strip().partition("\n\n")[0].split())
        lines.append(f"| `{method}` | | {about} | | | |")
        for key, field in _fields(model):
            cells = ["", f"`{key}`", field.description or "", _range(field), _default(model, key)]
            lines.append(_row([*cells, effect(place, key)]))
    return [*lines, ""]


def _row(cells: Sequence[str]) -> str:
    """A row in Markdown; an empty cell is one blank."""
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def _values(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted name of every value of params.yaml, of mappings too."""
    values: dict[str, Any] = {}
    for name, value in params.items():
        values[f"{prefix}{name}"] = value
        if isinstance(value, Mapping):
            values |= _values(value, f"{prefix}{name}.")
    return values


def _value(values: Mapping[str, Any], dotted: str, field: FieldInfo) -> str:
    """The value of a key in params.yaml; the default of one that is not there."""
    value = values.get(dotted, field.default)
    if isinstance(value, Mapping):  # a method with knobs of its own
        value = ", ".join([str(value.get("name", "")), *(f"{k}: {_plain(v)}" for k, v in value.items() if k != "name")])
    return "" if value is PydanticUndefined or value is None else f"`{_plain(value)}`"


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted name of every field, those of mappings inside too; a method's name and family are not its knobs."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = isinstance(kind, type) and issubclass(kind, BaseModel)
        if issubclass(model, MethodConfig) and name in MethodConfig.model_fields:
            continue
        if inner and not issubclass(typing.cast(type, kind), MethodConfig):
            yield from _fields(typing.cast(type[BaseModel], kind), f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _default(model: type[BaseModel], dotted: str) -> str:
    value: Any = model
    for part in dotted.split("."):
        value = value.model_fields[part].default if isinstance(value, type) else getattr(value, part)
    return "" if value is PydanticUndefined else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(_plain(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _range(field: FieldInfo) -> str:
    """What a field takes, in words."""
    for mark in field.metadata:
        if isinstance(mark, Family):
            return f"method: {', '.join(f'`{name}`' for name in mark.names())}"
    return _words(field.annotation, field.metadata)


def _words(kind: Any, marks: list[Any]) -> str:
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        return _words(inner, [*marks, *(each for mark in more for each in getattr(mark, "metadata", [mark]))])
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" if isinstance(value, str) else str(value) for value in get_args(kind))
    if get_origin(kind) in (typing.Union, UnionType):
        return ", or ".join(_words(inner, marks) for inner in get_args(kind))
    if get_origin(kind) in (tuple, list):
        items = [item for item in get_args(kind) if item is not ...]
        count = "" if ... in get_args(kind) or get_origin(kind) is list else f"{len(items)} × "
        return f"list: {count}{_words(items[0], [])}"
    if kind is bool:
        return "true, false"
    if kind in (int, float):
        return _bounds(marks)
    return "text"


def _bounds(marks: list[Any]) -> str:
    """The ends of a number's range, and what it is a multiple of."""
    limits = {name: value for mark in marks for name in BOUNDS if (value := getattr(mark, name, None)) is not None}
    if not limits and any(type(mark).__name__ == "AfterValidator" for mark in marks):
        return "0 to 1"
    ends = {name: f"{value:,}" if isinstance(value, int) else f"{value:g}" for name, value in limits.items()}
    low = ends.get("ge") or (f"over {ends['gt']}" if "gt" in ends else "")
    high = ends.get("le") or (f"under {ends['lt']}" if "lt" in ends else "")
    words = f"{low} to {high}" if low and high else f"{low} or more" if "ge" in limits else low or high or "a number"
    return words + (f", a multiple of {limits['multiple_of']}" if "multiple_of" in limits else "")


BOUNDS = ("ge", "gt", "le", "lt", "multiple_of")
