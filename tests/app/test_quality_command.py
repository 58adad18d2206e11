"""`labelfactory quality`: what a person reads, and what a program reads."""

import json

import pytest
from made_line import MadeLine
from rated import rate

from app.quality import quality
from labelfactory.dataset.prepared import read_dataset
from labelfactory.errors import MissingError


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """Four photographs (tags: none, cat, dog, both); nothing is rated yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return MadeLine()


def test_before_a_run_it_says_what_to_type(line):
    with pytest.raises(MissingError, match="no mask has a quality yet") as caught:
        quality()
    assert "labelfactory run" in str(caught.value.remedy)


def test_a_person_reads_classes_the_worst_and_what_would_tell(line, capsys):
    dataset = read_dataset()
    rated = {"image-0": 1.0, "image-1": 0.5, "image-3": 0.25}
    of_classes = {"image-0": {0: 1.0}, "image-1": {0: 0.8, 1: 0.2}, "image-3": {0: 0.5, 1: 0.25, 2: 0.0}}
    rate(dataset.records, dataset.classes.names, rated, of_classes)
    quality()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "│ cat │ 2 │ 100.0 │" in text  # of the support's rows intersection and union are equal
    assert "worst of all image-3, image-1, image-0" in text
    assert "of cat image-1, image-3" in text
    assert "1 masks on disk are not rated" in text


def test_a_program_reads_an_object_for_each_image_worst_first(line, capsys):
    dataset = read_dataset()
    of_classes = {"image-1": {0: 0.75, 1: 0.25}, "image-3": {0: 0.75, 1: 0.0, 2: 0.0}}
    rate(dataset.records, dataset.classes.names, {"image-1": 0.5, "image-3": 0.25}, of_classes)
    quality(as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"image_id": "image-3", "quality": 0.25, "expected_iou": {"background": 0.75, "cat": 0.0, "dog": 0.0}},
        {"image_id": "image-1", "quality": 0.5, "expected_iou": {"background": 0.75, "cat": 0.25}},
    ]
