"""EfficientNet-Lite1, with the ImageNet weights of a package; trained at 240 px."""

from torch import Tensor

from models.backbones._efficientnet_lite import EfficientNetLite
from models.backbones._weights import package_weights


def build(*, output_stride: int) -> EfficientNetLite:
    """The network with random weights."""
    return EfficientNetLite(width=1.0, depth=1.1, output_stride=output_stride)


def published_weights() -> dict[str, Tensor]:
    """Its ImageNet weights."""
    return package_weights("efficientnet_lite1")
