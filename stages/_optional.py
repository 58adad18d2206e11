"""Shared by train_teacher and train_upper_bound: an optional segmenter beside the line's own."""

from collections.abc import Mapping
from typing import Any

from labelfactory.console import say
from labelfactory.learning.checkpoints import CURVE
from labelfactory.learning.training import write_curve
from labelfactory.settings.params import Section
from stages._segmenter import SegmenterSection, SegmenterStage


class OptionalSegmenterStage(SegmenterStage):
    """Trains the segmenter's net into its own folder if its section has `enabled: true`; else writes a curve without points.

    Its section holds only what differs from `train_segmenter`.
    """

    borrows = ("train_segmenter",)

    def __init__(self, cfg: Any, borrowed: Mapping[str, Section] | None = None) -> None:
        segmenter: Any = (borrowed or {}).get("train_segmenter", cfg)
        super().__init__(self.changed(segmenter, cfg), borrowed)
        self._enabled = bool(cfg.enabled)

    @property
    def enabled(self) -> bool:
        """Whether params.yaml switches it on."""
        return self._enabled

    @staticmethod
    def changed(segmenter: SegmenterSection, own: Any) -> SegmenterSection:
        """The segmenter's section with this stage's own values."""
        return segmenter

    def run(self) -> dict[str, Any]:
        """Train if enabled; else write a curve without points, which DVC can draw."""
        if self.enabled:
            return {"enabled": True, **super().run()}
        for file in self.output.iterdir():
            file.unlink()
        write_curve(self.output / CURVE, [])
        say(f"{self.stage_name()}: off ({self.stage_name()}.enabled is false)")
        return {"enabled": False}

    def is_current(self) -> bool:
        """Whether the checkpoint is current; always true where the stage is off."""
        return not self.enabled or super().is_current()
