"""Rate each mask without its truth: the IoU with it that the model and the walk let one expect, for each class and on the whole.

Reads   data/dataset         photographs of the training list
        data/walks           scores [K, h, w] float16 in [0, 1], class_ids [K] uint8
        data/walk_threshold  background threshold
        data/masks           mask [H, W] uint8, 255 void; source
        data/predictions     mask [H, W] uint8; class_ids [K] uint8; probabilities [K, H/4, W/4] uint8, 255 is certain
Writes  data/quality         quality float32 in [0, 1]: the expected mIoU over background, tags and the classes in the mask; 0 for a
                             mask that shows none of its image's tags, 1 for one that a person drew. class_ids [K] uint8, ascending:
                             the background, the tags, the classes of mask and prediction; of each, float32 [K]: expected_iou;
                             intersection, union and model_intersection, model_union: expected areas of mask and truth, of
                             prediction and truth, as shares of the image's pixels. mask_digest: of the row of the mask
A grid of every fourth pixel is looked at, on which predictions are stored. No class is expected that the image's tags do not name.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfactory.console import say
from labelfactory.dataset.corrections import HUMAN
from labelfactory.digests import digest_payload
from labelfactory.rows.columns import ArrayColumn, NumberColumn, TextColumn
from labelfactory.rows.quality_falls import ALL, Spread, falls, new_ones, spreads
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import Row, Sample
from labelfactory.schema import BACKGROUND, VOID, Mask
from labelfactory.settings.params import Section
from labelfactory.settings.thresholds import read_thresholds, thresholds_digest
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main
from models.quality import Floats, expected_overlap, joined, overlap
from models.seeds import scores_at_size

STRIDE = 4
"""Of the stored probabilities."""
AREAS = ("intersection", "union", "model_intersection", "model_union")


class RateMasksConfig(Section):
    """Section `rate_masks` of params.yaml; it has no parameters."""


class RateMasks(PerImageStage[RateMasksConfig]):
    """Makes the quality of the masks."""

    reads = ("dataset", "walks", "walk_threshold", "masks", "predictions")
    writes = "quality"
    reads_rows = ("walks", "masks", "predictions")
    columns = {
        "quality": NumberColumn(),
        "class_ids": ArrayColumn("uint8"),
        "expected_iou": ArrayColumn("float32"),
        **{name: ArrayColumn("float32") for name in AREAS},
        "mask_digest": TextColumn(),
    }
    uses_gpu = False
    on_cluster = False  # it compares the rows of before with those that it makes

    def run(self) -> dict[str, Any]:
        """Rate what is not rated, and say whether quality fell since the run before."""
        known, known_by_class = self._qualities()
        metrics = super().run()
        qualities, by_class = self._qualities()
        before, after = spreads(known, known_by_class), spreads(qualities, by_class)
        new = [value for image_id, value in qualities.items() if image_id not in known]
        old = [value for image_id, value in qualities.items() if image_id in known]
        found = falls(before, after) + (new_ones(Spread.of(old), Spread.of(new)) if new and old else [])
        for sentence in found:
            say(f"{self.stage_name()}: {sentence}")
        mean = {"quality": round(after[ALL].mean, 4)} if ALL in after else {}
        return {**metrics, **mean, "falls": found}

    def _qualities(self) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Image id → quality, and class → image id with that tag → expected IoU."""
        rows = RowReader(self.output)
        names, tags = self.sharded.classes.with_background, {}
        for shard in self.sharded.counts:
            tags.update({record.image_id: set(record.tags) for record in self.sharded.records(shard)})
        ids, ious = rows.values("class_ids"), rows.values("expected_iou")
        by_class: dict[str, dict[str, float]] = {name: {} for name in names[1:]}
        for image_id, found in ids.items():
            for k, iou in zip(found, ious[image_id], strict=True):
                if names[k] in tags.get(image_id, ()):
                    by_class[names[k]][image_id] = float(iou)
        return {image_id: float(value) for image_id, value in rows.values("quality").items()}, by_class

    def fixed(self) -> dict[str, str]:
        """The background's threshold."""
        return {"threshold": thresholds_digest(self.folder("walk_threshold"))}

    def setup(self) -> None:
        """Read the threshold."""
        self.threshold = read_thresholds(self.folder("walk_threshold"))["background"].value

    def process(self, sample: Sample) -> Row:
        """The quality of one mask."""
        row, known = sample.of("masks"), [BACKGROUND, *map(int, self.sharded.classes.ids(sample.record.tags))]
        mask, predicted = (sample.of(noun)["mask"][::STRIDE, ::STRIDE] for noun in ("masks", "predictions"))
        shown = (set(map(int, np.unique(mask))) | set(map(int, np.unique(predicted)))) - {VOID}
        class_ids = np.array(sorted({*known, *shown}), dtype=np.uint8)
        if row["source"] == HUMAN:
            of_mask, of_model, quality = overlap(mask, mask, class_ids), overlap(predicted, mask, class_ids), 1.0
        else:
            expected = self._expected(sample, mask.shape, known, class_ids)
            of_mask, of_model = (expected_overlap(labels, expected, class_ids) for labels in (mask, predicted))
            quality = 0.0 if _is_empty(mask, known) else of_mask.iou[_counted(mask, known, class_ids)].mean()
        return {
            "quality": quality,
            "class_ids": class_ids,
            "expected_iou": of_mask.iou,
            "intersection": of_mask.intersection,
            "union": of_mask.union,
            "model_intersection": of_model.intersection,
            "model_union": of_model.union,
            "mask_digest": digest_payload(row),
        }

    def _expected(
        self, sample: Sample, size: tuple[int, ...], known: list[int], class_ids: NDArray[np.uint8]
    ) -> Floats:
        """The chance of each class at each place of the grid, [K, h, w]; 0 for classes that the image's tags do not name."""
        prediction, walk = sample.of("predictions"), sample.of("walks")
        stored = list(map(int, prediction["class_ids"]))
        model = prediction["probabilities"][[stored.index(k) for k in known]].astype(np.float32)
        walked = np.zeros((len(known), *size), dtype=np.float32)
        walked[0] = self.threshold
        for k, scores in zip(walk["class_ids"], scores_at_size(walk["scores"], (size[0], size[1])), strict=True):
            walked[known.index(int(k))] = scores
        expected = np.zeros((len(class_ids), *size), dtype=np.float32)
        expected[np.searchsorted(class_ids, known)] = joined(model, walked)
        return expected


def _is_empty(mask: Mask, known: list[int]) -> bool:
    """Whether a mask shows none of the image's tags, though it has some."""
    return len(known) > 1 and not np.isin(mask, known[1:]).any()


def _counted(mask: Mask, known: list[int], class_ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The classes of a mask's quality, [K]: background, tags, and what it shows; not those of the prediction alone."""
    counted: NDArray[np.bool_] = np.isin(class_ids, known) | np.isin(class_ids, mask)
    return counted


if __name__ == "__main__":
    main(RateMasks)
