"""Two small stages, one after the other, and the engine on them: for tests of what it computes, copies and finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from labelfactory.rows.columns import ArrayColumn, MaskColumn, NumberColumn
from labelfactory.rows.engine import Tally
from labelfactory.rows.shards import Row, Sample, ShardFolder, row_key
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage


class Inner(Section):
    power: int = 1


class BrightnessConfig(Section):
    speed_only = frozenset({"batch"})

    factor: int = 1
    inner: Inner = Inner()
    batch: int = 1


class Brightness(PerImageStage[BrightnessConfig]):
    """A stage whose science is trivial. It notes what it was asked to do, and fails where it is told to."""

    writes = "brightness"
    columns = {"level": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8"), "mean": NumberColumn()}
    uses_gpu = False
    processed: ClassVar[list[str]] = []
    failing: ClassVar[dict[str, BaseException]] = {}
    weights: ClassVar[str] = "w1"
    name: ClassVar[str] = "brightness"

    @classmethod
    def stage_name(cls) -> str:
        return cls.name

    def fixed(self) -> dict[str, str]:
        return {"net": self.weights}

    def group(self, record: object) -> str:
        return "all"

    @property
    def batch_size(self) -> int:
        return self.cfg.batch

    def process_batch(self, samples: Sequence[Sample]) -> list[Row]:
        for sample in samples:
            if sample.record.image_id in self.failing:
                raise self.failing[sample.record.image_id]
        return [self.process(sample) for sample in samples]

    def process(self, sample: Sample) -> Row:
        self.processed.append(sample.record.image_id)
        level = sample.photograph().mean(axis=2) * self.cfg.factor / 4096**self.cfg.inner.power
        ids = self.dataset.classes.ids(sample.record.tags)
        return {"level": level.astype(np.float16), "class_ids": ids, "mean": level.mean()}


class Outline(PerImageStage[Section]):
    """A stage after it: dark or bright, so that a slightly other level often gives the same mask."""

    reads = ("dataset", "brightness")
    reads_rows = ("brightness",)
    writes = "outline"
    columns = {"mask": MaskColumn()}
    uses_gpu = False
    processed: ClassVar[list[str]] = []
    failing: ClassVar[dict[str, BaseException]] = {}

    @classmethod
    def stage_name(cls) -> str:
        return "outline"

    def process(self, sample: Sample) -> Row:
        if sample.record.image_id in self.failing:
            raise self.failing[sample.record.image_id]
        self.processed.append(sample.record.image_id)
        return {"mask": (sample.of("brightness")["level"] > 0.03).astype(np.uint8)}


def update(kind: type[PerImageStage] = Brightness, cfg: Section | None = None) -> tuple[list[str], Tally]:
    """Run the engine as a new process would; say which images it processed."""
    kind.processed.clear()
    stage = kind(cfg or kind.section())
    stage.output.mkdir(parents=True, exist_ok=True)
    tally = stage.update()
    return sorted(kind.processed), tally


def keys(cfg: Section | None = None, kind: type[PerImageStage] = Brightness) -> dict[str, str]:
    plans = kind(cfg or kind.section()).plan()
    return {image_id: row_key(inputs) for plan in plans for image_id, inputs in plan.inputs.items()}


def files(noun: str = "brightness") -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(Path("data", noun).iterdir())}


def stamps(noun: str = "brightness") -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in Path("data", noun).iterdir()}


def states(noun: str = "brightness") -> dict[str, str]:
    return {s.image_id: s.reason or s.status for s in ShardFolder(Path("data", noun)).all_states()}


def change_code(project: Any) -> None:
    """One byte of the code that the stages depend on."""
    (project.root / "code" / "science.py").write_text("answer = 43\n")
