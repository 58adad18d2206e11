"""Seconds and memory of everything but the networks, against the number of images.

    python -m benchmarks.scale [--counts 1000,10000,100000] [--rows 1000000] [--out docs/scaling.json] [--plot docs/scaling.png]

Photographs are thumbnails of 64 × 48; rows are as large as those of real photographs (benchmarks/scale_stages): CAMs of
47 KB and masks of 12 KB per image, 6 GB for 100,000 images and as much again in DVC's cache. Each step runs in its own
process, whose peak memory is shown without that of an idle process. `--rows` is one more size, without pixels and with rows
of a few bytes: reading, planning and writing tables alone.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.scale_table import Measured, plot, table
from labelfactory.dataset.manifest import Entry, Manifest, read_manifest, write_manifest
from labelfactory.dataset.prepared import Dataset, ImageRecord, ShardedDataset, read_dataset, write_dataset
from labelfactory.digests import digest_bytes
from labelfactory.schema import Classes

ROOT = Path(__file__).resolve().parents[1]
CODE = ("labelfactory", "models", "reporting", "sources", "stages", "exports", "lineage", "flows", "app", ".dvc")
CLASSES = Classes(("cat", "dog"))
PARAMS = """\
prepare: {train_list: train, val_list: train, max_bad_fraction: 0.05, shard_size: 256, compression: zstd}
extract_cams: {seed: 0}
refine_crf: {level: 0.5}
"""
WIRING = """\
stages:
  prepare: {cmd: python -m stages.prepare, deps: [data/import, labelfactory, stages/prepare.py], params: [prepare],
    meta: {kind: prepare}, outs: [data/dataset: {persist: true}]}
  extract_cams: {cmd: python -m stages.extract_cams, deps: [data/dataset, labelfactory, stages/extract_cams.py],
    params: [extract_cams], meta: {kind: rows}, outs: [data/cams: {persist: true}]}
  refine_crf: {cmd: python -m stages.refine_crf, deps: [data/dataset, data/cams, labelfactory, stages/refine_crf.py],
    params: [refine_crf], meta: {kind: rows, result: true}, outs: [data/masks: {persist: true}]}
"""


def make_project(folder: Path) -> None:
    """Copy the code into a folder, with two stages that compute nothing instead of the real ones."""
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
    for name in ("extract_cams", "refine_crf"):
        shutil.copyfile(ROOT / f"benchmarks/scale_stages/{name}.py", folder / f"stages/{name}.py")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "dvc.yaml").write_text(WIRING)
    shutil.copyfile(ROOT / ".dvcignore", folder / ".dvcignore")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    os.chdir(folder)
    sys.path.insert(0, str(folder))


def add_images(first: int, count: int) -> None:
    """Draw thumbnails and write the manifest of all."""
    Path("photographs").mkdir(exist_ok=True)
    dice = np.random.default_rng(first)
    entries = []
    for k in range(first, first + count):
        pixels = dice.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        data = cv2.imencode(".jpg", cv2.resize(pixels, (64, 48)))[1].tobytes()
        path = Path(f"photographs/{k:07d}.jpg")
        path.write_bytes(data)
        tags = (("cat",), ("dog",), ("cat", "dog"))[k % 3]
        entries.append(Entry(f"{k:07d}", str(path), digest_bytes(data), ("train",), tags))
    new = Manifest(CLASSES, {0: 0, 1: 1, 2: 2}, "scale", tuple(entries))
    write_manifest(read_manifest().appended(new) if first else new.numbered())


def measured(work: Callable[[], Any]) -> Measured:
    """Run the work in a fork. Returns seconds, peak memory in MiB, and the numbers that the work returns."""
    reader, writer = os.pipe()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            os.environ["LABELFACTORY_WORKERS"] = "1"
            given = work()
            os.write(writer, json.dumps(given if isinstance(given, dict) else {}).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as stream:
        given = stream.read()
    _, status, used = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{work}: ended with status {status}")
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024, **json.loads(given)}


def command(*words: str) -> Measured:
    """Run a command. Returns seconds, processor seconds and its peak memory."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(ROOT)])}
    process = subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    output = process.stdout.read().decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(words)}: {output[-2000:]}")
    return {
        "seconds": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "mib": used.ru_maxrss / 1024,
        "ran": output.count("Running stage"),
    }


def stage(name: str) -> dict[str, Any]:
    """One run of a stage, as by `python -m stages.<name>` after its imports."""
    from labelfactory.settings.params import read_yaml
    from labelfactory.stage.runner import stage_class

    kind = stage_class(name)
    science = kind(kind.section.model_validate(read_yaml(Path("params.yaml"))[name]))
    science.output.mkdir(parents=True, exist_ok=True)
    if name == "prepare":
        science.run()
        return {}
    return dict(science.update().__dict__)


def export() -> dict[str, Any]:
    """All masks as a VOC folder."""
    from exports._selection import Selection
    from exports._write import export as write_export

    write_export("voc", Selection("masks"), Path("exported"))
    shutil.rmtree("exported")
    return {}


def measure(count: int) -> dict[str, Measured]:
    """All steps on `count` images, and on 1 % more."""
    figures_of: dict[str, Measured] = {"idle": measured(dict)}
    add_images(0, count)

    def step(name: str, work: Callable[[], Any]) -> None:
        figures_of[name] = measured(work)
        show(count, name, figures_of[name])

    for name in ("prepare", "extract_cams", "refine_crf"):
        step(f"{name}, all", lambda name=name: stage(name))
    for name in ("prepare", "extract_cams", "refine_crf"):
        step(f"{name}, nothing to do", lambda name=name: stage(name))
    for name, words in {
        "dvc commit": ("-m", "dvc", "commit", "-q", "-f"),
        "dvc repro, nothing to do": ("-m", "dvc", "repro"),
        "labelfactory status": ("-c", "from app.main import main; main()", "status"),
    }.items():
        figures_of[name] = command(*words)
        show(count, name, figures_of[name])
    step("export voc", export)
    add_images(count, max(1, count // 100))
    for name in ("prepare", "extract_cams", "refine_crf"):
        step(f"{name}, 1 % more", lambda name=name: stage(name))
    folders = [Path("data/dataset"), Path("data/cams"), Path("data/masks")]
    figures_of["on disk"] = {
        "tracked_files": sum(len(list(folder.glob("*"))) for folder in folders),
        **{f"bytes_{p.name}": sum(f.stat().st_size for f in p.iterdir()) / count for p in folders},
    }
    return figures_of


def measure_rows(count: int) -> dict[str, Measured]:
    """The steps without pixels, on `count` rows of a few bytes."""
    digests = [digest_bytes(b"%d" % k) for k in range(count)]
    write_manifest(
        Manifest(
            CLASSES,
            {0: 0, 1: 1, 2: 2},
            "scale",
            tuple(Entry(f"{k:07d}", f"p/{k}.jpg", d, ("train",), ("cat",), position=k) for k, d in enumerate(digests)),
        )
    )
    del digests
    figures_of: dict[str, Measured] = {"idle": measured(dict)}  # a fork shows what its parent still holds of the above

    def step(name: str, work: Callable[[], Any]) -> None:
        figures_of[name] = measured(work)
        show(count, name, figures_of[name])

    step("read manifest", read_manifest)
    step("write dataset", lambda: write_dataset(_dataset(count)))
    step("read dataset", read_dataset)
    step("read dataset by shards", lambda: [len(d.records(s)) for d in [ShardedDataset()] for s in d.counts] and None)
    import stages.extract_cams as science
    from stages.extract_cams import ExtractCams, ExtractCamsConfig

    science.SHAPE = (1, 1, 1)  # type: ignore[misc]
    cams = ExtractCams(ExtractCamsConfig(seed=0))
    cams.output.mkdir(parents=True, exist_ok=True)
    step("rows, all", lambda: dict(cams.update().__dict__))
    step("planning", lambda: {"pending": sum(len(plan.pending) for plan in cams.plan())})
    return figures_of


def _dataset(count: int) -> Dataset:
    entries = read_manifest().entries
    records = tuple(
        ImageRecord(
            **e.__dict__ | {"width": 64, "height": 48},
            split="train",
            shard=e.position // 256,
            status="ok",
            reason="",
        )
        for e in entries[:count]
    )
    return Dataset(CLASSES, {0: 0, 1: 1, 2: 2}, "train", "train", 0.05, records)


def show(count: int, name: str, figures: Measured) -> None:
    """Print one line at once: the whole benchmark takes long."""
    print(f"{count:>9,} {name:32} " + " ".join(f"{k} {v:.4g}" for k, v in figures.items()), flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", default="1000,10000,100000")
    parser.add_argument("--rows", type=int, default=1_000_000, help="0: leave this size out")
    parser.add_argument("--out", type=Path, default=Path("docs/scaling.json"))
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    out, drawing = args.out.resolve(), args.plot and args.plot.resolve()
    results: dict[int, dict[str, Measured]] = {}
    with tempfile.TemporaryDirectory() as top:
        make_project(Path(top))
        for count in [int(word) for word in args.counts.split(",") if word]:
            clear()
            results[count] = measure(count)
            out.write_text(json.dumps(results, indent=1) + "\n")
        if args.rows:
            clear()
            results.setdefault(args.rows, {}).update(measure_rows(args.rows))
        os.chdir(ROOT)
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    if drawing:
        plot(results, drawing)


def clear() -> None:
    """Delete the files of the last size."""
    for name in ("data", "photographs", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(name, ignore_errors=True)
    Path("dvc.lock").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
