"""`labelfactory corrections`: add, list and remove; corrections that wait, masks that are outdated, and `--take-equal`."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import Workspace
from PIL import Image
from refined_project import CLASSES, DRAWN, SIZE, correct, leave_walks, refine, refined, rows

from exports._selection import Selection
from exports._write import export
from labelfactory.dataset.corrections import (
    CORRECTIONS,
    Correction,
    corrected_mask,
    read_corrections,
    write_corrections,
)
from labelfactory.dataset.manifest import Entry, Manifest, write_manifest
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.schema import VOID, Classes
from stages.refine_crf import RefineCrf


@pytest.fixture
def made(workspace) -> Workspace:
    return refined(leave_walks(workspace))


@pytest.fixture
def labelfactory(labelfactory) -> Callable[..., str]:
    """Run a command about corrections in this process: gives what it printed."""
    return partial(labelfactory, "corrections")


def test_add_list_and_remove(made, labelfactory):
    """What is new is taken, listed, replaced by a newer one, and goes; a wrong name removes nothing."""
    entries = tuple(Entry(r.image_id, r.path, r.sha256, r.lists, r.tags) for r in made.records)
    write_manifest(Manifest(CLASSES, {}, "test", entries))
    Path("in").mkdir()
    Image.fromarray(DRAWN).save("in/b.png")
    assert "would be corrected; nothing was written" in labelfactory("add", "in", "--dry-run")
    assert list(read_corrections()) == ["e"]
    assert "1 mask (b) corrected, 2 in all" in labelfactory("add", "in")
    assert "nothing new" in labelfactory("add", "in")
    assert "b  in use" in labelfactory("list")
    first = read_corrections()["b"].path()
    Image.fromarray(np.ones(SIZE, np.uint8)).save("in/b.png")
    labelfactory("add", "in")
    assert not first.exists()
    assert len(list(CORRECTIONS.glob("*.png"))) == 2
    assert "'bb' has no correction; did you mean `b`?" in labelfactory("remove", "bb", code=2)
    assert "name the images" in labelfactory("remove", code=2)
    assert "1 mask (b) removed, 1 left" in labelfactory("remove", "b")
    assert "removed, 0 left" in labelfactory("remove", "--all")
    assert "corrections: none" in labelfactory("list")
    assert list(CORRECTIONS.glob("*.png")) == []


def test_a_correction_that_waits_says_why(made, labelfactory):
    """The import holds other bytes under the id, or no such image."""
    write_corrections([Correction(i, "0" * 64, "1" * 64, ("cat",)) for i in ("a", "gone")])
    write_manifest(Manifest(CLASSES, {}, "test", (Entry("a", "a.png", "2" * 64, ("train",), ("cat",)),)))
    said = labelfactory("list")
    assert "a  not in use: the photograph has changed" in said
    assert "gone  not in use: the import does not have this image" in said


def test_a_mask_over_a_photograph_that_no_run_has_seen_is_not_taken(made, labelfactory):
    """It would be bound to the photograph of before, and used for nothing."""
    entries = [Entry(r.image_id, r.path, r.sha256, r.lists, r.tags) for r in made.records]
    entries[1] = replace(entries[1], sha256="2" * 64)
    write_manifest(Manifest(CLASSES, {}, "test", tuple(entries)))
    changed = entries[1].image_id
    Path("in").mkdir()
    Image.fromarray(DRAWN).save(f"in/{changed}.png")
    said = labelfactory("add", "in", code=2)
    assert (
        f"the import has another photograph of {changed} than the last run; type `labelfactory run prepare` first"
        in said
    )
    assert changed not in read_corrections()


def test_a_correction_of_an_image_that_was_moved_to_another_list_waits(made, labelfactory):
    write_corrections([Correction("a", "2" * 64, "1" * 64, ("cat",))])
    Path("params.yaml").write_text("prepare: {train_list: train}\n")
    for lists, state in ((("train",), "in use"), (("val",), "not in use: the image is not on the training list")):
        write_manifest(Manifest(CLASSES, {}, "test", (Entry("a", "a.png", "2" * 64, lists, ("cat",)),)))
        assert f"a  {state}" in labelfactory("list")


def waiting(made, labelfactory) -> Path:
    """b has a correction that no run has taken up; gives an export as it was before."""
    export("label_studio", Selection("masks", min_area=1), Path("out"))
    correct(made, "b")
    return as_annotated(Path("out"))


def as_annotated(folder: Path, **changes: int) -> Path:
    """An export for Label Studio as it comes back; of some images only so many polygons are left."""
    tasks = json.loads((folder / "tasks.json").read_text())
    for task in tasks:
        result = task.pop("predictions")[0]["result"]
        task["annotations"] = [{"result": result[: changes.get(task["data"]["image_id"])]}]
    path = folder.with_suffix(".json")
    path.write_text(json.dumps(tasks))
    return path


@pytest.mark.parametrize("options", [(), ("--take-equal",)])
def test_the_lines_mask_does_not_come_back_over_a_later_correction(made, labelfactory, options):
    """A whole export is added again, in which b is as the line made it; a person has corrected b since."""
    path = waiting(made, labelfactory)
    before = read_corrections()
    said = labelfactory("add", str(path), *options)
    assert "1 mask (b) equal what the line made before it was corrected" in said
    assert read_corrections()["b"] == before["b"]
    assert before["b"].path().exists()
    assert set(read_corrections()) == ({"b", "e"} if not options else set("abcde"))


def test_an_export_after_a_correction_comes_back_as_nothing_new(made, labelfactory):
    """An export has the mask that holds: what a person drew, although no run has taken it up; then one other image is edited."""
    correct(made, "b", "c", mask=np.where(DRAWN == VOID, 0, DRAWN).astype(np.uint8))
    export("voc", Selection("masks"), Path("out"))
    Image.fromarray(np.full(SIZE, 2, np.uint8)).save("out/SegmentationClass/a.png")
    before = read_corrections()
    assert "1 mask (a) corrected" in labelfactory("add", "out")
    assert {i: c for i, c in read_corrections().items() if i != "a"} == before
    assert "nothing new" in labelfactory("add", "out")


def test_every_correction_that_is_replaced_is_named(made, labelfactory):
    """It cannot be made again; also where it was drawn over an earlier photograph, and before anything is written."""
    correct(made, *"abcd")
    made.repaint("c", seed=1)
    Path("in").mkdir()
    for image_id, mask in (("a", DRAWN), ("b", np.ones(SIZE, np.uint8)), ("c", DRAWN)):
        Image.fromarray(mask).save(f"in/{image_id}.png")
    assert "earlier corrections would be replaced: b, c" in labelfactory("add", "in", "--dry-run")
    assert "earlier corrections are replaced: b, c" in labelfactory("add", "in", "--take-equal")
    assert "replaced" not in labelfactory("add", "in", "--take-equal")


def test_void_of_a_correction_stays_where_equal_masks_are_taken(made, labelfactory):
    """Formats without void cannot say it: a mask that is confirmed is taken with ours."""
    correct(made, "b")
    export("cvat", Selection("masks"), Path("out"))
    before = read_corrections()["b"]
    labelfactory("add", "out", "--take-equal")
    assert read_corrections()["b"] == before


@pytest.mark.parametrize("drawn", [False, True])
def test_what_stays_of_a_mask_stays_under_its_name(made, labelfactory, drawn):
    """The classes were imported in another order, no mask has been made anew: void and specks are of the class that made them."""
    row = rows()["a"]["mask"].copy()
    speck = np.zeros(SIZE, np.uint8)
    speck[0, 0], speck[-1, -1] = 1, VOID
    write_row("a", speck, made)
    made.classes = ("dog", "cat")
    made.save()
    export_of_objects([("dog", [1, 1, 4, 3])] if drawn else [])
    said = labelfactory("add", "in.json")
    if not drawn:
        assert "1 equal the current masks and stay unchanged" in said
        return
    mask = corrected_mask(read_corrections()["a"], Classes(made.classes))
    assert (mask[0, 0], mask[-1, -1], mask[2, 2]) == (2, VOID, 1)
    assert row.shape == mask.shape


def test_nothing_of_another_photographs_mask_stays(made, labelfactory):
    """The same id, other bytes: neither void nor specks of the old mask come into what is drawn over the new photograph."""
    speck = np.zeros(SIZE, np.uint8)
    speck[0, 0], speck[-1, -1] = 1, VOID
    write_row("a", speck, made)
    made.repaint("a", seed=99)
    export_of_objects([("dog", [1, 1, 4, 3])])
    labelfactory("add", "in.json")
    mask = corrected_mask(read_corrections()["a"], CLASSES)
    assert (mask[0, 0], mask[-1, -1]) == (0, 0)


def test_the_old_mask_is_not_taken_for_one_of_the_new_photograph(made, labelfactory):
    """An export from before the photograph was replaced is added: its masks were drawn by nobody."""
    export("voc", Selection("masks"), Path("out"))
    made.repaint("a", seed=99)
    said = labelfactory("add", "out", "--take-equal")
    assert "1 mask (a) equal what the line made before it was corrected or its photograph changed" in said
    assert "a" not in read_corrections()


def test_a_correction_that_was_removed_comes_back_if_it_is_asked_for(made, labelfactory):
    """Removed by mistake, with the person's file still there; a run has taken it up before, and none since it was removed."""
    correct(made, "b")
    refine()
    export("voc", Selection("masks"), Path("out"))
    labelfactory("remove", "b")
    assert "or a correction that was removed" in labelfactory("add", "out")
    assert set(read_corrections()) == {"e"}
    Path("only").mkdir()
    shutil.copy("out/SegmentationClass/b.png", "only/b.png")
    labelfactory("add", "only", "--take-equal")
    assert set(read_corrections()) == {"b", "e"}


def write_row(image_id: str, mask: np.ndarray, made) -> None:
    """Give an image's row on disk another mask; what it was made of stays."""
    folder = ShardFolder(Path("data/masks"))
    states, inputs = folder.states_and_inputs(0)
    payloads = {i: dict(row) for i, row in folder.rows(0, list(states)).items()}
    payloads[image_id]["mask"] = mask
    new = [finish(i, json.loads(inputs[i]), row, RefineCrf.columns) for i, row in payloads.items()]
    folder.write(0, rows_table(new, shard_schema("refine_crf", RefineCrf.columns, made.classes)))


def export_of_objects(boxes: list[tuple[str, list[int]]]) -> None:
    """in.json: COCO of the photograph a, as an editor writes it, one rectangle (left, top, right, bottom) an object."""
    annotations = [
        {
            "id": k,
            "image_id": 1,
            "category_id": ("cat", "dog").index(name) + 1,
            "iscrowd": 0,
            "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
        }
        for k, (name, (x0, y0, x1, y1)) in enumerate(boxes, 1)
    ]
    images = [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    Path("in.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
