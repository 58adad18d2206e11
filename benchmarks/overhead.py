"""Cost of the engine against a CAM pass on real photographs: keys, digests, planning and Parquet.

    LABELFACTORY_VOC_ANIMALS=DIR python -m benchmarks.overhead [--images 36]

DIR is a folder in VOC layout with tags.csv. One process, one thread, EfficientNet-Lite2 at four scales with their mirror
images, as in the profile voc-animals-cpu; processor seconds, which other work on the machine does not change. The third
figure is a run of the engine without work.

    … python -m benchmarks.overhead --increment 200

The cheapest CAM pass (one scale of 0.5, no mirror images) over 200 photographs, then over 1 % more.
"""

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from labelfactory.dataset.images import decode_photograph
from labelfactory.dataset.prepared import Dataset, ImageRecord, write_dataset
from labelfactory.digests import digest_bytes
from labelfactory.errors import UserError
from labelfactory.learning.checkpoints import CHECKPOINT, Passport, save_checkpoint
from labelfactory.rows.shards import Row, Sample
from labelfactory.schema import Classes
from models.backbones import build_backbone
from models.classifier import Classifier
from stages.extract_cams import ExtractCams, ExtractCamsConfig

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "LABELFACTORY_VOC_ANIMALS"
CLASSES = ("cat", "cow", "dog", "horse", "person", "sheep")
BACKBONE = "efficientnet_lite2"
LIMIT = 0.03


class TimedCams(ExtractCams):
    """The real stage with the time of its science, which includes reading and decoding photographs."""

    science = 0.0
    loading = 0.0

    def setup(self) -> None:
        """As the stage's."""
        began = time.process_time()
        super().setup()
        self.loading += time.process_time() - began

    def process_batch(self, samples: Sequence[Sample]) -> list[Row]:
        """As the stage's."""
        began = time.process_time()
        rows = super().process_batch(samples)
        self.science += time.process_time() - began
        return rows

    @classmethod
    def stage_name(cls) -> str:
        """The real one's."""
        return "extract_cams"


def records_of(folder: Path, count: int) -> tuple[ImageRecord, ...]:
    """The first photographs with a tag of the six classes."""
    records: list[ImageRecord] = []
    with (folder / "tags.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            tags = tuple(sorted({*row["tags"].split("|")} & {*CLASSES}))
            path = folder / "JPEGImages" / f"{row['image_id']}.jpg"
            if len(records) == count or not tags or not path.exists():
                continue
            data = path.read_bytes()
            height, width, _ = decode_photograph(data).shape
            where = {"path": str(path), "sha256": digest_bytes(data), "position": len(records), "shard": 0}
            size = {"width": width, "height": height, "split": "train", "status": "ok", "reason": ""}
            nothing: dict[str, Any] = {"mask_path": None, "mask_sha256": None}
            records.append(
                ImageRecord(image_id=row["image_id"], lists=("train",), tags=tags, **where, **size, **nothing)
            )
    return tuple(records)


def write_classifier(path: Path) -> None:
    """A backbone with ImageNet weights under a new linear layer: the cost does not depend on the weights."""
    torch.manual_seed(0)
    net = Classifier(build_backbone(BACKBONE, output_stride=16, state=None, pretrained=True), len(CLASSES)).eval()
    passport = Passport(
        stage="train_classifier",
        key="",
        architecture={"backbone": BACKBONE, "output_stride": 16, "folded": False, "classes": len(CLASSES)},
        classes=list(CLASSES),
        params={},
        params_digest="",
        code_digest="",
        git_commit=None,
        git_dirty=None,
        seed=0,
        device="cpu",
        libraries={},
        training_rows=0,
        training_rows_digest="",
        parents={},
        supervision=["imagenet-tags"],
        metrics={},
    )
    save_checkpoint(path, net.state_dict(), passport)


def project(count: int) -> tuple[ImageRecord, ...]:
    """Put code and classifier into the current folder. Returns the records of `count` photographs."""
    source = os.environ.get(VARIABLE)
    if not source:
        raise UserError(f"${VARIABLE} names no folder", f"Type `{VARIABLE}=DIR python -m benchmarks.overhead`.")
    for name in ("labelfactory", "models", "stages"):
        shutil.copytree(ROOT / name, name)
    shutil.copyfile(ROOT / "dvc.yaml", "dvc.yaml")
    write_classifier(Path("data/classifier") / CHECKPOINT)
    return records_of(Path(source).resolve(), count)


def measure(count: int) -> dict[str, float]:
    """Processor seconds per image: science, engine, and engine without work; bytes per row."""
    records = project(count)
    write_dataset(Dataset(Classes(CLASSES), {}, "train", "train", 0.0, records))
    cfg = ExtractCamsConfig(method="cam", scales=(0.5, 1.0, 1.5, 2.0), flip=True, precision="bf16-mixed", batch_size=1)
    stage = TimedCams(cfg)
    stage.output.mkdir(parents=True)
    began = time.process_time()
    tally = stage.update()
    total = time.process_time() - began
    if tally.rows_computed != len(records):
        raise RuntimeError(f"{tally}: not every photograph gave its CAMs")
    again = TimedCams(cfg)
    began = time.process_time()
    again.update()
    nothing = time.process_time() - began
    engine = total - stage.science - stage.loading
    size = sum(path.stat().st_size for path in stage.output.iterdir())
    figures = {"science": stage.science, "engine": engine, "nothing to do": nothing, "bytes": size}
    return {name: value / len(records) for name, value in figures.items()}


def measure_increment(count: int) -> tuple[float, float]:
    """Processor seconds of a full pass and of 1 % more, each without loading the network."""
    records = project(count + count // 100)
    cfg = ExtractCamsConfig(method="cam", scales=(0.5,), flip=False, precision="bf16-mixed", batch_size=1)
    seconds = []
    for members in (records[:count], records):
        write_dataset(Dataset(Classes(CLASSES), {}, "train", "train", 0.0, members))
        stage = TimedCams(cfg)
        stage.output.mkdir(parents=True, exist_ok=True)
        began = time.process_time()
        tally = stage.update()
        seconds.append(time.process_time() - began - stage.loading)
        print(tally)
    return seconds[0], seconds[1]


def main() -> None:
    """Measure and print; exit code 1 above the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=36)
    parser.add_argument("--increment", type=int, default=0, help="measure 1 %% more photographs than this instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.update(LABELFACTORY_WORKERS="1", LABELFACTORY_DEVICE="cpu")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if args.increment:
            full, more = measure_increment(args.increment)
            os.chdir(ROOT)
            print(f"{args.increment} photographs: {full:.2f} s; 1 % more: {more:.2f} s, {100 * more / full:.2f} %")
            sys.exit(more > LIMIT * full)
        figures = measure(args.images)
        os.chdir(ROOT)
    share = figures["engine"] / figures["science"]
    print(
        f"{args.images} photographs, processor seconds an image: "
        + ", ".join(f"{k} {v:.4g}" for k, v in figures.items())
    )
    print(f"the engine costs {100 * share:.2f} % of the CAM pass (limit {100 * LIMIT:.0f} %)")
    sys.exit(share > LIMIT)


if __name__ == "__main__":
    main()
