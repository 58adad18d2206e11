"""Gather what speaks for and against each mask, without its truth: how far the model and the walk agree with it.

Reads   data/dataset         photographs of the training list
        data/walks           scores [K, h, w] float16 in [0, 1], class_ids [K] uint8
        data/walk_threshold  background threshold
        data/masks           mask [H, W] uint8, 255 void; area; source
        data/predictions     mask [H, W] uint8; class_ids [K] uint8; probabilities [K, H/4, W/4] uint8, 255 is certain
Writes  data/evidence        class_ids [K] uint8, ascending: the background, the image's tags, the classes of mask and prediction;
                             tagged [K] uint8: 1 for background and tags. Each of the following [K] float32, areas as shares of
                             the image's pixels: area, and model_area of the prediction; intersection and union of the mask with
                             what the model expects; model_intersection and model_union of the prediction with that;
                             walk_intersection and walk_union of the mask with what the walk expects; common and either:
                             intersection and union of mask and prediction
                             parts int64: connected components of the mask's classes; void_share float32; source and mask_digest: of
                             the row of the mask
A grid of every fourth pixel is looked at, on which predictions are stored. What the model expects is renormalised over background
and tags: the tags are known to be right.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from labelfactory.digests import digest_payload
from labelfactory.rows.columns import ArrayColumn, NumberColumn, TextColumn
from labelfactory.rows.shards import Row, Sample
from labelfactory.schema import BACKGROUND, VOID, Mask
from labelfactory.settings.params import Section
from labelfactory.settings.thresholds import read_thresholds, thresholds_digest
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main
from models.evidence import Floats, among, soft_overlap
from models.seeds import scores_at_size

STRIDE = 4
"""Of the stored probabilities."""
PAIRS = ("", "model_", "walk_")
"""Prefixes of the columns intersection and union."""


class AssessMasksConfig(Section):
    """Section `assess_masks` of params.yaml; it has no parameters."""


class AssessMasks(PerImageStage[AssessMasksConfig]):
    """Makes the evidence on which the quality of masks rests."""

    reads = ("dataset", "walks", "walk_threshold", "masks", "predictions")
    writes = "evidence"
    reads_rows = ("walks", "masks", "predictions")
    columns = {
        "class_ids": ArrayColumn("uint8"),
        "tagged": ArrayColumn("uint8"),
        "area": ArrayColumn("float32"),
        "model_area": ArrayColumn("float32"),
        **{f"{prefix}{name}": ArrayColumn("float32") for prefix in PAIRS for name in ("intersection", "union")},
        "common": ArrayColumn("float32"),
        "either": ArrayColumn("float32"),
        "parts": NumberColumn("int64"),
        "void_share": NumberColumn(),
        "source": TextColumn(),
        "mask_digest": TextColumn(),
    }
    uses_gpu = False

    def fixed(self) -> dict[str, str]:
        """The background's threshold."""
        return {"threshold": thresholds_digest(self.folder("walk_threshold"))}

    def setup(self) -> None:
        """Read the threshold."""
        self.threshold = read_thresholds(self.folder("walk_threshold"))["background"].value

    def process(self, sample: Sample) -> Row:
        """The evidence on one mask."""
        tags = {BACKGROUND, *map(int, self.sharded.classes.ids(sample.record.tags))}
        masks, prediction = sample.of("masks"), sample.of("predictions")
        full = masks["mask"]
        mask, predicted = full[::STRIDE, ::STRIDE], prediction["mask"][::STRIDE, ::STRIDE]
        shown = (set(map(int, np.unique(mask))) | set(map(int, np.unique(predicted)))) - {VOID}
        class_ids = np.array(sorted(tags | shown), dtype=np.uint8)
        expected = self._of_model(prediction, class_ids, tags)
        model, walk = soft_overlap(mask, expected, class_ids), self._of_walk(sample, mask, class_ids)
        return {
            "class_ids": class_ids,
            "tagged": np.isin(class_ids, sorted(tags)).astype(np.uint8),
            "area": _areas(mask, class_ids),
            "model_area": _areas(predicted, class_ids),
            **_named("", model),
            **_named("model_", soft_overlap(predicted, expected, class_ids)),
            **_named("walk_", walk),
            "common": _shares([((mask == k) & (predicted == k)) for k in class_ids]),
            "either": _shares([((mask == k) | (predicted == k)) for k in class_ids]),
            "parts": sum(cv2.connectedComponents((mask == k).astype(np.uint8))[0] - 1 for k in class_ids if k),
            "void_share": (full == VOID).mean(),
            "source": masks["source"],
            "mask_digest": digest_payload(masks),
        }

    def _of_model(self, prediction: Row, class_ids: NDArray[np.uint8], tags: set[int]) -> Floats:
        """The model's probabilities of each class, [K, h, w], over background and tags; 0 for other classes."""
        stored = list(map(int, prediction["class_ids"]))
        known = sorted(tags)
        probabilities = prediction["probabilities"].astype(np.float32) / 255
        made = dict(zip(known, among(probabilities, [stored.index(k) for k in known]), strict=True))
        nothing = np.zeros(probabilities.shape[1:], dtype=np.float32)
        return np.stack([made.get(int(k), nothing) for k in class_ids])

    def _of_walk(self, sample: Sample, mask: Mask, class_ids: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """The overlap of a mask with a walk's scores, each divided by their sum with the background's threshold."""
        walk = sample.of("walks")
        scores = scores_at_size(walk["scores"], mask.shape)
        background = np.full((1, *mask.shape), self.threshold, dtype=np.float32)
        shares = among(np.concatenate([background, scores]), range(1 + len(scores)))
        made = dict(zip([BACKGROUND, *map(int, walk["class_ids"])], shares, strict=True))
        nothing = np.zeros(mask.shape, dtype=np.float32)
        return soft_overlap(mask, np.stack([made.get(int(k), nothing) for k in class_ids]), class_ids)


def _named(prefix: str, overlap: tuple[Floats, Floats]) -> dict[str, Floats]:
    return {f"{prefix}intersection": overlap[0], f"{prefix}union": overlap[1]}


def _areas(mask: Mask, class_ids: NDArray[np.uint8]) -> Floats:
    return _shares([mask == k for k in class_ids])


def _shares(regions: list[NDArray[np.bool_]]) -> Floats:
    """The share of pixels in each region."""
    return np.array([region.mean() for region in regions], dtype=np.float32)


if __name__ == "__main__":
    main(AssessMasks)
