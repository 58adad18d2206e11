"""Tags alone: binary cross-entropy of every class.

Source  Multi-label soft margin loss as in Ahn & Kwak, CVPR 2018, arXiv:1803.10464.
"""

from labelfactory.learning.learner import Batch, Terms
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective


class Tags(Objective):
    """The classifier's logits against the tags."""

    def forward(self, batch: Batch) -> Terms:
        """The multi-label soft margin loss."""
        return {"tags": multilabel_soft_margin(self.network(batch["image"]), batch["target"])}
