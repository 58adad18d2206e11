"""The training loop of every network: Fabric for devices and precision, one schedule, resume after a kill.

Every random choice is drawn from (seed, epoch, index), so a run that was killed and resumed from its last finished epoch
ends in the same bytes as one that was not.
"""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from labelfactory.devices import cores, pick_device
from labelfactory.errors import UserError
from labelfactory.files import write_whole
from labelfactory.params import Precision, Section
from labelfactory.pool import task_seconds
from labelfactory.progress import progress, say

Batch = dict[str, Tensor]


class TrainingSection(Section):
    """What every training stage lets one set."""

    epochs: int = Field(ge=1, le=1000)
    batch_size: int = Field(ge=1, le=1024)
    learning_rate: float = Field(gt=0)  # of the pretrained weights
    head_factor: float = Field(gt=0)  # new layers learn at learning_rate times this
    rate: Literal[
        "absolute", "relative"
    ]  # relative: learning_rate times the root mean square of each pretrained tensor
    optimizer: Literal["adamw", "sgd"]  # sgd: momentum 0.9
    weight_decay: float = Field(ge=0)
    decay: Literal["poly", "cosine"]  # poly: (1 - step / steps) ** 0.9
    warmup_steps: int = Field(ge=0)
    clip_norm: float = Field(gt=0)  # of the gradient
    precision: Precision
    seed: int = Field(ge=0)


class Examples(Protocol):
    """A training set whose augmentation is a function of (seed, epoch, index)."""

    def __len__(self) -> int:
        """Number of examples."""

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        """One example: name → tensor without a batch axis."""


class _EpochView(torch.utils.data.Dataset[Batch]):
    """One epoch of a training set, in the order of its seed."""

    def __init__(self, examples: Examples, seed: int, epoch: int) -> None:
        self.examples, self.seed, self.epoch = examples, seed, epoch
        self.order = np.random.default_rng([seed, epoch]).permutation(len(examples))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> Batch:
        index = int(self.order[position])
        return self.examples.get(index, np.random.default_rng([self.seed, self.epoch, index]))


def decay_factor(kind: str, step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then poly (power 0.9, PSA and DeepLab) or half a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return float((1 - done) ** 0.9) if kind == "poly" else 0.5 * (1 + float(np.cos(np.pi * done)))


def make_optimizer(cfg: TrainingSection, pretrained: Sequence[Tensor], new: Sequence[Tensor]) -> torch.optim.Optimizer:
    """AdamW or SGD with momentum 0.9; new layers at `head_factor` times the learning rate.

    The `relative` rate suits weights into which batch norm was folded: their sizes differ a thousandfold from layer to
    layer, and a step of AdamW, which is as large for all, would leave most of them where they are.

    All arguments go by keyword: the authors' code passes the weight decay into SGD's momentum.
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


def make_fabric(precision: Precision) -> Fabric:
    """Fabric on this machine's device; $LABELFACTORY_DEVICES GPUs where there are several (1 unless told)."""
    device = pick_device()
    if device.type == "cpu":
        torch.set_num_threads(cores())
        return Fabric(accelerator="cpu", devices=1, precision=precision)
    count = int(os.environ.get("LABELFACTORY_DEVICES", "1"))
    devices: Any = [device.index] if device.index is not None else count
    return Fabric(accelerator=device.type, devices=devices, precision=precision)


class Resume:
    """The state after the last finished epoch, in a file beside the checkpoint to be. Gone when training is done."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def load(self) -> dict[str, Any] | None:
        """The state, or None when there is none, it belongs to another key, or it is damaged."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # a damaged file means no more than to begin at the first epoch
            say(f"{self.path}: damaged; training begins anew")
            return None
        return state if state.get("key") == self.key else None

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep the state, whole or not at all."""
        with write_whole(self.path) as temporary:
            torch.save({**state, "key": self.key}, temporary)

    def clear(self) -> None:
        """Training is done."""
        self.path.unlink(missing_ok=True)


def fit(
    model: nn.Module,
    examples: Examples,
    loss: Callable[[nn.Module, Batch], Tensor],
    cfg: TrainingSection,
    *,
    pretrained: Sequence[Tensor],
    title: str,
    resume: Resume,
    ema_decay: float = 0.0,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train a network.

    Args:
        model: on the CPU; its trainable parameters are split by `pretrained`, the others are new.
        examples: the training set.
        loss: of (model, batch) → scalar.
        pretrained: parameters that learn at `learning_rate`; the rest at `head_factor` times that.
        title: for the progress bar.
        resume: where the state after each epoch is kept.
        ema_decay: 0, or the decay of an exponential moving average of the weights, which is then what is returned.

    Returns:
        The trained model on the CPU in eval mode, and one dict an epoch: epoch, loss, learning_rate.
    """
    fabric = make_fabric(cfg.precision)
    fabric.launch()
    slow = {id(p) for p in pretrained}
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(
        cfg, [p for p in trainable if id(p) in slow], [p for p in trainable if id(p) not in slow]
    )
    wrapped, optimizer = fabric.setup(model, optimizer)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema_decay)) if ema_decay else None  # type: ignore[no-untyped-call]
    first, curve = _restore(resume, model, optimizer, average)
    batches = len(examples) // (cfg.batch_size) or 1
    shares = [decay_factor(cfg.decay, s, batches * cfg.epochs, cfg.warmup_steps) for s in range(batches * cfg.epochs)]
    with progress(title, cfg.epochs * batches, "steps") as tick:
        tick(first * batches)
        for epoch in range(first, cfg.epochs):
            torch.manual_seed(cfg.seed * 100_003 + epoch)
            model.train()
            losses = []
            epoch_shares = shares[epoch * batches : (epoch + 1) * batches]
            for share, batch in zip(epoch_shares, _batches(fabric, examples, cfg, epoch), strict=True):
                losses.append(_step(fabric, wrapped, optimizer, loss, batch, cfg, share))
                if average is not None:
                    average.update_parameters(model)
                tick(1, f"epoch {epoch + 1}/{cfg.epochs} loss {losses[-1]:.4f}")
            curve.append(
                {
                    "epoch": float(epoch + 1),
                    "loss": _mean_loss(losses, title, epoch + 1),
                    "learning_rate": cfg.learning_rate * epoch_shares[-1],
                }
            )
            if fabric.is_global_zero:
                _keep(resume, model, optimizer, average, epoch + 1, curve)
            fabric.barrier()
    final = average.module if average is not None else model
    return final.to("cpu").eval(), curve


def _step(
    fabric: Fabric,
    model: nn.Module,
    optimizer: Any,
    loss: Callable[[nn.Module, Batch], Tensor],
    batch: Batch,
    cfg: TrainingSection,
    share: float,
) -> float:
    """One step of the optimiser at a share of the learning rates. Gives the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = cfg.learning_rate * group["scale"] * share
    value = loss(model, batch)
    fabric.backward(value)
    fabric.clip_gradients(model, optimizer, max_norm=cfg.clip_norm, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad()
    return float(value.detach())


def _mean_loss(losses: Sequence[float], title: str, epoch: int) -> float:
    """Mean over an epoch; weights that a loss without a value has touched are worth nothing, so training stops there."""
    if not np.isfinite(losses).all():
        raise UserError(
            f"{title}: the loss is no finite number in epoch {epoch}", "Lower learning_rate in params.yaml."
        )
    return float(np.mean(losses))


def _batches(fabric: Fabric, examples: Examples, cfg: TrainingSection, epoch: int) -> Iterator[Batch]:
    """The epoch's batches, this process's part of each; the incomplete last one is left out unless it is the only one."""
    view = _EpochView(examples, cfg.seed, epoch)
    share = max(1, cfg.batch_size // fabric.world_size)
    groups = [list(range(i, i + cfg.batch_size)) for i in range(0, len(view) - cfg.batch_size + 1, cfg.batch_size)]
    groups = groups or [list(range(len(view)))]
    mine = [group[fabric.global_rank * share : (fabric.global_rank + 1) * share] for group in groups]
    done, feeders, failures = 0, _feeders(fabric.device.type), 0
    while done < len(mine):
        try:
            for batch in _loader(fabric, view, mine[done:], feeders):
                done += 1
                yield batch
        except RuntimeError as error:
            if not feeders or "DataLoader" not in str(error):
                raise
            failures += 1
            feeders = feeders if failures < FEEDER_TRIES else 0
            where = "in new processes" if feeders else "in this process"
            say(f"{' '.join(str(error).split())}; the batch is read again {where}")


FEEDER_TRIES = 2
"""Loader processes may die or hang so often in an epoch; then the training process reads its photographs itself."""


def _feeders(device: str) -> int:
    """Processes that read photographs. On the CPU none: its cores are busy with the network, they would take turns."""
    return min(8, cores() - 1) if device != "cpu" else 0


def _loader(fabric: Fabric, view: _EpochView, groups: Sequence[list[int]], feeders: int) -> Any:
    """Batches of these positions. A loader that dies, or is silent for too long, raises a RuntimeError that names it."""
    loader = DataLoader(
        view,
        batch_sampler=groups,
        num_workers=feeders,
        pin_memory=fabric.device.type == "cuda",
        timeout=task_seconds() if feeders else 0,
    )
    return fabric.setup_dataloaders(loader, use_distributed_sampler=False)


def _restore(
    resume: Resume, model: nn.Module, optimizer: Any, average: AveragedModel | None
) -> tuple[int, list[dict[str, float]]]:
    state = resume.load()
    if state is None:
        return 0, []
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if average is not None:
        average.load_state_dict(state["average"])
    say(f"resumed after epoch {state['epoch']}")
    return int(state["epoch"]), list(state["curve"])


def _keep(
    resume: Resume,
    model: nn.Module,
    optimizer: Any,
    average: AveragedModel | None,
    epoch: int,
    curve: list[dict[str, float]],
) -> None:
    resume.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average.state_dict() if average is not None else None,
            "epoch": epoch,
            "curve": curve,
        }
    )


def write_curve(path: Path, curve: Sequence[Mapping[str, float]]) -> None:
    """Write the loss curve as CSV, one row an epoch: what `dvc plots show` draws."""
    with write_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=["epoch", "loss", "learning_rate"])
        writer.writeheader()
        writer.writerows(curve)
