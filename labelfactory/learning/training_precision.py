"""The precision of a training: for `auto`, a step in 32 bits against a step in bfloat16."""

from copy import deepcopy
from functools import reduce
from operator import add

import numpy as np
import torch
from torch.utils.data import default_collate

from labelfactory.devices import FabricPrecision, cores, keep_freed_memory, pick_device
from labelfactory.learning.batches import Examples
from labelfactory.learning.learner import Batch, Learner
from labelfactory.learning.resume import Resume
from labelfactory.learning.training import TrainingSection
from labelfactory.measured_precision import quicker_precision

SMALL_BATCH = 4
"""Examples in a step that is timed: the ratio of the two precisions is about that of a whole batch."""


def training_precision(learner: Learner, examples: Examples, cfg: TrainingSection, resume: Resume) -> FabricPrecision:
    """The precision that the section asks for; for `auto`, that of the finished epochs, or the quicker one on this machine.

    Neither the learner nor the state of random numbers is changed.

    Args:
        learner: as for `fit`.
        examples: the training set.
        cfg: precision, batch size, seed.
        resume: the state of a training that was interrupted.
    """
    if cfg.precision != "auto":
        return cfg.precision
    if (begun := resume.kept_precision()) is not None:
        return begun
    device = pick_device()
    if device.type == "cpu":
        torch.set_num_threads(cores())
        keep_freed_memory()  # as the training does
    timed: list[tuple[Learner, Batch]] = []  # made at the first turn: where an answer is kept, none is needed

    def turn(precision: FabricPrecision) -> None:
        if not timed:
            timed.append((deepcopy(learner).to(device).train(), _batch(learner, examples, cfg, device)))
        copied, batch = timed[0]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = reduce(add, copied(batch).values())
            loss.backward()
        copied.zero_grad()

    return quicker_precision(learner, "training", device, turn)


def _batch(learner: Learner, examples: Examples, cfg: TrainingSection, device: torch.device) -> Batch:
    """The first examples, or the first that belong together."""
    size = min(cfg.batch_size, SMALL_BATCH, len(examples))
    groups = learner.groups(size, np.random.default_rng([cfg.seed, 0]))
    members = range(size) if groups is None else groups[0]
    read = [examples.get(index, np.random.default_rng([cfg.seed, 0, index])) for index in members]
    batch: Batch = default_collate(read)
    return {name: value.to(device) for name, value in batch.items()}
