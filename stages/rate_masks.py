"""Rate each mask without its truth: the IoU with it that the evidence lets one expect, for each class and on the whole.

Reads   data/dataset    class names
        data/evidence   what speaks for and against each mask
Writes  data/quality    quality float32 in [0, 1]: the expected mIoU over background, tags and the classes in the mask; 0 for a
                        mask that shows none of its image's tags, 1 for one that a person drew. class_ids [K] uint8 as in
                        evidence; of each: expected_iou [K] float32; intersection, union and model_intersection, model_union
                        [K] float32: expected areas of mask and truth, of prediction and truth, as shares of the image's pixels.
                        mask_digest: of the row of the mask
"""

from typing import Any

from labelfactory.console import say
from labelfactory.dataset.corrections import HUMAN
from labelfactory.rows.columns import ArrayColumn, NumberColumn, TextColumn
from labelfactory.rows.quality_falls import ALL, Spread, falls, new_ones, spreads
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main
from models.quality import drawn, expected

AREAS = ("intersection", "union", "model_intersection", "model_union")


class RateMasksConfig(Section):
    """Section `rate_masks` of params.yaml; it has no parameters."""


class RateMasks(PerImageStage[RateMasksConfig]):
    """Makes the quality of the masks."""

    reads = ("dataset", "evidence")
    writes = "quality"
    reads_rows = ("evidence",)
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

    def process(self, sample: Sample) -> Row:
        """The quality of one mask."""
        evidence = sample.of("evidence")
        found = drawn(evidence) if evidence["source"] == HUMAN else expected(evidence)
        return {
            "quality": found.quality,
            "class_ids": evidence["class_ids"],
            "expected_iou": found.iou,
            **{name: getattr(found, name) for name in AREAS},
            "mask_digest": evidence["mask_digest"],
        }


if __name__ == "__main__":
    main(RateMasks)
