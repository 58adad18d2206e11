"""A segmenter on whole photographs with the settings of the line: the one way for rows, scores, exports, pages and `predict`."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from labelfactory.devices import Precision
from labelfactory.digests import digest_json
from models.autocast import inference_precision
from models.segmenters._base import Segmenter
from models.segmenters._inference import predict


@dataclass(frozen=True)
class Inference:
    """How a segmenter is run on a photograph.

    Attributes:
        scales: of the photograph at its input, averaged.
        flip: also run the mirror image.
        precision: of the network.
    """

    scales: tuple[float, ...]
    flip: bool
    precision: Precision

    @property
    def digest(self) -> str:
        """SHA-256 of these settings."""
        return digest_json(asdict(self))


def probabilities_of(segmenter: Segmenter, photograph: Tensor, inference: Inference) -> Tensor:
    """The class probabilities of one photograph.

    Args:
        segmenter: in evaluation mode.
        photograph: [3, H, W], RGB in [0, 255], on any device.
        inference: the settings.

    Returns:
        [n_classes, H, W] float32 on the segmenter's device, summing to 1 over the classes.
    """
    image = photograph[None].to(next(segmenter.parameters()).device)
    with inference_precision(inference.precision, segmenter, image, scale=min(inference.scales)):
        return predict(segmenter, image, scales=inference.scales, flip=inference.flip)[0]


def best_of(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable class of each pixel.

    Args:
        probabilities: [n_classes, H, W].

    Returns:
        [H, W] uint8 of class ids, and the probability of each, [H, W].
    """
    return probabilities.argmax(dim=0).to(torch.uint8), probabilities.amax(dim=0)
