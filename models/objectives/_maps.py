"""CAMs relative to their maxima, as objectives compare and threshold them."""

from torch import Tensor

EPSILON = 1e-5


def relative(evidence: Tensor) -> Tensor:
    """The positive part of evidence [B, C, h, w], each map divided by its maximum: float32 in [0, 1); 0 where there is none."""
    positive = evidence.float().relu()
    return positive / (positive.amax(dim=(2, 3), keepdim=True) + EPSILON)


def tagged_mean(values: Tensor, target: Tensor) -> Tensor:
    """Mean over positions and classes of values [B, C, h, w], in which classes that are not tagged count as 0; a scalar."""
    return (values.mean(dim=(2, 3)) * target).mean()
