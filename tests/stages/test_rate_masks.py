"""The quality of masks: by hand on one image, of whose mask it is, and what a correction is worth."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from exportable import tiny_segmenter
from made_line import SIZE, MadeLine

from labelfactory.dataset.prepared import read_dataset
from labelfactory.rows.columns import Column
from labelfactory.rows.header import shard_schema
from labelfactory.rows.quality_summary import summary_of
from labelfactory.rows.rated import RatedRows
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.settings.wiring import DATA
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import build_stage, read_sections, stage_class
from stages.random_walk import RandomWalk
from stages.rate_masks import RateMasks
from stages.refine_crf import RefineCrf
from stages.segment_images import SegmentImages

Change = Callable[[str, dict[str, Any]], None]


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A line of four photographs (tags: none, cat, dog, both) and a segmenter with random weights; it has predicted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setenv("LABELFACTORY_WORKERS", "1")
    for stage in (SegmentImages, RateMasks):
        monkeypatch.setattr(stage, "code_digest", "code")
    made = MadeLine()
    shutil.rmtree(DATA / "segmenter")
    tiny_segmenter(tmp_path)
    run("segment_images")
    return made


def figures(name: str) -> dict[str, Any]:
    """Run a stage."""
    stage = build_stage(name, read_sections())
    stage.output.mkdir(parents=True, exist_ok=True)
    made: dict[str, Any] = stage.run()
    return made


def run(name: str) -> tuple[int, int]:
    """The same; gives the numbers of rows that were computed and copied."""
    made = figures(name)
    return made["rows_computed"], made["rows_copied"]


def rate() -> list[str]:
    """Rate the masks; gives the sentences on what fell."""
    fell: list[str] = figures("rate_masks")["falls"]
    return fell


def rows(noun: str) -> dict[str, dict[str, Any]]:
    reader = RowReader(DATA / noun)
    return {image_id: dict(reader[image_id]) for image_id in reader.states}


def replace(noun: str, image_id: str, **values: Any) -> None:
    """Change columns of one row, as if its stage had made it so."""
    maker = {"walks": RandomWalk, "masks": RefineCrf, "predictions": SegmentImages}[noun]
    before, (states, inputs) = rows(noun), ShardFolder(DATA / noun).states_and_inputs(0)
    columns: dict[str, Column] = {n: c for n, c in maker.columns.items() if n in before[image_id]}
    before[image_id] |= values
    finished = [finish(i, json.loads(inputs[i]), before[i], columns) for i in states]
    assert issubclass(maker, PerImageStage)
    schema = shard_schema(maker.stage_name(), columns, read_dataset().classes.names)
    ShardFolder(DATA / noun).write(0, rows_table(finished, schema))


def certain(mask: np.ndarray, class_ids: list[int]) -> dict[str, Any]:
    """A prediction that is sure of a mask."""
    small = mask[::4, ::4]
    probabilities = np.stack([small == k for k in class_ids]).astype(np.uint8) * np.uint8(255)
    return {"mask": mask, "class_ids": np.array(class_ids, dtype=np.uint8), "probabilities": probabilities}


def half(left: int, right: int) -> np.ndarray:
    """A mask of two halves."""
    mask = np.full(SIZE, left, dtype=np.uint8)
    mask[:, SIZE[1] // 2 :] = right
    return mask


def walk(*scores: float) -> dict[str, Any]:
    """A walk that gives each class the same score everywhere."""
    maps = np.array(scores, dtype=np.float16)[:, None, None]
    return {"scores": np.broadcast_to(maps, (len(scores), 3, 4)).copy()}


def test_a_mask_that_the_model_shares_is_perfect_and_another_is_not(line):
    """image-1 has the tag cat. The same halves give 1; with cat on the wrong side both classes have nothing in common."""
    replace("walks", "image-1", **walk(0.5))  # as the threshold: it says nothing
    replace("predictions", "image-1", **certain(half(0, 1), [0, 1]))
    replace("masks", "image-1", mask=half(0, 1))
    rate()
    quality = rows("quality")["image-1"]
    assert quality["class_ids"].tolist() == [0, 1]
    assert quality["quality"] == pytest.approx(1, abs=1e-4)
    assert quality["intersection"] == pytest.approx([0.5, 0.5], abs=1e-4)
    assert quality["model_union"] == pytest.approx([0.5, 0.5], abs=1e-4)
    replace("masks", "image-1", mask=half(1, 0))
    rate()
    assert rows("quality")["image-1"]["quality"] == pytest.approx(0, abs=1e-4)


def test_model_and_walk_are_multiplied(line):
    """Model: cat 3/4 everywhere. Walk: cat 1/2 over 1/2, or 1/6 over 1/2, a fourth of both: 1/3 × 3 = 1 to 1."""
    replace("masks", "image-1", mask=half(1, 1))
    probabilities = np.array([63, 189], dtype=np.uint8)[:, None, None]
    wide = np.broadcast_to(probabilities, (2, 3, 4)).copy()
    replace("predictions", "image-1", mask=half(1, 1), class_ids=np.array([0, 1], dtype=np.uint8), probabilities=wide)
    for score, chance in ((0.5, 3 / 4), (1 / 6, 1 / 2)):
        replace("walks", "image-1", **walk(score))
        rate()
        assert rows("quality")["image-1"]["expected_iou"] == pytest.approx([0, chance], abs=1e-3)


def test_no_class_is_expected_that_no_tag_names(line):
    """image-1 is no dog, whatever the model says: of what it expects only the background is left."""
    replace("walks", "image-1", **walk(0.5))
    replace("predictions", "image-1", **certain(half(0, 2), [0, 1, 2]))
    replace("masks", "image-1", mask=half(0, 1))
    rate()
    found = rows("quality")["image-1"]
    assert found["class_ids"].tolist() == [0, 1, 2]
    assert found["expected_iou"] == pytest.approx([0.5, 0, 0], abs=1e-4)
    assert found["quality"] == pytest.approx(0.25, abs=1e-4)  # dog is neither a tag nor in the mask
    assert found["model_union"][2] == pytest.approx(0.5)


def test_an_empty_mask_has_no_quality_whatever_everybody_agrees_on(line):
    """It shows none of its tags; an image without tags is another matter."""
    for image_id in ("image-0", "image-1"):
        replace("masks", image_id, mask=half(0, 0))
        replace("predictions", image_id, **certain(half(0, 0), [0, 1] if image_id == "image-1" else [0]))
    rate()
    found = rows("quality")
    assert found["image-1"]["quality"] == 0
    assert found["image-0"]["quality"] == pytest.approx(1)


def test_a_mask_that_a_person_drew_is_the_truth(line):
    """Its quality is 1, and the prediction is held against it."""
    replace("masks", "image-1", mask=half(0, 1), source="human")
    replace("predictions", "image-1", **certain(half(1, 1), [0, 1]))
    rate()
    found = rows("quality")["image-1"]
    assert found["quality"] == 1
    assert found["expected_iou"].tolist() == [1, 1]
    assert found["intersection"].tolist() == found["union"].tolist() == [0.5, 0.5]
    assert (found["model_intersection"].tolist(), found["model_union"].tolist()) == ([0, 0.5], [0.5, 1])


def test_a_quality_is_of_the_mask_that_was_rated(line):
    """A mask that a run has made since has none until it is rated too; one changed mask costs one row."""
    rate()
    digests = {image_id: state.digest for image_id, state in RowReader(DATA / "masks").states.items()}
    rated = RatedRows("masks", read_dataset())
    assert {image_id: rated.quality(image_id, digest) for image_id, digest in digests.items()} == {
        image_id: pytest.approx(float(row["quality"])) for image_id, row in rows("quality").items()
    }
    replace("masks", "image-1", mask=half(0, 1))
    now = RowReader(DATA / "masks").states["image-1"].digest
    assert rated.quality("image-1", now) is None
    assert rated.values("mask_digest")["image-1"] == digests["image-1"]  # of the mask before
    assert run("rate_masks") == (1, 3)
    again = RatedRows("masks", read_dataset())
    assert again.quality("image-1", now) == pytest.approx(float(rows("quality")["image-1"]["quality"]))
    assert again.quality("image-1", digests["image-1"]) is None


def test_a_quality_is_of_the_tags_that_the_image_has(line):
    """The import changed them and a run got no further: which classes would be expected is another matter now."""
    rate()
    dataset, states = read_dataset(), RowReader(DATA / "masks").states
    changed = [dataclasses.replace(r, tags=("dog",)) if r.image_id == "image-1" else r for r in dataset.records]
    rated = RatedRows("masks", dataclasses.replace(dataset, records=tuple(changed)))
    assert [i for i, state in states.items() if rated.quality(i, state.digest) is None] == ["image-1"]
    summary = summary_of(dataclasses.replace(dataset, records=tuple(changed)), worst=1)
    assert "image-1" not in {mask.image_id for mask in summary.masks}


def test_a_run_says_whose_quality_fell(line, monkeypatch, capsys):
    """By class; another run of the same rows says nothing."""
    for name in ("LEAST_IMAGES", "ERRORS"):  # two images say nothing otherwise
        monkeypatch.setattr(f"labelfactory.rows.quality_falls.{name}", 1)
    for image_id in ("image-2", "image-3"):
        replace("masks", image_id, mask=half(2, 2))
        replace("predictions", image_id, **certain(half(2, 2), [0, 1, 2] if image_id == "image-3" else [0, 2]))
    assert rate() == []
    replace("masks", "image-2", mask=half(0, 2))
    found = rate()
    assert "The quality of the masks of dog fell from 100.0 to 75.0." in found
    assert found[0] in capsys.readouterr().err
    assert rate() == []


def test_without_the_stage_nothing_is_rated(line):
    """As in a project of an earlier version."""
    assert RatedRows("masks").quality("image-1", "any") is None
    assert RatedRows("masks").values("class_ids") == {}
    assert RatedRows("walks").quality("image-1", "any") is None


def test_a_row_has_the_columns_that_its_stage_names(line):
    """Of an image without tags too, whose walk has no class."""
    rate()
    for row in rows("quality").values():
        assert set(row) == set(stage_class("rate_masks").columns)
        assert {len(value) for value in row.values() if isinstance(value, np.ndarray)} == {len(row["class_ids"])}
