"""The part of Python's own multiprocessing that `fork_from_here` replaces: pinned, so that another Python is noticed."""

import ast
import inspect
import multiprocessing.forkserver
import multiprocessing.util
import os
import textwrap

import pytest

from labelfactory.pool import process


def ensure_running() -> ast.AST:
    """The code of the running Python that starts its fork server."""
    code = inspect.getsource(multiprocessing.forkserver.ForkServer.ensure_running)
    return ast.parse(textwrap.dedent(code))


def test_the_fork_server_is_started_by_the_one_call_that_is_replaced():
    """`util.spawnv_passfds(exe, args, [listener, alive])`: one call, looked up in `util`, its result the pid."""
    calls = [node for node in ast.walk(ensure_running()) if isinstance(node, ast.Assign)]
    values = {ast.unparse(call.targets[0]): ast.unparse(call.value) for call in calls}
    assert values["pid"] == "util.spawnv_passfds(exe, args, fds_to_pass)"
    assert values["fds_to_pass"] == "[listener.fileno(), alive_r]"
    assert ast.unparse(ensure_running()).count("spawnv_passfds") == 1
    assert list(inspect.signature(multiprocessing.util.spawnv_passfds).parameters) == ["path", "args", "passfds"]


def test_the_server_takes_the_two_files_and_what_it_loads():
    """`main(listener, alive, [])`, as `_serve_forks` calls it."""
    parameters = list(inspect.signature(multiprocessing.forkserver.main).parameters.values())
    assert [parameter.name for parameter in parameters[:3]] == ["listener_fd", "alive_r", "preload"]
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters[3:])


@pytest.mark.parametrize("files", [(), (3,), (3, 4, 5)])
def test_other_files_are_refused_before_a_fork(monkeypatch, files):
    """A Python that passes a third file, as 3.14 does, has its own way of starting."""
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    with pytest.raises(ValueError, match="unpack"):
        process._fork_server("python", [], files)


def test_a_refusal_leaves_the_start_to_the_first_pool(monkeypatch):
    """The replaced function is back, whatever happens."""
    spawn = multiprocessing.util.spawnv_passfds

    def ensure_running() -> None:
        assert multiprocessing.util.spawnv_passfds is process._fork_server
        multiprocessing.util.spawnv_passfds("python", [], (3, 4, 5))

    monkeypatch.setattr(process.threading, "active_count", lambda: 1)
    monkeypatch.setattr(multiprocessing.resource_tracker, "ensure_running", lambda: None)
    monkeypatch.setattr(multiprocessing.forkserver, "ensure_running", ensure_running)
    process.fork_from_here()
    assert multiprocessing.util.spawnv_passfds is spawn
