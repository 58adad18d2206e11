"""Mixed precision for inference, as Lightning Fabric has it for training."""

from contextlib import AbstractContextManager

import torch

from labelfactory.devices import Precision, precision_on

_DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def inference_precision(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A context in which networks compute in the given precision; weights stay float32."""
    dtype = _DTYPES[precision_on(device, precision)]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)
