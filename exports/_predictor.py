"""Predictions of a trained segmenter, from its checkpoint alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelfactory.dataset.images import Photograph
from labelfactory.dataset.tensors import to_tensor
from labelfactory.devices import pick_device
from labelfactory.errors import DataError
from labelfactory.learning.checkpoints import load_checkpoint, read_text
from labelfactory.schema import Mask
from models.distance import TEXT, Distance, features_of
from models.segmenters import predict, segmenter_from

SCALES = (0.75, 1.0, 1.25)


class Predictor:
    """A segmenter that is loaded on this machine's device.

    Args:
        path: its checkpoint.
        scales: of the photograph, averaged.
        flip: also use the mirror image.

    Raises:
        MissingError: no such checkpoint.
        DataError: damaged, or not of a segmenter.
    """

    def __init__(self, path: Path, *, scales: Sequence[float] = SCALES, flip: bool = True) -> None:
        state, self.passport = load_checkpoint(path)
        if "net" not in self.passport.architecture:
            raise DataError(
                f"{path}: the weights of {self.passport.stage}, not of a segmenter", "Name a segmenter's checkpoint."
            )
        self.classes = ("background", *self.passport.classes)
        self.scales, self.flip = tuple(scales), flip
        self.device = pick_device()
        self.net = segmenter_from(self.passport.architecture, state).to(self.device)
        text = read_text(path, TEXT)
        try:
            self._distance = None if text is None else Distance.from_text(text)
        except ValueError as error:
            raise DataError(f"{path}: damaged: {error}", f"Delete {path} and type `dvc repro`.") from None

    def predict(self, photograph: Photograph) -> tuple[Mask, float]:
        """Segment one photograph.

        Args:
            photograph: [H, W, 3] uint8 RGB.

        Returns:
            [H, W] uint8 of class ids, never void, and the mean probability of the best class.
        """
        image = to_tensor(photograph)[None].to(self.device)
        best, labels = predict(self.net, image, scales=self.scales, flip=self.flip)[0].max(dim=0)
        return labels.cpu().numpy().astype(np.uint8), float(best.mean())

    def distance(self, photograph: Photograph) -> float | None:
        """How far a photograph, [H, W, 3] uint8 RGB, is from those that the segmenter learnt from.

        Returns:
            Above 1 it is farther than 99 % of them. None if the checkpoint does not know: an older one, or of few photographs.
        """
        if self._distance is None:
            return None
        return float(self._distance.of(features_of(self.net.backbone, [photograph], self.device))[0])
