"""What starts cost: the stages of a run, and commands that only look. Both tables, each in turns with what it is compared with.

    python -m benchmarks.start [--rounds 5] [--before COMMIT] [--only stages|commands|line] [--project FOLDER]

stages    every stage of the line, started as DVC starts it and ended once it has read params.yaml: by a shell, and as a fork of
          the process with the libraries, whose own start is counted
line      `labelfactory run --force` of the small line of the tests, with the same two starts
commands  in a finished project of 24 drawn pictures: with the code of an earlier commit, asked anew, and with a kept answer

Seconds are medians: by the clock, and in brackets of the processors, which is the safer figure on a machine with other work.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

# a project as tests have them
from small_line import small  # noqa: E402
from workspace import CONSOLE_SCRIPTS, make_workspace  # noqa: E402

from flows.line.warm_start import PLAIN_VARIABLE, Starts  # noqa: E402
from labelfactory.settings.wiring import read_wiring  # noqa: E402

IMAGES = 24
BASH = ("/bin/bash", "--noprofile", "--norc", "-c")
COMMANDS = ("--help", "status", "report", "audit model latest", "audit mask demo-0-00000", "audit diff 1 now")
STARTED = "            sections = read_sections()\n"
"""Where `labelfactory/stage/runner.py` has started."""
Cost = tuple[float, float]
"""Seconds by the clock and of the processors."""


def measured(work: Callable[[], object]) -> Cost:
    """What it costs, with the processes that it starts and waits for."""
    began, spent = time.perf_counter(), _processor_seconds()
    work()
    return time.perf_counter() - began, _processor_seconds() - spent


def _processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def in_words(costs: list[Cost]) -> str:
    """The medians."""
    clock, processors = (statistics.median(values) for values in zip(*costs, strict=True))
    return f"{clock:.2f} ({processors:.2f})"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """For programs with the code of that folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    others = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**others, "PATH": path, "PYTHONPATH": str(folder), "LABELFACTORY_DEVICE": "cpu", **more}


def command(folder: Path, *words: str, **more: str) -> None:
    """Run `labelfactory` with the code of that folder."""
    program = [sys.executable, "-c", CONSOLE_SCRIPTS["labelfactory"], *words]
    done = subprocess.run(
        program, cwd=folder, env=environment(folder, **more), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"labelfactory {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def finished_project(folder: Path, commit: str = "") -> Path:
    """A project in which the small line has run; with the code of a commit, or as it is here."""
    make_workspace(folder, git=True)
    if commit:
        for path in folder.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x"], input=archive, cwd=folder, check=True)
    command(folder, "import", "demo", "--count", str(IMAGES))
    command(folder, "profile", "demo", *small())
    command(folder, "run")
    command(folder, "run")  # what a report on the disk changes has run too
    return folder


def stages(folder: Path, copy: Path, rounds: int) -> None:
    """Start every stage in a copy of the project in which stages end once they have started."""
    shutil.copytree(folder, copy, symlinks=True)
    runner = copy / "labelfactory/stage/runner.py"
    text = runner.read_text()
    runner.write_text(text.replace(STARTED, f"{STARTED}            sys.exit(0)\n"))
    if runner.read_text() == text:
        raise SystemExit("labelfactory/stage/runner.py has started elsewhere")
    os.chdir(copy)
    names = list(read_wiring())

    def start_all(start: Callable[..., subprocess.Popen[bytes]]) -> None:
        for name in names:
            variables = environment(copy, DVC_STAGE=name)
            words = [*BASH, f"python -m stages.{name}"]
            process = start(words, cwd=str(copy), env=variables, close_fds=True, shell=False)
            process.communicate()
            if process.returncode:
                raise SystemExit(f"{name}: exit code {process.returncode}")

    def warm() -> None:
        starts = Starts()
        start_all(starts.start)
        starts.close()

    start_all(subprocess.Popen)  # bytecode and the disk's cache
    costs: dict[str, list[Cost]] = {"by a shell": [], "forked": []}
    for _ in range(rounds):
        costs["by a shell"].append(measured(lambda: start_all(subprocess.Popen)))
        costs["forked"].append(measured(warm))
    print(f"\n| {len(names)} stages start | seconds |\n|---|---:|")
    for how, each in costs.items():
        print(f"| {how} | {in_words(each)} |")
    os.chdir(ROOT)


def line(folder: Path, rounds: int) -> None:
    """Run all stages of the small line."""
    costs: dict[str, list[Cost]] = {"1": [], "": []}
    for _ in range(rounds):
        for plain, each in costs.items():
            each.append(measured(lambda: command(folder, "run", "--force", **{PLAIN_VARIABLE: plain})))  # noqa: B023
    print("\n| `labelfactory run --force` | seconds |\n|---|---:|")
    print(f"| stages by a shell | {in_words(costs['1'])} |\n| forked | {in_words(costs[''])} |")


def commands(folder: Path, before: Path | None, rounds: int) -> None:
    """Ask each command."""
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    for words in COMMANDS:  # bytecode, and the ledger's index
        for project in filter(None, (before, folder)):
            command(project, *words.split())
    time.sleep(5)  # an answer is not kept of files that have just changed
    print(f"\n| `labelfactory …` | {'before' if before else '–'} | asked anew | kept |\n|---|---:|---:|---:|")
    for words in COMMANDS:
        old, new, kept = [], [], []
        for _ in range(rounds):
            if before:
                old.append(measured(lambda: command(before, *words.split())))  # noqa: B023
            shutil.rmtree(folder / ".labelfactory/kept", ignore_errors=True)
            new.append(measured(lambda: command(folder, *words.split())))  # noqa: B023
            kept.append(measured(lambda: command(folder, *words.split())))  # noqa: B023
        print(f"| `{words}` | {in_words(old) if old else ''} | {in_words(new)} | {in_words(kept)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", default="", help="a commit to compare commands with")
    parser.add_argument("--only", choices=("stages", "commands", "line"))
    parser.add_argument(
        "--project", type=Path, help="a finished project with the code that is here, instead of a new one"
    )
    options = parser.parse_args()
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as place:
        folder = options.project or finished_project(Path(place) / "project")
        if options.only in (None, "stages"):
            stages(folder, Path(place) / "starts", options.rounds)
        if options.only in (None, "line"):
            line(folder, options.rounds)
        if options.only in (None, "commands"):
            before = finished_project(Path(place) / "before", options.before) if options.before else None
            commands(folder, before, options.rounds)
    print(f"\nload of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
