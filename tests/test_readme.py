"""Every command that the README shows: it is there, it parses, and the cheap ones run."""

import re
import shlex
import subprocess

import pytest
import typer
from test_cli import COMMANDS, EVERYTHING
from workspace import ROOT, call, copy_workspace

README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown_commands() -> list[str]:
    """Every `labelfactory …` and `make …` that the README shows, in a block or in a line."""
    blocks = re.findall(r"```(?:bash|console)?\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`((?:labelfactory|make) [^`]*)`", README)
    return sorted({line for line in lines if line.startswith(("labelfactory ", "make "))})


def plain(command: str) -> list[str]:
    """Its words, with what the README puts into [brackets]."""
    return shlex.split(re.sub(r"[\[\]]", "", command))


def test_the_readme_shows_every_command():
    """Nothing is left for the reader to guess."""
    shown = " \n".join(shown_commands()) + " "
    for name in COMMANDS:
        assert f"labelfactory {name} " in shown or f"labelfactory {name}\n" in shown, name
    assert {"make demo", "make test", "make check"} <= set(shown_commands())


@pytest.mark.parametrize("command", [c for c in shown_commands() if c.startswith("make ")])
def test_make_targets_of_the_readme_exist(command):
    """make itself plans the target without running it."""
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in shown_commands() if c.startswith("labelfactory ")])
def test_commands_of_the_readme_parse(command):
    """Each is taken by the parser, with everything that stands in [brackets]."""
    words = plain(command)[1:]
    group = typer.main.get_command(EVERYTHING)
    while hasattr(group, "commands"):
        if not words:
            return
        assert words[0] in group.commands, command
        group = group.commands[words.pop(0)]
    if "--help" not in words:
        group.make_context(command, words).close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [c for c in shown_commands() if re.fullmatch(r"labelfactory (profile|status|doctor|.*--help)\b.*", c)]
)
def test_cheap_commands_of_the_readme_run(template, tmp_path, command):
    """As a person types them, in a folder where nothing has run."""
    folder = copy_workspace(template, tmp_path / "project")
    output = call(folder, *plain(command), code=2 if command == "labelfactory doctor" else 0)
    assert "Traceback" not in output
