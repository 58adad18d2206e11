"""Mixed precision for inference, as Lightning Fabric has it for training."""

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelfactory.devices import FabricPrecision, Precision
from labelfactory.measured_precision import computed_in, quicker_precision

LEAST_SIDE = 32
"""Pixels below which no image is made smaller to be measured: a network's strides would leave nothing of it."""
_DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def inference_precision(
    precision: Precision, network: nn.Module, images: Tensor, *, scale: float = 1.0
) -> AbstractContextManager[object]:
    """A context in which a network computes in the given precision; weights stay float32.

    Args:
        precision: `auto` is measured where this machine has not done so yet for this network.
        network: with its weights on the device of the images.
        images: [B, 3, H, W], of the size at hand.
        scale: at which the network takes them, the least if there are several: measuring needs no more memory than the work.
    """
    chosen = chosen_precision(precision, network, images, scale=scale)
    computed_in.add(chosen)
    return _computing(chosen, images.device)


def chosen_precision(
    precision: Precision, network: nn.Module, images: Tensor, *, scale: float = 1.0
) -> FabricPrecision:
    """The precision of forward passes; arguments as for `inference_precision`."""

    @torch.no_grad()
    def turn(candidate: FabricPrecision) -> None:
        factor = min(max(scale, LEAST_SIDE / min(images.shape[2:])), max(scale, 1.0)) if scale != 1 else 1.0
        resized = images if factor == 1 else F.interpolate(images, scale_factor=factor, mode="nearest")
        with _computing(candidate, images.device):
            network(resized)

    return precision if precision != "auto" else quicker_precision(network, "inference", images.device, turn)


def _computing(precision: FabricPrecision, device: torch.device) -> AbstractContextManager[object]:
    dtype = _DTYPES[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)
