"""The network's weights as constants, for methods that ask for gradients of features or of the photograph alone.

Else the backward pass works out the gradients of the weights too, which nobody reads: half of its time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def constant_weights(network: nn.Module) -> Iterator[None]:
    """No weight of the network learns inside; afterwards those that learnt before do again."""
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
