"""Segmentation nets: `build(backbone, n_classes, **knobs)` in one file per net, and inference over scales and flips."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from labelfactory.settings.registry import choose
from models.backbones import Backbone
from models.backbones._choice import rebuild_backbone
from models.segmenters._base import Segmenter
from models.segmenters._inference import predict

__all__ = ["Segmenter", "build_segmenter", "predict", "segmenter_from"]


def build_segmenter(backbone: Backbone, architecture: Mapping[str, Any]) -> Segmenter:
    """A net over a backbone, with a new head; `net` and `classes` come from the architecture.

    An older checkpoint has `width` and `rates` beside the net's name.
    """
    chosen = architecture["net"]
    if isinstance(chosen, str):
        chosen = {"name": chosen} | {knob: architecture[knob] for knob in ("width", "rates") if knob in architecture}
    net: Segmenter = choose("models.segmenters", chosen).bind("build")(backbone, architecture["classes"])
    return net


def segmenter_from(architecture: dict[str, Any], state: Mapping[str, Tensor]) -> Segmenter:
    """The net of a checkpoint, in evaluation mode on the CPU."""
    net = build_segmenter(rebuild_backbone(architecture), architecture)
    net.load_state_dict(dict(state))
    return net.eval()
