"""The base class of every segmentation net."""

from torch import Tensor, nn

from labelfactory.errors import ShapeError
from models.backbones import Backbone, Features


class Segmenter(nn.Module):
    """A net is head(decode(backbone(images))).

    Images [B, 3, H, W], RGB in [0, 255], to logits [B, n_classes, ceil(H / stride), ceil(W / stride)].

    Train on crops whose sides are k × backbone.output_stride + 1: on them the grid is aligned (models.grids), and
    `models.grids.resample(logits, stride=net.stride, image_size=(H, W), size=(H, W))` gives one value per pixel.

    Attributes:
        backbone: the pretrained part; all other weights start at random.
        stride: of the logits.
    """

    def __init__(self, backbone: Backbone, n_classes: int, *, stride: int) -> None:
        super().__init__()
        if n_classes < 2:
            raise ShapeError(f"a segmenter needs the background and at least one class, not {n_classes} classes")
        self.backbone = backbone
        self.n_classes = n_classes
        self.stride = stride

    classifier: nn.Module
    """The last layer of a net without another head."""

    def decode(self, features: Features) -> Tensor:
        """Decode the backbone's features: [B, D, h, w] at `stride`."""
        raise NotImplementedError

    def head(self, decoded: Tensor) -> Tensor:
        """Logits [B, n_classes, h, w] of decoded features: the layer `classifier`, unless a net has another head."""
        logits: Tensor = self.classifier(decoded)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, n_classes, ceil(H / stride), ceil(W / stride)]."""
        return self.head(self.decode(self.backbone(images)))
