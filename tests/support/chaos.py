"""SIGKILL at random moments, again and again, until the work is done; then every byte is held against an undisturbed run.

    python tests/support/chaos.py [--kills 1000] [--line-kills 10] [--pool-kills 20] [--seed 0]      or: make chaos

What is killed is a process group of its own:
    stages     one per-image stage, forked from a process that has loaded the libraries already
    pool       the same with two worker processes
    training   one training stage, forked likewise
    line       `dvc repro` over all stages, with every process below it
The moment is drawn from the time that an undisturbed run takes; half of the attempts are killed while they
write. After each kill: every file is whole (the old bytes or the new ones), nothing that was finished is computed again, and
what was computed in vain belongs to one shard, or to one epoch.
"""

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from small_line import SMALL
from workspace import BIN, call, make_workspace

from labelfactory.learning import training
from labelfactory.rows import engine
from labelfactory.rows.plan import OpenShard
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import read_sections, run_guarded, stage_class
from labelfactory.store.entries import STORE

PER_IMAGE = ("extract_cams", "label_affinity", "random_walk", "refine_crf")
TRAINING = ("train_classifier", "train_affinity", "train_segmenter")
AMBUSHES = 0.5
"""Share of the attempts that are killed when they next write: by time alone a kill would hardly ever fall into it."""
NOTES = Path("computed.log")
LONGEST = 3600.0
"""Seconds for what nobody kills."""


@dataclass
class Tally:
    """What a campaign saw."""

    kills: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)
    in_vain: int = 0
    """Kills that cost work which had to be done again."""
    most_in_vain: int = 0
    """Most shards, or epochs, that one kill cost."""
    leftovers: int = 0
    """Temporary files that kills left behind, and the next run removed."""

    def lost(self, pieces: int) -> None:
        """Count what a kill cost."""
        self.in_vain += pieces > 0
        self.most_in_vain = max(self.most_in_vain, pieces)


def make_project(folder: Path, images: int = 16, epochs: int = 5, *, git: bool = False) -> Path:
    """A project of drawn pictures, three to a shard, with params for seconds."""
    make_workspace(folder, git=git)
    call(folder, "labelfactory", "import", "demo", "--count", str(images))
    values = {f"{name}.{key}": value for name, keys in SMALL.items() for key, value in keys.items()}
    values |= {f"{name}.epochs": epochs for name in TRAINING} | {"prepare.shard_size": 3}
    call(folder, "labelfactory", "profile", "demo", *[f"--set={name}={value}" for name, value in values.items()])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Finished files of an output folder."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return {p.name: p.read_bytes() for p in files if p.name != "resume.pt"}


def start(stage: str, *, workers: int = 1) -> int:
    """Fork a stage as a process group of its own. Gives its pid."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        log = os.open("chaos.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["LABELFACTORY_WORKERS"] = str(workers)
        engine._compute = noting(engine._compute)  # type: ignore[assignment]
        training.epoch_batches = noting_epochs(training.epoch_batches)  # type: ignore[assignment]
        code = run_guarded(stage)
    finally:
        os._exit(code)


def note(text: str) -> None:
    """One line, at once, whatever happens next."""
    handle = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{text}\n".encode())
    os.close(handle)


def noting(compute: Callable[..., Any]) -> Callable[..., Any]:
    """The engine's work on a shard, which says beforehand what it is going to compute."""

    def noted(spec: Any, maker: Any, shard: OpenShard, *rest: Any) -> Any:
        note(json.dumps([shard.plan.shard, [record.image_id for record in shard.plan.pending]]))
        return compute(spec, maker, shard, *rest)

    return noted


def noting_epochs(batches: Callable[..., Any]) -> Callable[..., Any]:
    """An epoch that says when it begins."""

    def noted(*arguments: Any, epoch: int, **options: Any) -> Any:
        note(str(epoch))
        return batches(*arguments, epoch=epoch, **options)

    return noted


def noted() -> list[Any]:
    """What the last attempt began."""
    lines = NOTES.read_text().splitlines() if NOTES.exists() else []
    NOTES.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


def wait(pid: int, seconds: float, ambush: Path | None = None) -> int | None:
    """Its exit code if it ends by itself in this time; else its group is killed and gone.

    With `ambush` it is killed after this time as soon as it has a file in hand in that folder.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end or (ambush is not None and not any(ambush.glob(".*.tmp"))):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002 if ambush is None else 0.0002)
    while True:
        try:
            os.killpg(pid, signal.SIGKILL)
            break
        except ProcessLookupError:  # it has not made its group yet
            time.sleep(0.001)
    os.waitpid(pid, 0)
    return None


def undisturbed(stage: str, *, workers: int = 1) -> float:
    """Run a stage to its end. Gives its seconds."""
    began = time.monotonic()
    code = wait(start(stage, workers=workers), LONGEST)
    assert code == 0, f"{stage} failed:\n{Path('chaos.log').read_text()[-3000:]}"
    noted()
    return time.monotonic() - began


def make_stale(folder: Path, dice: random.Random) -> None:
    """Give about half of the rows a key that no row has: what is then to be computed, copied or left alone."""
    shards = ShardFolder(folder)
    for number in shards.shards():
        table = shards.table(number)
        assert table is not None
        keys = [key if dice.random() < 0.5 else "0" * 64 for key in table.column("key").to_pylist()]
        changed = table.set_column(1, table.schema.field(1), pa.array(keys))
        shards.write(number, changed.replace_schema_metadata(table.schema.metadata))


def kill_rows(stage: str, seconds: float, kills: int, dice: random.Random, tally: Tally, *, workers: int = 1) -> None:
    """Kill a per-image stage so often; it begins alternately with nothing and with rows of which half are stale."""
    kind = "pool" if workers > 1 else "stages"
    output = Path("data") / stage_class(stage).writes
    reference, goal = contents(output), tally.kills[kind] + kills
    while tally.kills[kind] < goal:
        shutil.rmtree(STORE, ignore_errors=True)
        if tally.finished[kind] % 2:
            make_stale(output, dice)
        else:
            for path in output.glob("*"):
                path.unlink()
        before = contents(output)
        code, attempts = None, 0
        while code is None:
            began, attempts = time.monotonic(), attempts + 1
            fresh = {row.image_id: row.key for row in rows_of(output, reference)}
            ambush = output if dice.random() < AMBUSHES else None
            moment = dice.uniform(0, 0.8) * seconds if tally.kills[kind] < goal else LONGEST
            code = wait(start(stage, workers=workers), moment, ambush)
            if code is None:
                seconds *= 1.02  # on a machine that became busier no attempt would get anywhere
            elif attempts == 1:  # how long it takes to its end, as busy as the machine is now
                seconds = 0.5 * seconds + 0.5 * (time.monotonic() - began)
            check_rows(output, before, reference, fresh, tally)
            tally.kills[kind] += code is None
        assert code == 0, Path("chaos.log").read_text()[-3000:]
        assert contents(output) == reference, f"{stage}: other bytes than those of an undisturbed run"
        tally.finished[kind] += 1


def rows_of(output: Path, reference: dict[str, bytes]) -> list[Any]:
    """Rows of the shards that are finished: those with the reference's bytes."""
    shards, now = ShardFolder(output), contents(output)
    done = [n for n in shards.shards() if now[shards.path(n).name] == reference[shards.path(n).name]]
    return [row for n in done for row in shards.states(n).values()]


def check_rows(
    output: Path, before: dict[str, bytes], reference: dict[str, bytes], fresh: dict[str, str], tally: Tally
) -> None:
    """After a kill or an end: each file is old or new, and only one shard was computed in vain."""
    now = contents(output)
    for name, data in now.items():
        assert data in (before.get(name), reference[name]), f"{name}: neither the old bytes nor the new ones"
    assert set(before) <= set(now), "a shard is gone"
    done = {row.image_id for row in rows_of(output, reference)}
    begun = noted()
    again = {image for _, images in begun for image in images} & set(fresh)
    assert not again, f"computed although finished: {sorted(again)}"
    tally.lost(sum(not set(images) <= done for _, images in begun))
    assert tally.most_in_vain <= 1, f"one kill cost {tally.most_in_vain} shards"
    tally.leftovers += len(list(output.glob(".*.tmp")))


def kill_training(stage: str, seconds: float, kills: int, dice: random.Random, tally: Tally) -> None:
    """Kill a training stage so often; each time it begins anew when it is done."""
    output = Path("data") / stage_class(stage).writes
    reference, goal = contents(output), tally.kills["training"] + kills
    while tally.kills["training"] < goal:
        shutil.rmtree(STORE, ignore_errors=True)
        for path in output.glob("*"):
            path.unlink()
        code = None
        while code is None:
            finished = epochs_of(output)
            ambush = output if dice.random() < AMBUSHES else None
            moment = dice.uniform(0, 0.9) * seconds if tally.kills["training"] < goal else LONGEST
            code = wait(start(stage), moment, ambush)
            begun = noted()
            assert begun == list(range(finished, finished + len(begun))), f"{finished} epochs were done; began {begun}"
            if code is None:
                now = contents(output)
                assert all(reference[name] == data for name, data in now.items()), "a file is not whole"
                seconds *= 1.02
                tally.lost(0 if "checkpoint.safetensors" in now else finished + len(begun) - epochs_of(output))
                assert tally.most_in_vain <= 1, f"one kill cost {tally.most_in_vain} epochs"
                tally.kills["training"] += 1
                tally.leftovers += len(list(output.glob(".*.tmp")))
        assert code == 0, Path("chaos.log").read_text()[-3000:]
        assert contents(output) == reference, f"{stage}: other bytes than those of an undisturbed run"
        tally.finished["training"] += 1


def epochs_of(output: Path) -> int:
    """Epochs that a killed training has finished."""
    path = output / "resume.pt"
    return int(torch.load(path, weights_only=True)["epoch"]) if path.exists() else 0


def kill_line(project: Path, targets: list[str], kills: int, dice: random.Random, tally: Tally) -> None:
    """Kill `dvc repro` with all below it so often, and hold the finished line against one that nobody disturbed."""
    whole = Path(shutil.copytree(project, project.parent / "undisturbed"))
    began = time.monotonic()
    call(whole, "dvc", "repro", *targets, timeout=3600)
    seconds, goal = time.monotonic() - began, tally.kills["line"] + kills
    reference = line_contents(whole)
    while tally.kills["line"] < goal:
        folder = Path(shutil.copytree(project, project.parent / f"line-{tally.kills['line']}"))
        while (code := killed_line(folder, targets, dice.uniform(0, 0.7) * seconds)) is None:
            tally.kills["line"] += 1
            tally.leftovers += len(list((folder / "data").glob("*/.*.tmp")))
            if tally.kills["line"] >= goal:
                call(folder, "dvc", "repro", *targets, timeout=3600)
                code = 0
                break
        assert code == 0
        assert line_contents(folder) == reference, "the line ended in other bytes"
        assert "Running stage" not in call(folder, "dvc", "repro", *targets)
        tally.finished["line"] += 1
        shutil.rmtree(folder)
    shutil.rmtree(whole)


def killed_line(folder: Path, targets: list[str], seconds: float) -> int | None:
    """Start the line as a process group of its own; None when it was killed, else its exit code."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "LABELFACTORY_DEVICE": "cpu",
    }
    with (folder / "repro.log").open("a") as log:
        line = subprocess.Popen(
            [BIN / "dvc", "repro", *targets],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        code = line.wait(seconds)
        assert code == 0, (folder / "repro.log").read_text()[-3000:]
        return code
    except subprocess.TimeoutExpired:
        os.killpg(line.pid, signal.SIGKILL)
        line.wait()
        return None


def line_contents(folder: Path) -> dict[str, bytes]:
    """All that the line has made and that holds no times."""
    outputs = [p for p in sorted((folder / "data").iterdir()) if p.name not in ("raw", "import", "reports", "ledger")]
    found = {f"{p.name}/{name}": data for p in outputs if p.is_dir() for name, data in contents(p).items()}
    return {name: data for name, data in found.items() if not name.endswith(".html")}


def campaign(folder: Path, shares: dict[str, int], seed: int, targets: list[str]) -> Tally:
    """So many kills of each kind in a new project below `folder`. An AssertionError is what it is looking for."""
    dice, tally = random.Random(seed), Tally()
    torch.set_num_threads(1)
    os.environ["LABELFACTORY_DEVICE"] = "cpu"
    project = make_project(folder / "project", git=bool(shares.get("line")))
    if shares.get("line"):
        kill_line(project, targets, shares["line"], dice, tally)
    if not any(kills for kind, kills in shares.items() if kind != "line"):
        return tally
    here = Path.cwd()
    os.chdir(project)
    read_sections()  # imports every stage: a fork has nothing left to load
    importlib.import_module("lightning_fabric")  # which training would load, and with it what the first optimiser would
    try:
        for name in (n for n in read_wiring() if n not in ("train_upper_bound", "evaluate")):
            seconds = undisturbed(name)
            if name in PER_IMAGE and shares.get("stages"):
                kill_rows(name, seconds, -(-shares["stages"] // len(PER_IMAGE)), dice, tally)
            if name in TRAINING and shares.get("training"):
                kill_training(name, seconds, -(-shares["training"] // len(TRAINING)), dice, tally)
            if name == "refine_crf" and shares.get("pool"):
                alone = contents(Path("data/masks"))
                shutil.rmtree("data/masks")
                seconds = undisturbed(name, workers=2)
                assert contents(Path("data/masks")) == alone, "two processes make other bytes than one"
                kill_rows(name, seconds, shares["pool"], dice, tally, workers=2)
            print(f"{name}: {sum(tally.kills.values())} kills so far", flush=True)
    finally:
        os.chdir(here)
    return tally


def main() -> None:
    """Run a campaign and print what it saw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--line-kills", type=int, default=10, help="how many of them hit the whole line")
    parser.add_argument("--pool-kills", type=int, default=20, help="how many hit a stage with two workers")
    parser.add_argument("--targets", default="", help="of the line: stages, joined by commas; all unless told")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rest = args.kills - args.line_kills - args.pool_kills
    learning = rest // 6 // len(TRAINING) * len(TRAINING)
    shares = {"line": args.line_kills, "pool": args.pool_kills, "training": learning, "stages": rest - learning}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = campaign(Path(folder), shares, args.seed, [word for word in args.targets.split(",") if word])
    print(f"seed {args.seed}: {sum(tally.kills.values())} kills in {(time.monotonic() - began) / 60:.0f} minutes")
    for kind, kills in tally.kills.items():
        print(f"  {kind}: {kills} kills, {tally.finished[kind]} times finished, each time the same bytes")
    print(
        f"  {tally.in_vain} kills cost work, at most {tally.most_in_vain} shard or epoch each; "
        f"{tally.leftovers} temporary files were left behind and removed"
    )


if __name__ == "__main__":
    main()
