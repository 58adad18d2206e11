"""Predictions of a trained segmenter, from its checkpoint alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelfactory.console import first_of
from labelfactory.dataset.images import Photograph
from labelfactory.dataset.tensors import to_tensor
from labelfactory.devices import pick_device
from labelfactory.errors import DataError
from labelfactory.learning.checkpoints import load_checkpoint, read_text
from labelfactory.schema import Mask
from models.distance import TEXT, Distance, features_of
from models.segmenters import predict, segmenter_from

SCALES = (0.75, 1.0, 1.25)
SHOWN = 5


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
        self._path = path
        self.scales, self.flip = tuple(scales), flip
        self.device = pick_device()
        self.net = segmenter_from(self.passport.architecture, state).to(self.device)
        text = read_text(path, TEXT)
        try:
            self._distance = None if text is None else Distance.from_text(text)
        except ValueError as error:
            raise DataError(f"{path}: damaged: {error}", f"Delete {path} and type `dvc repro`.") from None

    def refuse_other_classes(self, classes: Sequence[str]) -> None:
        """Refuse to predict for a data set with other classes: its names would stand on the ids of those that were learnt.

        Args:
            classes: of the data set by class id, the background first.

        Raises:
            DataError: they are not those of the segmenter, in the same order.
        """
        if self.classes != tuple(classes):
            raise DataError(
                f"{self._path}: trained for {_listed(self.classes)}; the data set has {_listed(classes)}",
                "Type `labelfactory run`: it trains the segmenter for the classes of the data set.",
            )

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


def _listed(classes: Sequence[str]) -> str:
    """Names of classes without the background, the first of them."""
    return f"the classes {first_of(classes[1:], SHOWN)}"
