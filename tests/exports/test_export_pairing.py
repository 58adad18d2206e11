"""An export delivers each mask under the photograph and the classes that it was made of, or leaves it out and says so."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from exportable import CLASSES, exportable, tiny_segmenter, write_masks, written

from exports._predictor import Predictor
from exports._selection import Selection
from labelfactory.dataset.corrections import HUMAN, store_mask, write_corrections
from labelfactory.errors import DataError, MissingError
from labelfactory.schema import Classes


@pytest.fixture
def line(workspace) -> dict[str, np.ndarray]:
    """Photographs with masks, ready to be exported."""
    return exportable(workspace)


def correct(workspace, image_id: str, mask: np.ndarray, classes: Sequence[str] = CLASSES) -> str:
    """The only correction: a mask over the photograph that the workspace has now. Gives its digest."""
    record = next(r for r in workspace.records if r.image_id == image_id)
    correction = store_mask(image_id, record.sha256, mask, Classes(tuple(classes)))
    write_corrections([correction])
    return correction.digest


@pytest.mark.parametrize("now", [("dog", "cat"), ("cat", "dog", "fox"), ("dog",)])
def test_masks_of_other_classes_stay(line, workspace, now):
    """`prepare` has the new classes, no mask has been made anew yet: every cat would go out as a dog."""
    workspace.classes = now
    workspace.records = [dataclasses.replace(r, tags=now[:1]) for r in workspace.records]
    workspace.save()
    with pytest.raises(MissingError, match="no mask of the data set as it is now\nleft out: 4 masks on disk") as caught:
        Selection("masks")
    assert "labelfactory run" in caught.value.remedy


def test_the_mask_of_another_photograph_stays(line, workspace, capsys):
    """The same id, other bytes: the old mask does not go out with the new photograph; the others do."""
    other = next(r for r in workspace.records if r.image_id == "turned")
    workspace.change("a", sha256=other.sha256, path=other.path)
    _, provenance = written("coco")
    assert set(provenance["images"]) == {"b", "été/1 x", "turned"}
    assert "left out: 1 mask on disk belongs to an earlier photograph" in capsys.readouterr().err
    write_masks(workspace, line)
    assert "left out" not in capsys.readouterr().err
    assert len(Selection("masks").records) == 4


@pytest.mark.parametrize("now", [("dog", "cat"), ("cat", "dog", "fox"), ("dog",)])
def test_a_model_of_other_classes_does_not_predict_for_the_data_set(line, workspace, now):
    """Its passport has the classes that it learnt; the data set's names must not stand on their ids."""
    tiny_segmenter(workspace.root)
    assert len(Selection("predictions").records) == 5
    workspace.classes = now
    workspace.records = [dataclasses.replace(r, tags=()) for r in workspace.records]
    workspace.save()
    with pytest.raises(DataError, match=f"trained for the classes cat, dog; .* the classes {', '.join(now)}") as caught:
        Selection("predictions")
    assert "labelfactory run" in caught.value.remedy


def test_a_model_of_other_classes_does_not_predict_the_validation_list(line, workspace, monkeypatch):
    """Masks are made anew before the model is: yolo has no predicted list then, and a model that changes meanwhile is refused."""
    tiny_segmenter(workspace.root)
    assert written("yolo")[1]["facts"]["validation"]["list"] == "val"
    workspace.classes = ("dog", "cat")
    workspace.save()
    write_masks(workspace, line)
    assert "trained for other classes" in written("yolo")[1]["facts"]["validation"]["why"]
    workspace.classes = CLASSES
    workspace.save()
    write_masks(workspace, line)
    made = Predictor.__init__

    def of_others(self: Predictor, *args: object, **options: object) -> None:
        made(self, *args, **options)
        self.classes = ("background", "dog", "cat")

    monkeypatch.setattr(Predictor, "__init__", of_others)
    with pytest.raises(DataError, match="trained for the classes dog, cat"):
        written("yolo")


def test_a_correction_that_no_run_has_taken_up_goes_out(line, workspace):
    """It holds, not the row that it replaces; and provenance.json says so, with the networks behind the other masks."""
    _, before = written("voc")
    drawn = np.full(line["b"].shape, 2, np.uint8)
    correct(workspace, "b", drawn)
    folder, provenance = written("voc")
    with (folder / "provenance.json").open() as file:
        assert json.load(file)["images"] == provenance["images"]
    facts = provenance["images"]["b"]
    assert (facts["source"], facts["quality"]) == (HUMAN, 1)
    assert facts["mask"] != before["images"]["b"]["mask"]
    assert provenance["masks_digest"] != before["masks_digest"]
    assert (provenance["params_digests"], provenance["checkpoints"]) == (
        before["params_digests"],
        before["checkpoints"],
    )
    items = {item.record.image_id: item.mask for item in Selection("masks")}
    assert np.array_equal(items["b"], drawn)
    assert all(np.array_equal(items[i], mask) for i, mask in line.items() if i != "b")


def test_a_correction_keeps_its_names_under_other_classes(line, workspace):
    """Masks of the line stay, a person's goes out in the numbers that its classes have now."""
    correct(workspace, "b", np.full(line["b"].shape, 2, np.uint8))
    workspace.classes = ("dog", "cat")
    workspace.save()
    ((item),) = Selection("masks")
    assert (item.record.image_id, set(np.unique(item.mask))) == ("b", {1})


def test_a_correction_that_does_not_fit_stays(line, workspace):
    """Drawn over another photograph; or over one that is scored alone, which no run masks."""
    correct(workspace, "b", np.full(line["b"].shape, 2, np.uint8))
    workspace.change("b", sha256="0" * 64)
    assert "b" not in {r.image_id for r in Selection("masks").records}
    correct(workspace, "v", np.full((5, 6), 1, np.uint8))
    assert "v" not in {r.image_id for r in Selection("masks").records}


def test_a_correction_that_was_removed_stays(line, workspace, capsys):
    """Its row is on disk until the next run; whoever removed it does not want it delivered."""
    drawn = np.full(line["b"].shape, 2, np.uint8)
    digest = correct(workspace, "b", drawn)
    write_masks(workspace, line | {"b": drawn}, corrections={"b": digest})
    assert len(Selection("masks").records) == 4
    _, provenance = written("voc")
    assert provenance["images"]["b"]["source"] == HUMAN
    write_corrections(())
    assert "b" not in {r.image_id for r in Selection("masks").records}
    assert "left out: 1 mask whose correction was removed" in capsys.readouterr().err


def test_a_correction_whose_file_is_lost_is_said(line, workspace):
    """Nothing is delivered in its place."""
    correct(workspace, "b", np.full(line["b"].shape, 2, np.uint8))
    for path in Path("data/corrections").glob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="No such file"):
        written("voc")
    correct(workspace, "b", np.ones((2, 2), np.uint8))
    with pytest.raises(DataError, match="b: the correction is 2×2 pixels"):
        written("voc")
