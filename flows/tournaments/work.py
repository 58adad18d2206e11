"""Run nodes: each as `python -m stages.<name>` in its folder, from a process that has loaded the libraries where it can be."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flows.line.dvc_process import LAST_LINES
from flows.line.warm_start import PLAIN_VARIABLE, CannotError, Parent
from flows.tournaments.nodes import NODES, Node
from labelfactory.errors import UserError
from labelfactory.files import make_folder
from labelfactory.interrupt import COMMAND_VARIABLE
from labelfactory.lock import file_lock
from labelfactory.masking import masked
from labelfactory.pool.process import FORKS_SAFELY

Hear = Callable[[str], None]
SHELL = ("bash", "-c")
"""Starts the process with the libraries."""


class NodeError(Exception):
    """A node failed; the text is what it printed last."""


class Workshop:
    """Runs nodes, one after the other.

    Args:
        plain: start each stage by itself, as a process with threads has to.
    """

    def __init__(self, *, plain: bool = False) -> None:
        self._parent: Parent | None = None
        self._plain = plain or not FORKS_SAFELY or bool(os.environ.get(PLAIN_VARIABLE))

    def run(self, node: Node, hear: Hear) -> bool:
        """Run a node, whose nodes above are done, unless it is done itself; whether it had to.

        Raises:
            NodeError: the stage failed.
            UserError: its code, or what people give it, is another than when the tournament was planned.
            KeyboardInterrupt: it was told to end.
        """
        if node.is_done:
            return False
        make_folder(NODES)
        with file_lock(NODES / f"{node.folder.name}.lock"):  # another worker of the cluster may be at it
            if node.is_done:
                return False
            self._run(node, hear)
            return True

    def run_chain(self, last: Node, hear: Hear) -> None:
        """Run a node and all that it needs; raises as `run`."""
        for node in last.chain:
            self.run(node, hear)

    def _run(self, node: Node, hear: Hear) -> None:
        resumed, before = node.folder.exists(), node.check_plan()
        node.prepare()
        last: deque[str] = deque(maxlen=LAST_LINES)
        ended: list[int] = []
        for line in self._lines(node, ended):
            last.append(line)
            hear(line)
        code = ended[0]
        if code == 130:
            raise KeyboardInterrupt
        if code:
            marks = [k for k, line in enumerate(last) if line.startswith("error: ")]
            lines = list(last)[marks[-1] :] if marks else [*last, f"{node.stage} ended with code {code}"]
            raise NodeError("\n".join(lines))
        node.check_used(before, node.check_plan())
        node.finish(resumed)

    def _lines(self, node: Node, ended: list[int]) -> Iterator[str]:
        """What a stage prints; then its exit code stands in `ended`."""
        reader, writer = os.pipe()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", COMMAND_VARIABLE: os.environ.get(COMMAND_VARIABLE, "")}
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor
            stage = self._start(node, environment, (nothing.fileno(), writer, writer))
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                yield masked(line.rstrip("\n"))
        stage.communicate()
        ended.append(int(stage.returncode))

    def _start(self, node: Node, environment: dict[str, str], streams: tuple[int, int, int]) -> Any:
        module, folder = f"stages.{node.stage}", os.fspath(node.folder.absolute())
        if not self._plain:
            with suppress(CannotError, OSError, ValueError):
                if self._parent is None:
                    kind = (SHELL, os.fspath(Path.cwd()), dict(environment))
                    self._parent = Parent(kind, environment)
                return self._parent.fork(module, environment, folder=folder, streams=streams)
            self.close()
        given, output, errors = streams
        words = [sys.executable, "-m", module]
        return subprocess.Popen(words, cwd=folder, env=environment, stdin=given, stdout=output, stderr=errors)

    def close(self) -> None:
        """End the process with the libraries."""
        parent, self._parent = self._parent, None
        if parent is not None:
            parent.close()


@contextmanager
def workshop() -> Iterator[Workshop]:
    """One, closed at the end."""
    opened = Workshop()
    try:
        yield opened
    finally:
        opened.close()


def first_line_of(error: NodeError | UserError) -> str:
    """What a table says of a failure."""
    return str(error).removeprefix("error: ").split("\n")[0]
