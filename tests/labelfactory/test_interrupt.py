"""How a program ends that is told to: its message, its exit code, in time, and with all that it started."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from labelfactory.interrupt import DVC_VARIABLE, PATIENCE_SECONDS, SIGNALS, is_alive

HEAD = """
import os, signal, subprocess, sys, time
from labelfactory import interrupt
from labelfactory.interrupt import Interrupted, interruptible

def ready():
    print("ready", flush=True)
"""
MESSAGE = "Interrupted. Go on with: labelfactory run 'a b'\n"
BEGIN = HEAD + "\nwith interruptible(\"labelfactory run 'a b'\"):\n"
WAITS = BEGIN + "    ready()\n    time.sleep(60)\n"


def start(program: str, **options: object) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if name != DVC_VARIABLE}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        process_group=0,
        **options,  # type: ignore[call-overload]
    )


def end(process: "subprocess.Popen[str]", *numbers: int) -> tuple[int, str, str]:
    """Send signals once the program is ready. Returns exit code, the rest of its output, and its errors."""
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in numbers:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err
    finally:
        process.kill()
        process.communicate()


def has_ended(pid: int) -> bool:
    """Also where init has not asked yet how it ended."""
    try:
        return not is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("number", SIGNALS)
def test_one_message_and_130(number):
    """Of every signal, without a traceback."""
    assert end(start(WAITS), number) == (130, "", MESSAGE)


def test_what_is_kept_is_said():
    """The error that passes through the program counts it; a library may have turned it into another."""
    program = BEGIN + (
        "    try:\n        ready()\n        time.sleep(60)\n    except KeyboardInterrupt as error:\n"
        "        try:\n            raise Interrupted('93 of 149 done') from error\n"
        "        except BaseException as second:\n            raise RuntimeError('of a library') from second\n"
    )
    said = "Interrupted; 93 of 149 done are kept. Go on with: labelfactory run 'a b'\n"
    assert end(start(program), signal.SIGINT) == (130, "", said)


def test_what_a_stage_has_told_is_not_told_twice():
    """Nor what it is told to type, where nobody typed anything."""
    program = (
        BEGIN
        + "    try:\n        ready()\n        time.sleep(60)\n    finally:\n        raise Interrupted(told=True)\n"
    )
    assert end(start(program), signal.SIGINT) == (130, "", "")
    assert end(start(WAITS.replace("labelfactory run 'a b'", "")), signal.SIGINT) == (130, "", "Interrupted.\n")


def test_further_signals_do_not_disturb_what_is_being_written():
    """The first one stops the work, the second one not the writing."""
    program = BEGIN + (
        "    try:\n        ready()\n        time.sleep(60)\n    finally:\n"
        "        time.sleep(1)\n        print('written', flush=True)\n"
    )
    process = start(program)
    assert end(process, signal.SIGINT, signal.SIGTERM, signal.SIGINT) == (130, "written\n", MESSAGE)


def test_a_signal_that_did_not_wake_the_main_thread():
    """The system gave it to another thread, or it came in the moment before the call that waits."""
    program = BEGIN + (
        "    from threading import Thread, get_ident\n"
        "    def elsewhere():\n        time.sleep(1)\n        signal.pthread_kill(get_ident(), signal.SIGINT)\n\n"
        "    try:\n        ready()\n        Thread(target=elsewhere).start()\n        time.sleep(60)\n"
        "    finally:\n        print('written', flush=True)\n"
    )
    assert end(start(program)) == (130, "written\n", MESSAGE)


def test_a_handler_of_a_library_hears_a_signal_once():
    """For a server, a second Ctrl-C means: drop what is being answered."""
    program = BEGIN + (
        "    heard = []\n    signal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
        "    ready()\n    time.sleep(2)\n    print(len(heard), flush=True)\n"
    )
    assert end(start(program), signal.SIGINT)[:2] == (0, "1\n")


@pytest.mark.parametrize(
    "hangs",
    [
        "__import__('hashlib').pbkdf2_hmac('sha512', b'a', b'b', 10**9)",
        "[suppressed() for _ in range(60)]",
    ],
)
def test_a_program_that_does_not_end_is_ended(hangs):
    """Whether its main thread is in a library or swallows the interruption; those below it go too."""
    program = (
        HEAD
        + "interrupt.PATIENCE_SECONDS = 1\n"
        + "def suppressed():\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass\n"
        + BEGIN.removeprefix(HEAD)
        + "    child = subprocess.Popen(['sleep', '600'])\n    print(child.pid, file=sys.stderr, flush=True)\n    ready()\n    "
        + hangs
    )
    code, _, err = end(start(program), signal.SIGINT)
    child, message = err.split("\n", 1)
    assert (code, message) == (130, MESSAGE)
    assert has_ended(int(child))
    assert PATIENCE_SECONDS < 10


def test_a_child_that_ignores_its_end_is_killed():
    """After CHILD_SECONDS, and before the program ends."""
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    program = (
        HEAD
        + "interrupt.CHILD_SECONDS = 0.5\n"
        + BEGIN.removeprefix(HEAD)
        + f"    child = subprocess.Popen([sys.executable, '-c', {stubborn!r}], stdout=subprocess.PIPE)\n"
        + "    child.stdout.readline()\n    print(child.pid, file=sys.stderr, flush=True)\n    ready()\n    time.sleep(60)"
    )
    code, _, err = end(start(program), signal.SIGTERM)
    child, message = err.split("\n", 1)
    assert (code, message) == (130, MESSAGE)
    assert has_ended(int(child))


def test_what_is_ignored_stays_ignored():
    """SIGINT of a background process of a shell; SIGTERM ends it."""
    program = HEAD + "signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + WAITS.removeprefix(HEAD)
    process = start(program)
    assert end(process, signal.SIGINT, signal.SIGTERM) == (130, "", MESSAGE)
    still = start(program.replace("time.sleep(60)", "time.sleep(1)"))
    assert end(still, signal.SIGINT) == (0, "", "")


def test_a_signal_waits_for_a_program_that_is_loading():
    """What `hold_signals` starts has no traceback of an import, and ends once it can say so."""
    loading = f"print('ready', flush=True)\nimport time\ntime.sleep(1){WAITS}".replace("    ready()\n", "")
    program = HEAD + (
        "import threading\ndef begin():\n    interrupt.hold_signals()\n"
        f"    sys.exit(subprocess.run([sys.executable, '-c', {loading!r}]).returncode)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "try:\n    ThreadPoolExecutor(1).submit(begin).result()\nexcept SystemExit as left:\n    os._exit(left.code)\n"
    )
    process = start(
        program.replace("signal.signal(signal.SIGINT, signal.SIG_IGN)\n", "signal.signal(2, lambda *_: 0)\n")
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", MESSAGE)


@pytest.mark.parametrize("leaves", ["sys.exit(2)", "sys.exit(0)", "raise SystemExit('words')"])
def test_other_ends_are_left_alone(leaves):
    """Without a signal nothing changes."""
    with_it = start(BEGIN + f"    ready()\n    {leaves}")
    without = start(HEAD + f"ready()\n{leaves}")
    assert end(with_it) == end(without)


def test_a_fork_has_signals_of_its_own():
    """A signal to it alone ends neither its parent nor tells it anything."""
    program = (
        HEAD
        + "interrupt.PATIENCE_SECONDS = 0.2\n"
        + BEGIN.removeprefix(HEAD)
        + "    reader, writer = os.pipe()\n    child = os.fork()\n"
        + "    if child == 0:\n        os.write(writer, b'here')\n        time.sleep(60)\n"
        + "    os.read(reader, 4)\n    os.kill(child, signal.SIGTERM)\n    status = os.waitpid(child, 0)[1]\n"
        + "    print(os.waitstatus_to_exitcode(status), file=sys.stderr)\n"
        + "    ready()\n    time.sleep(1)\n"
    )
    assert end(start(program)) == (0, "", f"{-signal.SIGTERM}\n")


@pytest.mark.parametrize("shell", ["", "sh -c '\"$@\"; true' sh"], ids=["at once", "through a shell that stays"])
def test_a_stage_ends_with_the_dvc_that_started_it(tmp_path, shell):
    """Its parent is killed; it is interrupted as by a signal."""
    note = tmp_path / "note"
    stage = HEAD + (
        "with interruptible(interrupt.typed_for_stage()):\n    interrupt.end_with_dvc()\n"
        "    try:\n        ready()\n        time.sleep(60)\n    finally:\n"
        f"        open({str(note)!r}, 'w').write(str(interrupt.interrupted()))\n"
    )
    parent = start(
        HEAD
        + f"os.environ['DVC_STAGE'] = 'a'\nsubprocess.run([*{shlex.split(shell)!r}, sys.executable, '-c', {stage!r}])\n"
    )
    end(parent, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while not note.exists() or not note.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert note.read_text() == "True"


def test_a_stage_names_what_was_typed(tmp_path):
    """The command that runs it, DVC's where DVC was typed, and its own."""
    stage = HEAD + "print(interrupt.typed_for_stage())"
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    for name in (DVC_VARIABLE, "LABELFACTORY_COMMAND"):
        environment.pop(name, None)

    def said(program: list[str], **more: str) -> str:
        return subprocess.run(
            program, env={**environment, **more}, capture_output=True, text=True, check=True
        ).stdout.strip()

    own = [sys.executable, "-c", stage]
    assert said(own).startswith("python")
    assert said(own, LABELFACTORY_COMMAND="labelfactory run x") == "labelfactory run x"
    assert said(own, LABELFACTORY_COMMAND="") == ""
    assert said(own, DVC_STAGE="x") == ""
    dvc = tmp_path / "dvc"
    dvc.write_text(f"import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', {stage!r}])\n")
    assert said([sys.executable, str(dvc), "repro", "a b"], DVC_STAGE="x") == "dvc repro 'a b'"
