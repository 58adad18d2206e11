"""ResNet-101, for weights in torchvision's format."""

from torch import Tensor

from models.backbones._resnet import ResNet, no_package


def build(*, output_stride: int) -> ResNet:
    """The network with random weights."""
    return ResNet((3, 4, 23, 3), output_stride=output_stride)


def published_weights() -> dict[str, Tensor]:
    """No package has them; they come from a path or URL.

    Raises:
        ParamsError: always.
    """
    raise no_package("resnet101")
