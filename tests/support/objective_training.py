"""A training of the classifier that takes moments, for any objective: drawn photographs with tags, a tiny backbone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import default_collate

from labelfactory.learning.examples import CropSection, TagExamples
from labelfactory.learning.learner import Batch
from labelfactory.learning.resume import Resume
from labelfactory.learning.training import TrainingSection, fit
from labelfactory.schema import Classes
from labelfactory.settings.registry import Family, MethodConfig, choose
from models.backbones import build_backbone
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 220)}
CLASSES = Classes(tuple(COLOURS))
TAGS = (("red",), ("green",), ("blue",), ("red", "green"), ("green", "blue"), ("red", "blue"), (), ("red",))
"""Of the photographs: one without tags, some with two, every class in several."""
VIEW = CropSection(crop=33, long_side_min=40, long_side_max=52, colour_jitter=0.1)
BATCH = 4
LONG_SIDE = 49
"""Of a photograph that is looked at whole, pixels."""
STEPS = len(TAGS) // BATCH
"""Of an epoch."""


@dataclass(frozen=True)
class Drawing:
    """A photograph of coloured squares, one a tag, on grey noise."""

    image_id: str
    tags: tuple[str, ...]
    seed: int
    shape: NDArray[np.uint8] = field(init=False, compare=False)  # [H, W], 255 in the squares
    pixels: NDArray[np.uint8] = field(init=False, compare=False)  # [H, W, 3]

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        pixels = rng.integers(90, 140, (40, 48, 3), dtype=np.uint8)
        shape = np.zeros((40, 48), np.uint8)
        for place, tag in enumerate(self.tags):
            top, left = 8 + int(rng.integers(0, 8)), 4 + 22 * place + int(rng.integers(0, 4))
            window = np.s_[top : top + 18, left : left + 18]
            pixels[window], shape[window] = COLOURS[tag], 255
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "shape", shape)

    def photograph(self) -> NDArray[np.uint8]:
        """[H, W, 3] uint8."""
        return self.pixels


def shape_of(record: Drawing) -> NDArray[np.uint8]:
    """What a prior would say: where the squares are."""
    return record.shape


class Drawings(TagExamples):
    """The photographs, with a map for each kind of rows that an objective reads.

    Args:
        reads: of the objective.
        killed_after: examples after which the training is killed.
    """

    def __init__(self, reads: tuple[str, ...] = (), killed_after: int | None = None) -> None:
        records: Any = [Drawing(f"image-{k}", tags, k) for k, tags in enumerate(TAGS)]
        super().__init__(records, CLASSES, VIEW, dict.fromkeys(reads, shape_of))
        self.left = killed_after

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        """One random view, unless the training is to be killed now."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return super().get(index, rng)


def small(method: MethodConfig | str) -> MethodConfig:
    """An objective by its name with its own defaults, but for knobs in pixels, which fit the drawings."""
    family = Family("models.objectives")
    sizes = {knob: LONG_SIDE for knob in ("long_side",) if isinstance(method, str) and family.has_knob(method, knob)}
    return choose(family.package, {"name": method, **sizes} if sizes else method)


def settings(**changes: Any) -> TrainingSection:
    """Three epochs of two steps, unless told otherwise."""
    values: dict[str, Any] = {
        "epochs": 3,
        "least_steps": 0,
        "batch_size": BATCH,
        "learning_rate": 0.003,
        "head_factor": 2.0,
        "rate": "absolute",
        "optimizer": "adamw",
        "weight_decay": 0.0005,
        "decay": "poly",
        "warmup_steps": 0,
        "clip_norm": 10,
        "precision": "32-true",
        "seed": 5,
    }
    return TrainingSection(**{**values, **changes})


def architecture(method: MethodConfig | str) -> dict[str, Any]:
    """As a passport has it: what `classifier_from` builds the network from."""
    return {
        "backbone": "tiny",
        "output_stride": 16,
        "folded": False,
        "classes": len(CLASSES),
        "objective": small(method).model_dump(mode="json"),
    }


def new_objective(method: MethodConfig | str, *, epochs: int = 3, seed: int = 0) -> Objective:
    """An objective around a fresh network whose batch norm does not learn, so that devices can share a batch."""
    chosen = small(method)
    kind = chosen.subclass_of(Objective)
    torch.manual_seed(seed)
    backbone = build_backbone("tiny", output_stride=16, state=None, pretrained=False)
    backbone.freeze(0)
    network = kind.build_network(backbone, len(CLASSES), chosen)
    return kind(network, chosen, targets=Drawings().targets, epochs=epochs)


def views(indices: list[int], reads: tuple[str, ...] = (), *, seed: int = 0) -> Batch:
    """A batch of random views of these photographs."""
    examples = Drawings(reads)
    return default_collate([examples.get(k, np.random.default_rng([seed, k])) for k in indices])


def train(
    folder: Path,
    method: MethodConfig | str,
    *,
    devices: int = 1,
    killed_after: int | None = None,
    seed: int = 0,
    **changes: Any,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train on the CPU with the loop that the stage uses.

    Args:
        folder: of resume.pt; made if needed.
        method: the objective.
        devices: processes that share each batch.
        killed_after: examples after which a KeyboardInterrupt ends it.
        seed: of the first weights; a run that goes on finds others in resume.pt.
        changes: of `settings`.

    Returns:
        The network and its curve.
    """
    folder.mkdir(exist_ok=True)
    cfg = settings(**changes)
    objective = new_objective(method, epochs=cfg.epochs, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELFACTORY_DEVICE", "cpu")
        patch.setenv("LABELFACTORY_DEVICES", str(devices))
        return fit(
            objective,
            Drawings(objective.reads, killed_after),
            cfg,
            pretrained=objective.network.backbone.published_parameters(),
            title="test",
            resume=Resume(folder / "resume.pt", "k"),
        )


@torch.no_grad()
def tag_loss(network: nn.Module) -> Tensor:
    """How badly a network names what the photographs show, whole and without augmentation."""
    examples = Drawings()
    wholes = [examples.whole(k, LONG_SIDE) for k in range(len(examples))]
    logits = torch.cat([network.eval()(whole["image"][None]) for whole in wholes])
    return multilabel_soft_margin(logits, examples.targets)
