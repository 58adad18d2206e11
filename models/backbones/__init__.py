"""Backbones: photographs in, features at four strides out. One file per backbone."""

from collections.abc import Mapping

from torch import Tensor

from labelfactory.settings.registry import load_method
from models.backbones._base import Backbone, Features

__all__ = ["Backbone", "Features", "build_backbone"]


def build_backbone(name: str, *, output_stride: int, state: Mapping[str, Tensor] | None, pretrained: bool) -> Backbone:
    """Build a backbone, with ImageNet weights or random ones.

    Args:
        name: one of `registry.method_names("models.backbones")`.
        output_stride: 8, 16 or 32; the strides beyond it are replaced by dilation.
        state: weights under their published names (the package's, torchvision's). None with `pretrained` takes those
            of the network's package; None without it leaves the weights random.
        pretrained: whether the weights have seen ImageNet's tags; it becomes the backbone's `supervision`.

    Raises:
        ParamsError: no such backbone, a stride that it does not have, or no package with its weights.
        UserError: the weights belong to another network.
    """
    method = load_method("models.backbones", name)
    net: Backbone = method.build(output_stride=output_stride)
    if pretrained and state is None:
        state = method.published_weights()
    if state is not None:
        net.load_published(state)
    net.supervision = ("imagenet-tags",) if pretrained else ()
    return net
