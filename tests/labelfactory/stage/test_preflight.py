"""What would end a run hours later is refused before anything runs, in two parts."""

import hashlib

import pytest
from voc_folders import two_parts

from labelfactory.stage.runner import run_guarded


def test_what_would_fail_after_hours_is_checked_first(here, labelfactory):
    """A list that is to be scored, and files of weights: before the first stage runs."""
    labelfactory("import", "demo", "--count", "10")
    labelfactory("profile", "demo", "--set", "evaluate.lists=[train, vla]")
    problem, remedy = two_parts(labelfactory("run", code=2))
    assert "the list 'vla' has no image; did you mean `val`?" in problem
    assert "train, val" in remedy
    labelfactory("profile", "voc12-resnet50", "--set", "evaluate.lists=[train, val]")
    problem, remedy = two_parts(labelfactory("run", code=2))
    assert "train_classifier.weights: there are no weights at weights/resnet50.pth" in problem
    (here / "weights").mkdir()
    (here / "weights/resnet50.pth").write_bytes(b"other")
    problem, remedy = two_parts(labelfactory("run", code=2))
    assert hashlib.sha256(b"other").hexdigest() in problem
    assert "train_classifier.weights_sha256" in remedy
    assert not (here / "data/dataset").exists()
    assert run_guarded("prepare") == 2, "bare `dvc repro` asks as early"
    assert not (here / "data/dataset/images.parquet").exists()


@pytest.mark.parametrize(
    ("settings", "problem", "remedy"),
    [
        ("train_segmenter.backbone=efficientnet_lite1", "backbone is efficientnet_lite1, the classifier's", "the same"),
        (
            "train_segmenter.block=squeeze_excite",
            "block is {name: squeeze_excite, reduction: 16}, the classifier's none",
            "same",
        ),
        (
            "train_classifier.block=squeeze_excite train_segmenter.block=squeeze_excite train_segmenter.block.reduction=4",
            "reduction: 4}, the classifier's {name: squeeze_excite, reduction: 16}",
            "the same",
        ),
        (
            "train_classifier.block=squeeze_excite train_segmenter.block=squeeze_excite train_segmenter.block_taps=[c4,c5]",
            "block_taps is [c4, c5], the classifier's [c5]",
            "the same",
        ),
        ("train_segmenter.backbone=resnet50 train_segmenter.weights=package", "resnet50 has no weights", "random"),
        ("train_classifier.backbone=tiny", "the backbone tiny has no pretrained weights", "weights: random"),
        (
            "train_segmenter.weights=package train_segmenter.weights_supervision=[masks]",
            "train_segmenter: its weights have seen masks",
            "allow_supervision: [masks]",
        ),
        (
            "train_upper_bound.enabled=true",
            "no photograph on the list 'train' has a true mask",
            "train_upper_bound.enabled=false",
        ),
    ],
)
def test_settings_that_contradict_each_other_or_the_data_are_refused_first(
    here, labelfactory, settings, problem, remedy
):
    """Each would come to light in a stage that runs hours later."""
    labelfactory("import", "demo", "--count", "10")
    for mask in (here / "data/raw/demo/masks").iterdir():
        mask.unlink()
    labelfactory("profile", "demo", *[f"--set={setting}" for setting in settings.split()])
    said, mends = two_parts(labelfactory("run", code=2))
    assert problem in said
    assert remedy in mends
    assert not (here / "data/dataset").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected sections, found NoneType"),
        ("prepare:\n\ttrain_list: a", "not readable as YAML"),
        ("prepare: {train_list: a}\nprepare: {train_list: b}", "'prepare' appears twice"),
        (None, "params.yaml: no such file"),
    ],
    ids=["empty", "tab", "twice", "missing"],
)
@pytest.mark.parametrize("command", [["profile", "--seed", "1"], ["status"], ["run"]], ids=["profile", "status", "run"])
def test_a_damaged_params_file_is_named(here, labelfactory, command, text, problem):
    """By every command that reads it."""
    params = here / "params.yaml"
    params.unlink() if text is None else params.write_text(text)
    said, mends = two_parts(labelfactory(*command, code=2))
    assert problem in said
    assert mends
