"""`labelfactory profile`: apply a profile to params.yaml, the one file that `dvc repro` reads."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from app._params_file import change_params
from labelfactory.console import printable, say
from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.settings.params import PARAMS_FILE, SHOWN, read_yaml
from labelfactory.settings.yaml_text import DEEPEST, parse_yaml

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
    overlays = [_read(name)] if name is not None else []
    overlays += [_parse(setting) for setting in settings or ()]
    if seed is not None:
        sections = read_yaml(Path(PARAMS_FILE))
        overlays.append({k: {"seed": seed} for k, own in sections.items() if isinstance(own, dict) and "seed" in own})
    changes = change_params(overlays, "correct the profile or the --set")
    if not changes:
        say("profile: params.yaml has these values already")
        return
    say("\n".join(["profile: params.yaml changed", *(f"  {change}" for change in changes)]))


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
