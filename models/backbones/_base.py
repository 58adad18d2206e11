"""The base class of every backbone: normalisation, the four taps, freezing, and dilation in place of stride.

A stride-2 layer computes every other position of its input. Without the stride it computes all of them, and later layers
have twice the dilation: at the positions that the stride would have kept, the values are the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from labelfactory.errors import ParamsError, ShapeError, UserError


class Features(NamedTuple):
    """Feature maps of one batch: [B, channels, ceil(H / stride), ceil(W / stride)] at strides 4, 8, ≤ 16, ≤ 32."""

    c2: Tensor
    c3: Tensor
    c4: Tensor
    c5: Tensor


TAPS = ("c2", "c3", "c4", "c5")


class StridePlan:
    """Decides, layer by layer, between stride and dilation, so that the net ends at `output_stride`."""

    def __init__(self, output_stride: int, *, start: int) -> None:
        if output_stride not in (8, 16, 32):
            raise ParamsError(f"output_stride must be 8, 16 or 32, not {output_stride}")
        self.limit = output_stride
        self.stride = start
        self.dilation = 1

    def step(self, stride: int) -> tuple[int, int, int]:
        """Return (stride, dilation) of a stage's first spatial convolution, and the dilation of the later ones.

        The convolution that loses its stride still reads the undilated grid, so it keeps the dilation before it.
        """
        before = self.dilation
        if self.stride * stride <= self.limit:
            self.stride *= stride
            return stride, before, before
        self.dilation *= stride
        return 1, before, self.dilation


class Backbone(nn.Module):
    """A network that gives features at four strides.

    A subclass sets `channels`, `head_channels` and `taps`, and defines `stem` and `stages`.

    Attributes:
        channels: of c2, c3, c4 and c5.
        head_channels: of `head(c5)`.
        output_stride: of c5.
        supervision: kinds of labels that have touched the weights.
        attached: blocks behind taps, by the tap's name.
    """

    channels: tuple[int, int, int, int]
    head_channels: int
    taps: tuple[int, int, int, int]  # the stages that give c2 .. c5
    mean: Tensor
    std: Tensor

    def __init__(self, *, output_stride: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.supervision: tuple[str, ...] = ()
        self.frozen = False
        self.attached = nn.ModuleDict()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def stem(self) -> Sequence[nn.Module]:
        """Modules before the first stage, in order."""
        raise NotImplementedError

    def stages(self) -> Sequence[nn.Module]:
        """The stages, in order."""
        raise NotImplementedError

    def published_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename published weights to this network's names, without those of its ImageNet classifier."""
        return dict(state)

    def forward(self, images: Tensor) -> Features:
        """Compute the features of images [B, 3, H, W], RGB in [0, 255].

        Raises:
            ShapeError: the images have another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ShapeError(f"images must be [B, 3, H, W], not {list(images.shape)}")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
            for module in self.stem():
                x = module(x)
        taps: list[Tensor] = []
        for index, stage in enumerate(self.stages()):
            x = stage(x)
            if index in self.taps:
                name = TAPS[len(taps)]
                x = self.attached[name](x) if name in self.attached else x
                taps.append(x)
        return Features(*taps)

    def head(self, c5: Tensor) -> Tensor:
        """Map c5 to the features that a classifier reads, [B, head_channels, h, w]; by default c5 itself."""
        return c5

    def attach(self, build: Callable[[int], nn.Module | None], taps: Sequence[str] = TAPS) -> None:
        """Insert a block behind taps, such as ``c5``, after published weights are loaded.

        Args:
            build: of the tap's channels → the block, or None for none.
            taps: names of the taps.
        """
        for name, channels in zip(TAPS, self.channels, strict=True):
            block = build(channels) if name in taps else None
            if block is not None:
                self.attached[name] = block

    def published_parameters(self) -> list[nn.Parameter]:
        """Parameters without those of attached blocks, which are new."""
        new = {id(p) for p in self.attached.parameters()}
        return [p for p in self.parameters() if id(p) not in new]

    def freeze(self, depth: int) -> None:
        """Freeze the stem, the first `depth` stages, and every batch norm (statistics and affine parameters).

        Frozen stages run without a graph. Batch norm stays in evaluation mode also after `.train()`.
        """
        stages = self.stages()
        if not 0 <= depth <= len(stages):
            raise ParamsError(f"cannot freeze {depth} stages: this backbone has {len(stages)}")
        self.frozen = True
        norms = [m for m in self.modules() if isinstance(m, _BatchNorm)]
        for module in (*self.stem(), *stages[:depth], *norms):
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Set training mode, but leave frozen batch norm in evaluation mode."""
        super().train(mode)
        if self.frozen:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Load weights under their published names.

        Raises:
            UserError: a weight is missing, left over, or of another shape.
        """
        ours = self.state_dict()
        theirs = self.published_names(state)
        missing = [k for k in ours if k not in theirs and not k.endswith("num_batches_tracked")]
        surplus = [k for k in theirs if k not in ours]
        shapes = [k for k in ours if k in theirs and ours[k].shape != theirs[k].shape]
        for problem, keys in (("lack", missing), ("hold unknown", surplus), ("have other shapes for", shapes)):
            if keys:
                raise UserError(
                    f"the weights {problem} {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else ""),
                    "Give the weights of the backbone that params.yaml names.",
                )
        self.load_state_dict(theirs, strict=False)
