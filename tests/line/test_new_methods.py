"""A method is one file: in a copy of the project each family gets one, with a knob, and the line runs with all of them."""

import json
from pathlib import Path

import pytest
from small_line import SMALL
from workspace import call, make_workspace

from labelfactory.learning.checkpoints import read_passport
from labelfactory.rows.shards import ShardFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KNOB = """
from pydantic import Field
from labelfactory.settings.registry import MethodConfig


class Config(MethodConfig):
    knob: int = Field(default=3, ge=1, description="of a test")

"""
METHODS = {
    "objectives": f'''"""Tags, and memory that grows with the epochs."""
import torch
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
{KNOB}
class Mine(Objective):
    reads = ("priors",)

    def __init__(self, network, config, *, targets, epochs):
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.register_buffer("seen", torch.zeros(len(targets)))

    def forward(self, batch):
        assert self.config.knob == 4
        assert batch["priors"].shape == batch["image"][:, 0].shape
        logits = self.network(batch["image"])
        return {{"tags": multilabel_soft_margin(logits, batch["target"]), "size": 0.001 * logits.square().mean()}}

    def after_epoch(self, epoch, look):
        with self.looking():
            for batch in look(65):
                self.seen[batch["index"]] += self.network(batch["image"]).sigmoid().max()
''',
    "priors": f'''"""How bright each pixel is."""
import numpy as np
{KNOB}
def prior_map(photograph, source, *, knob):
    assert knob == 4
    return photograph.mean(axis=2).astype(np.uint8)
''',
    "cams": f'''"""All that the network sees, of the photograph itself."""
{KNOB}
def image_maps(classifier, images, class_ids, *, knob):
    assert knob == 4
    return classifier.maps(images)[:, class_ids] + 0.1
''',
    "affinity_labels": f'''"""Strong evidence is the class, weak evidence the background."""
import numpy as np
{KNOB}
def confident_labels(image, cam, *, thresholds, scale, knob):
    assert knob == 4
    labels = np.full(image.shape[:2], 255, np.uint8)
    best = cam.max(axis=0, initial=0.0)
    labels[best < 0.3] = 0
    if len(cam):
        labels[best > 0.6] = (cam.argmax(axis=0) + 1)[best > 0.6]
    return labels
''',
    "affinity": f'''"""PSA's net with another loss term."""
from models.affinity import psa
{KNOB}
SIZES = {{"radius": 3, "depths": (4, 4, 4), "width": 8}}

def build(backbone, *, learn_backbone, knob):
    return psa.build(backbone, learn_backbone=learn_backbone, **SIZES)

def loss(network, batch, *, knob):
    assert knob == 4
    return {{**psa.loss(network, batch, **SIZES), "size": 0.001 * network(batch["image"]).square().mean()}}

transition = psa.transition
''',
    "propagation": f'''"""A single step."""
{KNOB}
def walk(scores, transition, *, knob):
    assert knob == 4
    return transition.apply(scores)
''',
    "refinement": f'''"""The scores beside the background's, as they are."""
from models.refinement._refined import scores_with_background
{KNOB}
def refine(image, scores, *, threshold, scale, knob):
    assert knob == 4
    probabilities = scores_with_background(scores, threshold) + 1e-6
    return probabilities / probabilities.sum(axis=0)
''',
    "segmenters": f'''"""One layer on c5."""
from torch import nn
from models.segmenters import Segmenter
{KNOB}
class Mine(Segmenter):
    def __init__(self, backbone, n_classes, knob):
        super().__init__(backbone, n_classes, stride=backbone.output_stride)
        self.classifier = nn.Conv2d(backbone.channels[3], n_classes, 2 * (knob // 2) + 1, padding=knob // 2)

    def decode(self, features):
        return features.c5

def build(backbone, n_classes, *, knob):
    return Mine(backbone, n_classes, knob)
''',
    "mask_objectives": f'''"""Cross-entropy, scaled."""
from models.losses.cross_entropy import cross_entropy
from models.mask_objectives import MaskObjective
{KNOB}
class Mine(MaskObjective):
    def forward(self, batch):
        return {{"scaled": self.config.knob * cross_entropy(self.logits(batch["image"]), batch["mask"])}}
''',
    "blocks": f'''"""A scale of each channel, 1 at the start."""
import torch
from torch import nn
{KNOB}
class Mine(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x * self.scale

def build(channels, *, knob):
    assert knob == 4
    return Mine(channels)
''',
    "backbones": '''"""The tiny one by another name."""
from models.backbones.tiny import build, published_weights
''',
}
CHOICES = {
    "make_priors.method": "priors",
    "train_classifier.objective": "objectives",
    "train_classifier.backbone": "backbones",
    "train_classifier.block": "blocks",
    "extract_cams.method": "cams",
    "label_affinity.method": "affinity_labels",
    "train_affinity.method": "affinity",
    "random_walk.method": "propagation",
    "refine_crf.method": "refinement",
    "train_segmenter.net": "segmenters",
    "train_segmenter.objective": "mask_objectives",
    "train_segmenter.backbone": "backbones",
    "train_segmenter.block": "blocks",
}


def chosen(family: str) -> dict[str, object]:
    return {"name": "mine"} | ({"knob": 4} if "class Config" in METHODS[family] else {})


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with one new file in each family, through which the line has run."""
    folder = make_workspace(tmp_path_factory.mktemp("methods") / "project", git=True)
    for family, text in METHODS.items():
        (folder / f"models/{family}/mine.py").write_text(text)
    settings = {f"{name}.{key}": value for name, keys in SMALL.items() for key, value in keys.items()}
    settings = {k: v for k, v in settings.items() if ".".join(k.split(".")[:2]) not in CHOICES}
    settings |= {key: json.dumps(chosen(family)) for key, family in CHOICES.items()}
    settings["random_walk.radius"] = 3
    call(folder, "labelfactory", "import", "demo", "--count", "24")
    call(folder, "labelfactory", "profile", "demo", *[f"--set={key}={value}" for key, value in settings.items()])
    call(folder, "labelfactory", "run")
    return folder


def test_every_family_is_tried():
    """A family that is added later fails here until it has its method above."""
    root = Path(__file__).resolve().parents[2] / "models"
    families = {path.parent.name for path in root.glob("*/__init__.py")} - {"losses"}
    assert families == set(METHODS)


def test_only_its_file_was_added(project):
    """No list, no dvc.yaml: git sees new files under models/ and the parameters."""
    changed = [line[3:] for line in call(project, "git", "status", "--porcelain", "-uall").splitlines()]
    expected = [f"models/{family}/mine.py" for family in METHODS]
    assert sorted(c for c in changed if not c.startswith(("data/", ".dvc", "dvc.lock"))) == sorted(
        [*expected, "params.yaml"]
    )


@pytest.mark.parametrize(
    ("noun", "field", "family"),
    [
        ("classifier", "objective", "objectives"),
        ("classifier", "backbone", "backbones"),
        ("classifier", "block", "blocks"),
        ("affinity", "method", "affinity"),
        ("segmenter", "net", "segmenters"),
        ("segmenter", "objective", "mask_objectives"),
    ],
)
def test_a_passport_names_method_and_knobs(project, noun, field, family):
    """The effective values."""
    assert read_passport(project / f"data/{noun}/checkpoint.safetensors").params[field] == chosen(family)


@pytest.mark.parametrize("noun", ["priors", "cams", "affinity_labels", "walks", "masks"])
def test_rows_were_made_by_them(project, noun):
    """None in quarantine, over a knob that did not arrive."""
    states = ShardFolder(project / "data" / noun).all_states()
    assert {state.status for state in states} == {"ok"}
    assert len(states) == 18


def test_terms_of_a_loss_are_curves(project):
    """Each in its column, beside the loss."""
    for noun, terms in (("classifier", ["tags", "size"]), ("affinity", ["affinity", "size"]), ("segmenter", [])):
        head = (project / f"data/{noun}/curve.csv").read_text().splitlines()[0]
        assert head.split(",") == ["epoch", "loss", "learning_rate", *terms]


def test_a_wrong_knob_is_refused_first(project):
    """With the nearest name and what to type."""
    said = call(project, "labelfactory", "profile", "--set=extract_cams.method.knbo=4", code=2)
    assert "extract_cams.method.knbo: unknown key; did you mean `knob`?" in said
