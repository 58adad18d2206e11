"""Ctrl-C and SIGTERM in every long command: one message with what was typed, exit 130, no traceback, nothing left running."""

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
from factory import free_port
from interrupting import interrupted, said, start
from small_line import finished_line
from workspace import call, copy_workspace

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.timeout(900)]

STANDS_STILL = """
import importlib, sys, time
from pathlib import Path

def stands_still(*_, **__):
    Path("still").touch()
    while True:
        time.sleep(0.1)

module, _, path = {place!r}.partition(":")
*owners, name = path.split(".")
owner = importlib.import_module(module)
for word in owners:
    owner = getattr(owner, word)
setattr(owner, name, stands_still)
sys.argv = ["labelfactory", *{words!r}]
from app.main import main
main()
"""
COMMANDS = {
    "import demo --count 30": "sources.demo:_render_entry",
    "import demo --count 30 --val-fraction 0.5": "sources._inspect:inspect",
    "run prepare": "app.run:check_run",
    "status": "flows.line.stage_states:line_status",
    "sweep random_walk.beta=3,4": "flows.line.dvc_process:LineProcess.vary",
    "report": "app.report:print_table",
    "record": "app.record:record_on_disk",
    "export voc --out 'a folder'": "exports._write:_provenance",
    "predict data/raw/demo/images --out predicted": "exports._predictor:Predictor.predict",
    "package": "app.package:write_package",
    "audit verify": "lineage.verify:check_rows",
    "withdraw 2024_000001 --dry-run": "app.withdraw:touched_by",
    "doctor": "shutil:disk_usage",
    "push": "flows.line.storage:Store.put",
    "pull": "flows.line.storage:Store.get",
    "up --port PORT": "flows.server.services:_answers",
}
"""Long commands → where they stand still."""
KEPT = {"sweep random_walk.beta=3,4": "0 of 2 variants done", "predict data/raw/demo/images --out predicted": "0 of "}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished line with a remote for its data."""
    folder = copy_workspace(finished_line(), tmp_path_factory.mktemp("interrupts") / "line")
    call(folder, "dvc", "remote", "add", "-d", "store", str(folder.parent / "remote"))
    return folder


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        *((typed, signal.SIGINT) for typed in COMMANDS),
        *((typed, signal.SIGTERM) for typed in ("package", "push", "report")),
    ],
)
def test_a_command_says_how_to_go_on(folder, typed, number):
    """SIGINT to its process group, as a terminal sends it; SIGTERM to the command alone."""
    still = folder / "still"
    still.unlink(missing_ok=True)
    typed, place = typed.replace("PORT", str(free_port())), COMMANDS[typed]
    program = STANDS_STILL.format(place=place, words=shlex.split(typed))
    send = os.killpg if number == signal.SIGINT else os.kill
    code = interrupted(folder, ["python", "-c", program], still.exists, send, number)
    text = said(folder)
    assert code == 130, text
    assert "Traceback" not in text
    (message,) = [line for line in text.splitlines() if line.startswith("Interrupted")]
    assert message.endswith(f" Go on with: labelfactory {typed}")
    assert KEPT.get(typed, "") in message


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_still_loading_has_no_traceback(folder, number):
    """From its first import on, the signal waits until the program can say that it was interrupted."""
    process = start(folder, "labelfactory", "status")
    try:
        while not holds(process.pid, number):
            assert process.poll() is None, said(folder)
        process.send_signal(number)
        assert process.wait(60) == 130, said(folder)
        assert said(folder) == "Interrupted. Go on with: labelfactory status\n"
    finally:
        process.kill()
        process.wait()


def holds(pid: int, number: int) -> bool:
    """Whether a process lets this signal wait."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(mask, 16) >> (number - 1) & 1)
