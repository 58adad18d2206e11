"""The training loop of every network: Fabric for devices and precision, one schedule, resume after an interruption.

Every random choice is drawn from (seed, epoch, index), so a run that was interrupted and resumed from its last finished epoch
ends in the same bytes as an uninterrupted one.

Several devices share each batch, with one process per device. Weights and loss are those of one device up to rounding, except
with random layers (dropout) or, in CPU processes alone, layers over the whole batch (batch norm that is not frozen).
"""

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from labelfactory.console import say
from labelfactory.devices import FabricPrecision, Precision, cores, keep_freed_memory, pick_device
from labelfactory.errors import UserError
from labelfactory.files import write_csv
from labelfactory.learning.batches import Examples, batches_in_epoch, epoch_batches, whole_batches
from labelfactory.learning.learner import Batch, Learner, Terms
from labelfactory.learning.ranks import joint_mean, progress_of_one, run_shares, training_devices
from labelfactory.learning.resume import Resume
from labelfactory.settings.params import Section

if TYPE_CHECKING:
    from lightning_fabric import Fabric


LeastSteps = Annotated[int, Field(ge=0, le=1_000_000)] | Literal["auto"]
ENOUGH = 960
"""Photographs for which `epochs` passes were found to be enough; fewer need more passes."""


class TrainingSection(Section):
    """Parameters of every training stage."""

    epochs: int = Field(ge=1, le=1000, description="passes over the training list")
    least_steps: LeastSteps = Field(
        description="least number of steps in all: few photographs get more passes; `auto`: the steps of 960 photographs"
    )
    batch_size: int = Field(ge=1, le=1024, description="windows in a step")
    learning_rate: float = Field(gt=0, description="of the pretrained weights")
    head_factor: float = Field(gt=0, description="learning rate of new layers, as a multiple of `learning_rate`")
    rate: Literal["absolute", "relative"] = Field(
        description="`relative`: the learning rate times each pretrained tensor's root mean square"
    )
    optimizer: Literal["adamw", "sgd"] = Field(description="`sgd` has momentum 0.9")
    weight_decay: float = Field(ge=0, description="of the optimizer")
    decay: Literal["poly", "cosine"] = Field(description="of the learning rate: (1 − done)^0.9, or half a cosine")
    warmup_steps: int = Field(ge=0, description="steps in which the rate rises from 0")
    clip_norm: float = Field(gt=0, description="greatest norm of the gradient")
    precision: Precision = Field(description="of the training")
    seed: int = Field(ge=0, description="of every random choice")

    def epochs_of(self, batches: int) -> int:
        """Number of epochs with `batches` batches each: `epochs`, or more to reach `least_steps`."""
        return max(self.epochs, -(-self.steps_at_least() // batches))

    def steps_at_least(self) -> int:
        """`least_steps` as a number."""
        return self.epochs * max(1, ENOUGH // self.batch_size) if self.least_steps == "auto" else self.least_steps


def decay_factor(kind: str, step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then poly (power 0.9, PSA and DeepLab) or half a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return float((1 - done) ** 0.9) if kind == "poly" else 0.5 * (1 + float(np.cos(np.pi * done)))


def make_optimizer(cfg: TrainingSection, pretrained: Sequence[Tensor], new: Sequence[Tensor]) -> torch.optim.Optimizer:
    """AdamW or SGD with momentum 0.9; new layers at `head_factor` times the learning rate.

    The `relative` rate suits weights with folded batch norm: their sizes differ a thousandfold between layers, and a step of
    AdamW, which is equally large for all, would barely change most of them.

    Options are passed by keyword: the authors' code passes the weight decay into SGD's momentum.
    """
    if cfg.rate == "relative":
        scales = [(float(tensor.detach().square().mean().sqrt()), [tensor]) for tensor in pretrained]
    else:
        scales = [(1.0, list(pretrained))]
    scales.append((cfg.head_factor, list(new)))
    groups: list[dict[str, Any]] = [
        {"params": tensors, "lr": cfg.learning_rate * scale, "scale": scale} for scale, tensors in scales if tensors
    ]
    if cfg.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=cfg.learning_rate, weight_decay=cfg.weight_decay)
    return torch.optim.SGD(groups, lr=cfg.learning_rate, momentum=0.9, weight_decay=cfg.weight_decay)


def make_fabric(precision: FabricPrecision, devices: int = 1) -> "Fabric":
    """Fabric on this machine's device, or on several of the same kind with one process per device."""
    from lightning_fabric import Fabric  # takes a second or more, and only training needs it
    from lightning_fabric.strategies.ddp import DDPStrategy

    device = pick_device()
    # unused: a net may have layers deeper than the features that its loss uses
    strategy: Any = DDPStrategy(start_method="spawn", find_unused_parameters=True) if devices > 1 else "auto"
    if device.type == "cpu":
        torch.set_num_threads(max(1, cores() // devices))
        return Fabric(accelerator="cpu", devices=devices, strategy=strategy, precision=precision)
    selected: Any = [device.index] if device.index is not None else devices
    return Fabric(accelerator=device.type, devices=selected, strategy=strategy, precision=precision)


def fit(
    learner: Learner,
    examples: Examples,
    cfg: TrainingSection,
    *,
    pretrained: Sequence[Tensor],
    title: str,
    resume: Resume,
    precision: FabricPrecision = "32-true",
    ema_decay: float = 0.0,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train a network.

    Args:
        learner: network and loss, on the CPU; trainable parameters that are not `pretrained` are new.
        examples: the training set.
        cfg: schedule, optimiser, seed; its precision may be `auto`, and is not read here.
        pretrained: parameters with `learning_rate`; the others have `head_factor` times that.
        title: for the progress bar.
        resume: the file for the state after each epoch.
        precision: of the steps (`training_precision`).
        ema_decay: 0, or the decay of an exponential moving average of the network's weights, which is then returned.

    Returns:
        The trained network on the CPU in eval mode, and one dict per epoch: epoch, loss, learning_rate, and each term of
        the loss if it has several.
    """
    resume.precision = precision
    slow = {id(p) for p in pretrained}
    indices = frozenset(k for k, p in enumerate(learner.parameters()) if id(p) in slow)
    arguments = (learner, examples, cfg, indices, title, resume, ema_decay)
    devices = training_devices(min(cfg.batch_size, len(examples)), learner.share_multiple)
    if devices > 1:
        say(f"{title}: {devices} devices share each batch")
        run_shares(make_fabric(precision, devices), _fit, *arguments)
    # after training on several devices, this only loads the state of the last epoch
    fabric = make_fabric(precision)
    fabric.launch()
    return _fit(fabric, *arguments)


def _fit(
    fabric: "Fabric",
    learner: Learner,
    examples: Examples,
    cfg: TrainingSection,
    pretrained: frozenset[int],
    title: str,
    resume: Resume,
    ema_decay: float,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """`fit` in one launched process; `pretrained` are indices of the learner's parameters."""
    if fabric.device.type == "cpu":
        keep_freed_memory()
    parameters = list(enumerate(learner.parameters()))
    optimizer = make_optimizer(
        cfg,
        [p for k, p in parameters if p.requires_grad and k in pretrained],
        [p for k, p in parameters if p.requires_grad and k not in pretrained],
    )
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)  # type: ignore[no-untyped-call]
    wrapped, optimizer = fabric.setup(learner, optimizer)
    average = AveragedModel(learner.network, multi_avg_fn=get_ema_multi_avg_fn(ema_decay)) if ema_decay else None  # type: ignore[no-untyped-call]
    first, curve = resume.restore(learner, optimizer, average)
    batches = batches_in_epoch(len(examples), cfg.batch_size)
    epochs = cfg.epochs_of(batches)
    if epochs > cfg.epochs and fabric.is_global_zero:
        say(
            f"{title}: {epochs} epochs of {batches} steps instead of {cfg.epochs}, for least_steps {cfg.steps_at_least()}"
        )
    if 0 < first < epochs and fabric.is_global_zero:
        say(f"resumed after epoch {first}")
    shares = [decay_factor(cfg.decay, s, batches * epochs, cfg.warmup_steps) for s in range(batches * epochs)]
    look = partial(whole_batches, fabric, examples)
    with progress_of_one(fabric.is_global_zero, title, epochs * batches) as tick:
        tick(first * batches)
        for epoch in range(first, epochs):
            torch.manual_seed(cfg.seed * 100_003 + epoch + fabric.global_rank * 1_000_000_007)
            learner.train()
            steps: list[dict[str, float]] = []
            epoch_shares = shares[epoch * batches : (epoch + 1) * batches]
            stream = epoch_batches(
                fabric, examples, batch_size=cfg.batch_size, seed=cfg.seed, epoch=epoch, groups=learner.groups
            )
            for share, batch in zip(epoch_shares, stream, strict=True):
                steps.append(_step(fabric, wrapped, optimizer, batch, cfg, share))
                if average is not None:
                    average.update_parameters(learner.network)
                tick(1, f"epoch {epoch + 1}/{epochs} loss {steps[-1]['loss']:.4f}")
            means = _means(steps, title, epoch + 1)
            rate = cfg.learning_rate * epoch_shares[-1]
            curve.append({"epoch": float(epoch + 1), "loss": means.pop("loss"), "learning_rate": rate, **means})
            learner.after_epoch(epoch + 1, look)
            _check_finite(learner.network, title, epoch + 1)
            if fabric.is_global_zero:
                resume.keep(learner, optimizer, average, epoch + 1, curve)
            fabric.barrier()
    final = average.module if average is not None else learner.network
    return final.to("cpu").eval(), curve


def _step(
    fabric: "Fabric", learner: nn.Module, optimizer: Any, batch: Batch, cfg: TrainingSection, share: float
) -> dict[str, float]:
    """One optimiser step at a share of the learning rates. Returns the loss before it, and its terms if there are several."""
    for group in optimizer.param_groups:
        group["lr"] = cfg.learning_rate * group["scale"] * share
    terms: Terms = learner(batch)
    value = reduce(add, terms.values())
    fabric.backward(value)
    fabric.clip_gradients(learner, optimizer, max_norm=cfg.clip_norm, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad()
    points = {"loss": value, **(terms if len(terms) > 1 else {})}
    return {name: float(joint_mean(point.detach())) for name, point in points.items()}


def _means(steps: Sequence[Mapping[str, float]], title: str, epoch: int) -> dict[str, float]:
    """Means over an epoch. Training stops at a loss that is not finite, which has spoilt the weights.

    Raises:
        UserError: the loss of a step is not finite.
    """
    if not np.isfinite([step["loss"] for step in steps]).all():
        raise _not_finite("the loss is", title, epoch)
    return {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}


def _check_finite(network: nn.Module, title: str, epoch: int) -> None:
    """Stop at weights that are not finite. The loss may not show them: oneDNN's activations turn NaN into 0 in bfloat16.

    Raises:
        UserError: a weight or a running mean is not finite.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
        raise _not_finite("weights are", title, epoch)


def _not_finite(what: str, title: str, epoch: int) -> UserError:
    return UserError(f"{title}: {what} not finite in epoch {epoch}", "Lower learning_rate in params.yaml.")


def write_curve(path: Path, curve: Sequence[Mapping[str, float]]) -> None:
    """Write the loss curve as CSV for `dvc plots show`, one row per epoch."""
    header = list(curve[0]) if curve else ["epoch", "loss", "learning_rate"]
    write_csv(path, header, ([point[name] for name in header] for point in curve))
