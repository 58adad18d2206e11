"""The backbone that a network starts from, as params.yaml names it."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from labelfactory.settings.params import Section
from labelfactory.settings.registry import choose, method_of
from models.backbones._base import Backbone
from models.backbones._fold import fold_norms
from models.backbones._weights import is_address, resnet_state, weights_file


class BackboneSection(Section):
    """Fields of every section that starts from a backbone."""

    backbone: method_of("models.backbones") = Field(description="network that gives the features")  # type: ignore[valid-type]
    block: method_of("models.blocks") = Field(  # type: ignore[valid-type]
        default="none",
        validate_default=True,
        description="attention module behind taps of the backbone; starts as the identity",
    )
    block_taps: tuple[Literal["c2", "c3", "c4", "c5"], ...] = Field(
        default=("c5",), description="features behind which a block stands"
    )
    output_stride: Literal[8, 16, 32] = Field(description="pixels to a cell of its last features, by dilation")
    weights: str = Field(
        description="what the backbone starts from: `package`, `random`, `classifier` (that of this line, in "
        "`train_segmenter`), or path or URL of a state dict in torchvision's format"
    )
    weights_sha256: str = Field(default="", description="SHA-256 of that file, 64 hex digits; empty without one")
    weights_supervision: list[str] = Field(
        default=["imagenet-tags"], description="kinds of labels that those weights have seen"
    )
    allow_supervision: list[str] = Field(
        default=[], description="kinds stronger than tags that may touch this line; shown in every report"
    )
    freeze_stages: int = Field(ge=0, le=8, description="stages after the stem that are frozen")
    fold_norms: bool = Field(
        description="fold pretrained batch norm into the convolutions before training: faster, other step sizes"
    )

    @model_validator(mode="after")
    def _weights_are_named(self) -> "BackboneSection":
        if self.weights in ("package", "random", "classifier"):
            return self
        if len(self.weights_sha256) != 64:
            raise ValueError("weights from a file or URL need weights_sha256: its 64 hex digits")
        return self

    def check_weights(self, name: str) -> None:
        """Check that the weights exist. A URL is left to the training: this machine may have no network.

        Args:
            name: of the section, for messages.

        Raises:
            ParamsError: there are none for this backbone, or the file has another digest.
            MissingError: their package or file is missing.
            UserError: the package's file holds no weights.
        """
        if self.weights == "package":
            self.backbone.module.published_weights()
        elif self.weights not in ("random", "classifier") and not is_address(self.weights):
            weights_file(self.weights, self.weights_sha256, setting=f"{name}.weights_sha256")

    @property
    def from_classifier(self) -> bool:
        """Whether the backbone starts from that of the line's own classifier."""
        return self.weights == "classifier"

    @property
    def parts(self) -> dict[str, Any]:
        """The backbone, and its blocks with their knobs and taps if it has any; JSON."""
        if self.block.name == "none":
            return {"backbone": self.backbone.name}
        block = self.block.model_dump(mode="json")
        return {"backbone": self.backbone.name, "block": block, "block_taps": list(self.block_taps)}

    @property
    def supervision(self) -> list[str]:
        """Kinds of labels that the starting weights have seen."""
        return [] if self.weights in ("random", "classifier") else sorted(self.weights_supervision)


def start_backbone(section: BackboneSection) -> Backbone:
    """Build the backbone of a section with its starting weights, frozen as the section says.

    Folding pretrained batch norm into the convolutions changes no value of the network, but an optimiser step then changes
    the product of both.
    """
    from models.backbones import build_backbone

    pretrained = section.weights != "random"
    from_file = pretrained and section.weights != "package"
    state = resnet_state(section.weights, section.weights_sha256) if from_file else None
    net = build_backbone(section.backbone.name, output_stride=section.output_stride, state=state, pretrained=pretrained)
    if pretrained and section.fold_norms:
        fold_norms(net)
    net.attach(section.block.bind("build"), section.block_taps)
    if pretrained:
        net.freeze(section.freeze_stages)
    return net


def backbone_architecture(section: BackboneSection) -> dict[str, Any]:
    """The input of `rebuild_backbone`, JSON."""
    return {
        **section.parts,
        "output_stride": section.output_stride,
        "folded": section.weights != "random" and section.fold_norms,
    }


def parts_of(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal where one network starts from the weights of another; as `BackboneSection.parts`."""
    return {part: architecture[part] for part in ("backbone", "block", "block_taps") if part in architecture}


def rebuild_backbone(architecture: dict[str, Any]) -> Backbone:
    """The backbone of a checkpoint, with weights yet to be loaded."""
    from models.backbones import build_backbone

    net = build_backbone(
        architecture["backbone"], output_stride=architecture["output_stride"], state=None, pretrained=False
    )
    if architecture["folded"]:
        fold_norms(net)
    net.attach(
        choose("models.blocks", architecture.get("block", "none")).bind("build"), architecture.get("block_taps", ())
    )
    return net
