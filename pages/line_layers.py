"""The layers that an image can have, from the graph of the line: class scores, their cuts, masks, prediction, true mask."""

from dataclasses import dataclass
from pathlib import Path

from labelfactory.learning.checkpoints import CHECKPOINT
from labelfactory.settings.wiring import DATA, StageWiring, read_wiring


@dataclass(frozen=True)
class Layer:
    """Something that can be laid over a photograph.

    Attributes:
        kind: its name in URLs; for heat, `-<class id>` follows.
        name, gloss: for people.
        maker: the stage whose rows it shows; None for the prediction and the true mask.
        heat: whether it shows class scores, one class at a time; else a mask.
        score: the name of its mIoU; empty for none.
    """

    kind: str
    name: str
    gloss: str
    maker: StageWiring | None = None
    heat: bool = False
    score: str = ""


def layers_of_line() -> dict[str, Layer]:
    """Layers by kind: class scores, their cuts and masks of the row outputs in the line's order, prediction, true mask."""
    wiring = read_wiring()
    layers: list[Layer] = []
    for maker in wiring.scored:
        scores, kind = maker.meta.scores, maker.word.lower().replace(" ", "_")
        if maker.meta.kind != "rows" or scores.reference:
            continue
        heat, own_score = bool(scores.thresholds), "" if scores.cut else scores.name
        layers.append(Layer(kind, maker.word, maker.meta.gloss, maker, heat, own_score))
        if scores.cut:
            gloss = f"the {maker.word}, cut at its threshold"
            layers.append(Layer(scores.cut, scores.cut, gloss, maker, score=scores.name))
    model = wiring.model.meta.scores.name
    layers.append(
        Layer("prediction", "prediction", "the mask that the model on disk gives the photograph", score=model)
    )
    layers.append(Layer("truth", "truth", "the true mask, as evaluate scored it"))
    return {layer.kind: layer for layer in layers}


def model_file() -> Path:
    """The checkpoint of the model that people use."""
    return DATA / read_wiring().model.noun / CHECKPOINT
