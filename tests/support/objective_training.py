"""A training of the classifier that takes moments, for any objective: drawn photographs, a tiny backbone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_photographs import BATCH, CLASSES, LONG_SIDE, Drawings, views
from torch import Tensor, nn

from labelfactory.learning.resume import Resume
from labelfactory.learning.training import TrainingSection, fit
from labelfactory.settings.registry import Family, MethodConfig, choose
from models.backbones import build_backbone
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective


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
        patch.setattr(
            torch, "set_num_threads", lambda count: None
        )  # more of them than one only wait for each other here
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


def later(objective: Objective, epoch: int) -> Objective:
    """The objective after so many epochs, of which it has looked at no photograph."""
    objective.after_epoch(epoch, lambda size: iter(()))
    return objective


def reached(objective: Objective, term: str, indices: tuple[int, ...] = (0, 3)) -> set[str]:
    """The parts of the network that a term's gradient reaches, and those of the objective alone."""
    objective.zero_grad()
    objective(views(list(indices)))[term].backward()
    named = [name for name, p in objective.named_parameters() if p.grad is not None and p.grad.any()]
    return {name.removeprefix("network.").split(".")[0] for name in named}
