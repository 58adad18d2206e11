"""One writer at a time: which commands hold the project, and that what they read before they write is read while they do."""

import typer
from commands import COMMANDS, EVERYTHING

from app._turns import OTHER_LOCKS, READERS, in_turn
from labelfactory.lock import holds_project


def below(command, name):
    for word in name.split():
        command = command.commands[word]
    return command


def held(name, **options):
    """Whether the command's code finds the project held."""
    tree = typer.main.get_command(EVERYTHING)
    seen = []
    below(tree, name).callback = lambda **_: seen.append(holds_project())
    below(in_turn(tree), name).callback(**options)
    return seen[0]


def test_every_command_holds_the_project_but_those_that_are_named(tmp_path, monkeypatch):
    """Also one that is written tomorrow. What is named is a command."""
    monkeypatch.chdir(tmp_path)
    assert {*READERS, *OTHER_LOCKS} <= set(COMMANDS)
    assert not READERS & set(OTHER_LOCKS)
    free = {name for name in COMMANDS if not held(name)}
    assert free == READERS | set(OTHER_LOCKS)
    assert not holds_project()


def test_a_dry_run_does_not_wait(tmp_path, monkeypatch):
    """It writes nothing, and may take as long as the import itself."""
    monkeypatch.chdir(tmp_path)
    assert not held("import table", dry_run=True)
    assert held("import table", dry_run=False)
    assert not (tmp_path / "data").exists()
