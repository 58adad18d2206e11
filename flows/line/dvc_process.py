"""The process that calls DVC for a flow: stages are its children, and it ends with the flow, however that ends.

A flow sends it one stage at a time and reads the stage's output line by line. It leads a process group with its stages, which
an interrupted flow ends. When the flow is killed, this process sees its input close and ends the group itself, so that no
stage writes while another worker takes over the run.

Protocol: requests are JSON, one per line, on standard input. Output of stages is passed on unchanged; a reply is a line that
begins with `REPLY`.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

import psutil

from labelfactory.interrupt import end_children
from labelfactory.masking import masked

REPLY = "\x1e"
"""Marks a reply: a character that no stage prints."""
LAST_LINES = 15
"""Lines of a stage that are kept for its error message."""
PATIENCE_SECONDS = 10.0
"""How long an interrupted stage may take to end."""

Hear = Callable[[str], None]


class LineProcessError(RuntimeError):
    """The process itself ended: it was killed, or out of memory. A retry may succeed."""


class StageError(RuntimeError):
    """A stage failed.

    Args:
        output: its last lines.
        users: whether its user can mend it (exit code 2).
    """

    def __init__(self, output: str, *, users: bool) -> None:
        super().__init__(output)
        self.users = users


class LineProcess:
    """The flow's side. Starts the process at the first request, and again after it was killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "LineProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def order(self, targets: Sequence[str], *, retrain: bool) -> list[str]:
        """`Line.order`."""
        order: list[str] = self._ask({"order": list(targets), "retrain": retrain}, lambda line: None)
        return order

    def bring_up_to_date(self, stage: str, *, force: bool, hear: Hear) -> bool:
        """`Line.bring_up_to_date`; `hear` gets each line that the stage prints.

        Raises:
            StageError: the stage failed, or DVC refuses.
            LineProcessError: it was killed with all that it ran.
        """
        return bool(self._ask({"stage": stage, "force": force}, hear))

    def stale(self, stages: Sequence[str]) -> list[str]:
        """`Line.stale`."""
        stale: list[str] = self._ask({"stale": list(stages)}, lambda line: None)
        return stale

    def vary(
        self,
        name: str,
        params: Mapping[str, Any],
        inputs: Mapping[str, str],
        stages: Sequence[str] = (),
        *,
        hear: Hear,
    ) -> dict[str, float]:
        """`Line.vary`; `hear` gets each line that its stages print.

        Raises:
            StageError, LineProcessError: as `bring_up_to_date`.
        """
        wanted = {"vary": name, "params": params, "inputs": inputs, "stages": list(stages)}
        metrics: dict[str, float] = self._ask(wanted, hear)
        return metrics

    def close(self) -> None:
        """End the process and its running stage."""
        process, self._process = self._process, None
        if process is None:
            return
        for end in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, end)
                process.wait(PATIENCE_SECONDS)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.wait()

    def _ask(self, request: dict[str, Any], hear: Hear) -> Any:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = _start()
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process has no pipes")
        last: deque[str] = deque(maxlen=LAST_LINES)
        try:
            print(json.dumps(request), file=stdin, flush=True)
            for line in stdout:
                line = line.rstrip("\n")
                if line.startswith(REPLY):
                    return _result(json.loads(line.removeprefix(REPLY)), last)
                line = masked(line)
                last.append(line)
                hear(line)
        except BrokenPipeError:
            pass
        code = self._process.wait()
        raise LineProcessError("\n".join([*last, f"the process that runs the stages ended with code {code}"]))


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.line.dvc_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _result(reply: dict[str, Any], last: Sequence[str]) -> Any:
    """The reply's value. Raises its error, with a stage's last lines from its own `error:` on."""
    if "error" not in reply:
        return reply["value"]
    marks = [number for number, line in enumerate(last) if line.startswith("error: ")]
    lines = list(last)[marks[-1] :] if marks else list(last)
    raise StageError("\n".join([masked(reply["error"]), *lines]), users=reply["users"])


def main() -> None:
    """Answer requests until the flow closes standard input. SIGTERM ends it once its stage, which gets it too, has ended."""
    signal.signal(signal.SIGTERM, _end_after_stage)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    incoming = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # stages must not read the requests
    threading.Thread(target=_listen, args=(incoming, requests), daemon=True).start()

    from flows.line.dvc_line import open_line  # after the listener has started: importing DVC takes a second

    with open_line() as line:
        while True:
            request = json.loads(requests.get())
            print(REPLY + json.dumps(_answer(line, request)), flush=True)


def _listen(incoming: Any, requests: "queue.SimpleQueue[str]") -> None:
    """Pass requests on; end the process group when the flow has ended."""
    for text in incoming:
        requests.put(text)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _end_after_stage(number: int, frame: FrameType | None) -> None:
    end_children(psutil.Process().children())
    os._exit(128 + number)


def _answer(line: Any, request: dict[str, Any]) -> dict[str, Any]:
    from flows.line.failure import StageFailedError
    from labelfactory.errors import UserError

    try:
        if "order" in request:
            return {"value": line.order(request["order"], retrain=request["retrain"])}
        if "stale" in request:
            return {"value": line.stale(request["stale"])}
        if "vary" in request:
            return {"value": line.vary(request["vary"], request["params"], request["inputs"], request["stages"])}
        return {"value": line.bring_up_to_date(request["stage"], force=request["force"])}
    except UserError as error:
        return {"error": str(error), "users": True}
    except StageFailedError as error:
        return {"error": str(error), "users": error.exit_code == UserError.exit_code}


if __name__ == "__main__":
    main()
