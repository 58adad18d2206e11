"""Masks that a person drew: read from what editors write, they replace ours for their images and for nothing else."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Workspace
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from refined_project import CLASSES, DRAWN, SIZE, WALKS, correct, leave_walks, refine, refined, rows
from strategies import masks as any_masks
from withdrawing import tell_ledger

from exports._selection import Selection
from exports._write import export
from labelfactory.dataset.corrections import HUMAN, corrected_mask, read_corrections, store_mask, write_corrections
from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import DataError
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.schema import VOID, Classes, palette
from labelfactory.settings.params import read_yaml
from labelfactory.settings.thresholds import Threshold, write_thresholds
from sources.corrections import find_edited
from stages.train_segmenter import TrainSegmenter

ROOT = Path(__file__).resolve().parents[2]


# --- the store --------------------------------------------------------------------------------------------------------


def test_what_is_stored_comes_back(tmp_path):
    """Table and PNG, in any order of writing; no table means no correction."""
    assert read_corrections(tmp_path) == {}
    made = [store_mask(name, "0" * 64, DRAWN, CLASSES, tmp_path) for name in ("b", "a/é 1")]
    write_corrections(made, tmp_path)
    found = read_corrections(tmp_path)
    assert list(found) == ["a/é 1", "b"]
    assert all(np.array_equal(corrected_mask(c, CLASSES, tmp_path), DRAWN) for c in found.values())
    before = (tmp_path / "corrections.parquet").read_bytes()
    write_corrections(reversed(made), tmp_path)
    assert (tmp_path / "corrections.parquet").read_bytes() == before


@settings(deadline=None)
@given(mask=any_masks(4), now=st.lists(st.sampled_from("abcde"), unique=True, min_size=1))
def test_pixels_keep_the_name_of_their_class(tmp_path_factory, mask, now):
    """Classes that were ordered otherwise since then move their numbers; one that is gone is void."""
    folder, then = tmp_path_factory.mktemp("store"), Classes(("a", "b", "c"))
    correction = store_mask("x", "0" * 64, mask, then, folder)
    moved = corrected_mask(correction, Classes(tuple(now)), folder)
    names = {0: "background", VOID: "void"}
    was = np.vectorize(lambda k: names.get(k) or then.names[k - 1])(mask)
    is_ = np.vectorize(lambda k: names.get(k) or now[k - 1])(moved)
    assert np.array_equal(np.where(np.isin(was, [*now, "background"]), was, "void"), is_)


def test_a_file_that_was_changed_or_lost_is_refused(tmp_path):
    """The digest in the table is that of the mask that was added."""
    correction = store_mask("x", "0" * 64, DRAWN, CLASSES, tmp_path)
    correction.path(tmp_path).write_bytes(encode_mask(DRAWN.T.copy()))
    with pytest.raises(DataError, match="changed since it was added"):
        corrected_mask(correction, CLASSES, tmp_path)
    correction.path(tmp_path).unlink()
    with pytest.raises(DataError, match="No such file"):
        corrected_mask(correction, CLASSES, tmp_path)


# --- refine_crf -------------------------------------------------------------------------------------------------------


@pytest.fixture
def walked(workspace) -> Workspace:
    return leave_walks(workspace)


def states() -> dict[str, tuple[str, str]]:
    return {s.image_id: (s.key, s.digest) for s in ShardFolder(Path("data/masks")).all_states()}


def test_a_correction_costs_its_own_row_and_no_other(walked):
    """Added: one row is made, with the person's pixels; removed: the line's own mask is back, bit for bit."""
    refine()
    before, untouched = states(), Path("data/masks/shard-00001.parquet").stat()
    correct(walked, "b")
    tally = refine()
    assert (tally.rows_computed, tally.shards_written) == (1, 1)
    row = rows()["b"]
    assert np.array_equal(row["mask"], DRAWN)
    assert (row["source"], float(row["mean_confidence"]), float(row["agreement"])) == (HUMAN, 1.0, 1.0)
    assert set(np.unique(row["confidence"])) == {255}
    assert float(row["void_share"]) == np.float32(2 / 30)
    assert np.allclose(row["area"], [3 / 30, 5 / 30, 20 / 30])
    assert {i for i in before if states()[i] != before[i]} == {"b"}
    assert Path("data/masks/shard-00001.parquet").stat().st_mtime_ns == untouched.st_mtime_ns
    write_corrections(())
    assert refine().rows_computed == 1
    assert states() == before
    assert {row["source"] for row in rows().values()} == {"refine_crf"}


def test_a_correction_survives_a_rerun_with_other_parameters(walked):
    """What a person drew depends on no parameter, threshold or walk: its row is copied where all others are made anew."""
    correct(walked, "b")
    refine()
    before = states()
    assert refine(gt_prob=0.6).rows_computed == 3
    write_thresholds(Path("data/walk_threshold"), {"background": Threshold(0.4, "auto")})
    shutil.rmtree("data/walks")
    fresh = ShardFolder(Path("data/walks"))
    fresh.folder.mkdir()
    for shard in range(3):
        made = [finish(r.image_id, {"other": 1}, {"scores": np.zeros((len(r.tags), 3, 3), np.float16),
                "class_ids": walked.dataset().classes.ids(r.tags)}, WALKS)
                for r in walked.records if r.shard == shard]  # fmt: skip
        fresh.write(shard, rows_table(made, shard_schema("random_walk", WALKS, walked.classes)))
    refine(gt_prob=0.6)
    assert states()["b"] == before["b"]
    assert [i for i in before if states()[i] == before[i]] == ["b"]


def test_a_correction_stands_where_the_line_could_make_no_mask(walked):
    """The walk of e is quarantined; a person's mask needs none."""
    refine()
    assert "e" not in rows()
    correct(walked, "e")
    assert refine().rows_quarantined == 0
    assert rows()["e"]["source"] == HUMAN


def test_a_correction_of_another_photograph_waits(walked):
    """The bytes behind the id have changed: what was drawn over the old ones is not used."""
    correct(walked, "b")
    refine()
    walked.repaint("b", seed=99)
    refine()
    assert rows()["b"]["source"] == "refine_crf"


def test_a_correction_that_cannot_be_read_is_quarantined_with_its_reason(walked):
    """Another size, a file that was changed: this image only."""
    correct(walked, "a", mask=DRAWN.T.copy())
    correct(walked, "b")
    read_corrections()["b"].path().write_bytes(b"no PNG")
    walked.max_bad_fraction = 0.8
    walked.save()
    refine()
    reasons = {s.image_id: s.reason for s in ShardFolder(Path("data/masks")).all_states() if s.reason}
    assert "the correction is 5×6 pixels, its photograph 6×5" in reasons["a"]
    assert "changed since it was added" in reasons["b"]
    assert sorted(rows()) == ["c", "d"]


def test_the_segmenter_says_that_a_person_drew_some_of_its_masks(walked):
    """Source of each training row, and the kind of label in the passport: only where there is one."""
    cfg = TrainSegmenter.section.model_validate(read_yaml(ROOT / "params.yaml")["train_segmenter"])
    refine()
    stage = TrainSegmenter(cfg)
    assert {stage.row_source(i) for i in stage.training_rows()} == {"refine_crf"}
    assert stage._kinds({})["supervision"] == sorted({"tags", *cfg.supervision})
    correct(walked, "b")
    refine()
    stage = TrainSegmenter(cfg)
    assert {i: stage.row_source(i) for i in stage.training_rows()}["b"] == HUMAN
    assert stage._kinds({})["supervision"] == sorted({"tags", "masks", *cfg.supervision})


# --- what editors write -----------------------------------------------------------------------------------------------


@pytest.fixture
def made(walked) -> Workspace:
    return refined(walked)


def edited(path: Path | str, workspace, **options: bool):
    now = rows()
    return find_edited(Path(path), workspace.dataset(), lambda r: now.get(r.image_id, {}).get("mask"), **options)


@pytest.mark.parametrize(
    ("name", "inside"), [("voc", ""), ("cityscapes", ""), ("coco", "instances.json"), ("coco", "semantic.json")]
)
def test_what_we_export_comes_back_as_nothing_new(made, name, inside):
    """A whole export is added again; one mask in it was edited, and only that one is taken."""
    export(name, Selection("masks"), Path("out"))
    found = edited(Path("out") / inside, made)
    assert (sorted(found.same), found.masks) == (["a", "b", "c", "d", "e"], {})
    assert sorted(edited(Path("out") / inside, made, take_equal=True).masks) == ["a", "b", "c", "d", "e"]
    wanted = rows()["b"]["mask"].copy()
    wanted[2:, 3:] = 2 if inside else 0  # what is erased there is a speck, which objects leave out
    if inside:
        Path("data/masks").rename("data/masks-before")
        correct(made, "b", mask=wanted)
        refine()
        export(name, Selection("masks"), Path("changed"))
        shutil.rmtree("data/masks")
        Path("data/masks-before").rename("data/masks")
    else:
        path = next(
            Path("out").rglob("b*.png") if name == "cityscapes" else Path("out/SegmentationClass").glob("b.png")
        )
        path = path if "leftImg8bit" not in path.parts else next(Path("out/gtFine").rglob("b*.png"))
        path.write_bytes(encode_mask(wanted))
        Path("out").rename("changed")
    found = edited(Path("changed") / inside, made)
    assert list(found.masks) == ["b"]
    assert np.array_equal(found.masks["b"], wanted)


@pytest.mark.parametrize("how", ["palette", "grey", "VOC's colours", "labelmap.txt", "classes.txt"])
def test_the_pixels_of_an_editors_file_are_understood(made, how):
    """Numbers as they are or through classes.txt; colours of VOC, or of the table that CVAT writes."""
    Path("in").mkdir()
    picture = Image.fromarray(DRAWN)
    if how == "palette":
        picture = Image.open(io.BytesIO(encode_mask(DRAWN)))
    elif how == "VOC's colours":
        picture = Image.fromarray(palette()[DRAWN])
    elif how == "labelmap.txt":
        table = ("# label:color_rgb:parts:actions", "background:0,0,0::", "cat:9,8,7::", "dog:1,2,3::", "void:5,5,5::")
        Path("in/labelmap.txt").write_text("\n".join(table))
        colours = {0: (0, 0, 0), 1: (9, 8, 7), 2: (1, 2, 3), 255: (5, 5, 5)}
        picture = Image.fromarray(np.array([[colours[int(k)] for k in row] for row in DRAWN], dtype=np.uint8))
    elif how == "classes.txt":
        Path("in/classes.txt").write_text("background\ndog\ncat\n")
        picture = Image.fromarray(np.array([0, 2, 1, *range(3, 256)], dtype=np.uint8)[DRAWN])
    picture.save("in/b.png")
    assert np.array_equal(edited("in", made).masks["b"], DRAWN)


def test_a_mask_for_a_withdrawn_image_is_refused(made):
    """Before the line has run again: the data set still has the image."""
    Path("in").mkdir()
    Image.fromarray(DRAWN).save("in/b.png")
    tell_ledger(b=next(r.sha256 for r in made.records if r.image_id == "b"))
    with pytest.raises(DataError, match=r"b\.png: b was withdrawn"):
        edited("in", made)


BAD = {
    "no image": ("zebra.png", DRAWN, "the data set has no image 'zebra'"),
    "another size": ("b.png", DRAWN.T.copy(), "5×6 pixels, its photograph 6×5"),
    "no class": ("b.png", np.full(SIZE, 9, np.uint8), "it contains 9, which is not a class id"),
    "a foreign colour": ("b.png", np.full((*SIZE, 3), 77, np.uint8), "the colour (77, 77, 77), which is not a class's"),
    "scored only": ("v.png", DRAWN, "v is not on the training list"),
}


@pytest.mark.parametrize("case", [*BAD, "no PNG"])
def test_a_mask_that_cannot_be_taken_is_named_and_none_is_taken(made, case):
    """File and reason; the good one beside it stays out as well."""
    made.add("v", "cat", split="score")
    Path("in").mkdir()
    Image.fromarray(DRAWN).save("in/a.png")
    name, pixels, said = BAD.get(case, ("b.png", None, "not a readable mask"))
    if pixels is None:
        Path("in", name).write_bytes(b"\x89PNG but not one")
    else:
        Image.fromarray(pixels).save(f"in/{name}")
    with pytest.raises(DataError) as caught:
        edited("in", made)
    assert f"1 of 2 masks are not usable; none was added\n  {name}: " in caught.value.problem
    assert said in caught.value.problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not COCO instances"),
        ('{"images": [], "categories": 7}', "not COCO instances"),
        ('{"images": [{"id": 1, "file_name": "b.png"}], "categories": [{"id": 3, "name": "cow"}], '
         '"annotations": [{"image_id": 1, "category_id": 3, "segmentation": []}]}', "'cow' is not a class"),
        ('{"images": [{"id": 1, "file_name": "b.png"}], "categories": [], '
         '"annotations": [{"image_id": 1, "category_id": 3, "segmentation": []}]}', "category 3 is not a class"),
        ('{"images": [{"id": 1, "file_name": "b.png"}], "categories": [], "annotations": [{"image_id": 2}]}', "not COCO"),
        ('{"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}], "categories": []}',
         r"images\[1\]: 'b.png' has the same id \(1\) as 'a.png' in images\[0\]"),
        ('{"images": [], "categories": [{"id": 3, "name": "cat"}, {"id": 3, "name": "dog"}]}',
         r"categories\[1\]: 'dog' has the same id \(3\) as 'cat'"),
    ],
)  # fmt: skip
def test_a_json_that_is_no_coco_is_refused(made, content, said):
    """Broken, of another form, with a class that the data set does not have."""
    Path("in.json").write_text(content)
    with pytest.raises(DataError, match=said):
        edited("in.json", made)


@settings(deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes_as_a_mask_or_as_json_end_in_a_readable_error(tmp_path_factory, data):
    """No traceback, whatever the file holds."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "b.png").write_bytes(data)
    (folder / "c.json").write_bytes(data)
    others = [folder / name for name in ("d.xml", "e.zip")]
    for path in others:
        path.write_bytes(data)
    for path in (folder / "c.json", *others):
        with pytest.raises(DataError):
            find_edited(path, dataset_of_one(), lambda record: None)
        path.unlink()
    for path in (folder,):
        with pytest.raises(DataError):
            find_edited(path, dataset_of_one(), lambda record: None)


def dataset_of_one() -> Dataset:
    one = ImageRecord("b", "b.png", "0" * 64, ("train",), ("cat",), None, None, 0, 6, 5, "train", 0, "ok", "")
    return Dataset(CLASSES, {}, "train", "val", 0.0, (one,))


# --- exports ----------------------------------------------------------------------------------------------------------


def test_an_export_names_who_made_each_mask(made):
    """provenance.json has the source; a person's mask passes any --min-quality."""
    found = export("voc", Selection("masks", min_quality=1.0), Path("out"))
    assert found["images"]["e"]["source"] == HUMAN
    everything = export("voc", Selection("masks"), Path("all"))
    assert {entry["source"] for entry in everything["images"].values()} == {HUMAN, "refine_crf"}


@pytest.mark.parametrize("name", ["b.png", "SegmentationClass", "labelmap.txt", "c.json"])
def test_a_link_out_of_the_folder_is_refused(tmp_path, name):
    """Others may have packed the folder: what the link leads to would become a mask of the project. One inside of it is read."""
    folder, elsewhere = tmp_path / "edited", tmp_path / "elsewhere"
    for each in (folder, elsewhere):
        each.mkdir()
        (each / "a.png").write_bytes(encode_mask(DRAWN))
    for each in ("b.png", "labelmap.txt", "c.json"):
        (elsewhere / each).write_bytes(encode_mask(DRAWN))
    (folder / name).symlink_to(elsewhere if name == "SegmentationClass" else elsewhere / name)
    with pytest.raises(DataError, match="leads out of"):
        find_edited(folder, dataset_of_one(), lambda record: None)
    (folder / name).unlink()
    (folder / "b.png").symlink_to("a.png")
    with pytest.raises(DataError) as caught:
        find_edited(folder, dataset_of_one(), lambda record: None)
    assert "leads out of" not in str(caught.value)
