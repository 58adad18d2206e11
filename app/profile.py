"""`labelfactory profile`: apply a profile to params.yaml, the one file that `dvc repro` reads."""

import io
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError

from labelfactory.console import printable, say
from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.files import write_whole
from labelfactory.settings.params import PARAMS_FILE, SHOWN, check_sections, in_one_line, read_yaml
from labelfactory.settings.wiring import read_wiring
from labelfactory.settings.yaml_text import DEEPEST, parse_yaml
from labelfactory.stage.runner import stage_class

PROFILES = Path("profiles")
EXAMPLE = "Type it like this: --set random_walk.beta=10"


def profile(
    name: Annotated[str | None, typer.Argument(help="A profile; without one, all are listed.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, applied after the profile; may be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every stage that has one.", min=0)] = None,
) -> None:
    """Apply a profile from profiles/ to params.yaml; comments and other values stay."""
    if name is None and not settings and seed is None:
        _list()
        return
    path = Path(PARAMS_FILE)
    read_yaml(path)  # raises its problems
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    try:
        values = editor.load(path.read_text(encoding="utf-8"))
    except (YAMLError, ValueError) as error:  # YAML 1.2, which differs from the 1.1 of `read_yaml` in details
        raise ParamsError(
            f"{path}: not readable as YAML 1.2: {' '.join(str(error).split())}", f"Mend {path}."
        ) from None
    changes: list[str] = []
    if name is not None:
        _overlay(values, _read(name), changes)
    for setting in settings or ():
        _overlay(values, _parse(setting), changes)
    if seed is not None:
        _overlay(
            values,
            {key: {"seed": seed} for key, section in values.items() if isinstance(section, dict) and "seed" in section},
            changes,
        )
    if not changes:
        say("profile: params.yaml has these values already")
        return
    _check(parse_yaml(_text(editor, values), f"{path} as it would be", EXAMPLE))
    with write_whole(path) as temporary:
        temporary.write_text(_text(editor, values), encoding="utf-8")
    say("\n".join(["profile: params.yaml changed", *(f"  {change}" for change in changes)]))


def _check(values: dict[str, Any]) -> None:
    """Refuse invalid values before they are written."""
    sections = {stage: stage_class(stage).section for stage in read_wiring()}
    try:
        check_sections(values, sections, f"{PARAMS_FILE} as it would be")
    except ParamsError as error:
        raise ParamsError(error.problem, f"{PARAMS_FILE} is unchanged; correct the profile or the --set.") from None


def _text(editor: YAML, values: Any) -> str:
    stream = io.StringIO()
    editor.dump(values, stream)
    return stream.getvalue()


def _list() -> None:
    console = Console()
    for path in sorted(PROFILES.glob("*.yaml")):
        first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].lstrip("# ")
        console.print(f"[bold]{escape(path.stem)}[/]  {escape(printable(first))}")


def _read(name: str) -> dict[str, Any]:
    path = PROFILES / f"{name}.yaml"
    known = [p.stem for p in PROFILES.glob("*.yaml")]
    if name not in known:
        raise ParamsError(
            f"{name!r} is not a profile{did_you_mean(name, known)}", "Type `labelfactory profile` to list them."
        )
    return read_yaml(path)


def _parse(setting: str) -> dict[str, Any]:
    path, equals, value = setting.partition("=")
    if not equals or not 0 < path.count(".") < DEEPEST:
        raise ParamsError(f"--set {setting[:SHOWN]!r} is not of the form section.key=value", EXAMPLE)
    nested = parse_yaml(value, f"--set {setting[:SHOWN]!r}", EXAMPLE)
    for key in reversed(path.split(".")):
        nested = {key: nested}
    return dict(nested)


def _overlay(values: Any, over: dict[str, Any], changes: list[str], prefix: str = "") -> None:
    """Set the values of `over` recursively, and note each change as `section.key: old → new`."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(values.get(key), str) and "name" not in value:
            value = {"name": values[key], **value}  # knobs of the method that is chosen
        if _another_method(values.get(key), value):
            changes.append(
                f"{prefix}{key}: {values[key]['name']} → {value if isinstance(value, str) else value['name']}"
            )
            values[key] = value
        elif isinstance(value, dict) and isinstance(values.get(key), dict):
            _overlay(values[key], value, changes, f"{prefix}{key}.")
        elif key not in values or values[key] != value:  # unknown keys too: the check names them
            changes.append(
                f"{prefix}{key}: {in_one_line(values[key]) if key in values else '—'} → {in_one_line(value)}"
            )
            values[key] = _in_one_line(value, values.get(key)) if isinstance(value, list) else value


def _another_method(old: Any, new: Any) -> bool:
    """Whether a method with knobs gives way to another one: then its knobs go with it."""
    if not isinstance(old, dict) or "name" not in old:
        return False
    return isinstance(new, str) or (isinstance(new, dict) and new.get("name", old["name"]) != old["name"])


def _in_one_line(value: list[Any], old: Any) -> CommentedSeq:
    """A list as `[a, b]`, with the comment after the old one."""
    new = CommentedSeq(value)
    new.fa.set_flow_style()
    if isinstance(old, CommentedSeq):
        old.copy_attributes(new)
        new.fa.set_flow_style()
    return new
