"""Mixed precision for inference, as Lightning Fabric has it for training."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from labelfactory.devices import FabricPrecision, Precision
from labelfactory.measured_precision import computed_in, quicker_precision

_DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def inference_precision(precision: Precision, network: nn.Module, images: Tensor) -> AbstractContextManager[object]:
    """A context in which a network computes in the given precision; weights stay float32.

    Args:
        precision: `auto` is measured where this machine has not done so yet for this network.
        network: with its weights on the device of the images.
        images: [B, 3, H, W], of the size at hand; the network takes them.
    """
    chosen = chosen_precision(precision, network, images)
    computed_in.add(chosen)
    return _computing(chosen, images.device)


def chosen_precision(precision: Precision, network: nn.Module, images: Tensor) -> FabricPrecision:
    """The precision of forward passes; arguments as for `inference_precision`."""

    @torch.no_grad()
    def turn(candidate: FabricPrecision) -> None:
        with _computing(candidate, images.device):
            network(images)

    return precision if precision != "auto" else quicker_precision(network, "inference", images.device, turn)


def _computing(precision: FabricPrecision, device: torch.device) -> AbstractContextManager[object]:
    dtype = _DTYPES[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)
