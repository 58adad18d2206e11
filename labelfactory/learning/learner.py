"""What a training loop trains: the network to be kept, and the parts that only training needs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

Batch = dict[str, Tensor]
Terms = Mapping[str, Tensor]
"""Name → scalar. Their sum is the loss; each is a curve in the report."""
Look = Callable[[int], Iterator[Batch]]
"""Long side in pixels → every training example whole and without augmentation, in order, in batches of one on the device:
``image`` [1, 3, h, w], ``target`` and ``index`` [1]."""


class Learner(nn.Module):
    """A network and its loss. All state that lasts from step to step is a parameter, a buffer or a module, so that an
    interrupted training resumes to the same bits.

    Attributes:
        network: the network to be kept; other parts (heads, a frozen copy, memory) are for training alone.
    """

    network: nn.Module
    share_multiple: ClassVar[int] = 1
    """Several devices may share a batch, each a multiple of this many images: their loss equals that of one device up to
    rounding. 2 where the loss compares neighbours; 0 where it is random or compares all images: it trains on one device."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Terms:
        """The loss of a batch, term by term; called in training mode, under the training's precision."""
        raise NotImplementedError

    def groups(self, size: int, rng: np.random.Generator) -> Sequence[Sequence[int]] | None:
        """Which examples share a batch in an epoch: lists of `size` indices. None: a random order, cut into batches.

        Args:
            size: examples in a batch.
            rng: source of every choice; a function of seed and epoch.
        """
        return None

    def after_epoch(self, epoch: int, look: Look) -> None:
        """Update memory, clusters or frozen copies. On several devices every process does the same.

        Args:
            epoch: number of finished epochs, from 1.
            look: iterates over the training set without augmentation.
        """


class LossLearner(Learner):
    """A network under a loss that is a function of network and batch."""

    def __init__(self, network: nn.Module, loss: Callable[[nn.Module, Batch], Terms]) -> None:
        super().__init__(network)
        self.loss = loss

    def forward(self, batch: Batch) -> Terms:
        """The function's terms."""
        return self.loss(self.network, batch)
