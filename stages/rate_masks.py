"""Rate each mask without its truth: the IoU with it that the evidence lets one expect, for each class and on the whole.

Reads   data/dataset    class names
        data/evidence   what speaks for and against each mask
Writes  data/quality    quality float32 in [0, 1]: the expected mIoU over background, tags and the classes in the mask; 0 for a
                        mask that shows none of its image's tags, 1 for one that a person drew. class_ids [K] uint8 as in
                        evidence; of each: expected_iou [K] float32; intersection, union and model_intersection, model_union
                        [K] float32: expected areas of mask and truth, of prediction and truth, as shares of the image's pixels.
                        mask_digest: of the row of the mask
"""

from labelfactory.dataset.corrections import HUMAN
from labelfactory.rows.columns import ArrayColumn, NumberColumn, TextColumn
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
