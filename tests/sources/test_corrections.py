"""Masks that a person drew: read from what editors write, they replace ours for their images and for nothing else."""

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import masks as any_masks
from withdrawing import tell_ledger

from app import main as app_main
from exports._selection import Selection
from exports._write import export
from labelfactory.dataset.corrections import (
    CORRECTIONS,
    HUMAN,
    Correction,
    corrected_mask,
    read_corrections,
    store_mask,
    write_corrections,
)
from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.manifest import Entry, Manifest, write_manifest
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import DataError
from labelfactory.rows.columns import ArrayColumn
from labelfactory.rows.engine import Tally
from labelfactory.rows.header import shard_schema
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder, finish, quarantine, rows_table
from labelfactory.schema import VOID, Classes, palette
from labelfactory.settings.params import read_yaml
from labelfactory.settings.thresholds import Threshold, write_thresholds
from models.refinement.dense_crf import CrfConfig
from sources.corrections import find_edited
from stages.refine_crf import RefineCrf, RefineCrfConfig
from stages.train_segmenter import TrainSegmenter

CLASSES = Classes(("cat", "dog"))
SIZE = (5, 6)
WALKS = {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}
DRAWN = np.array([[0, 0, 1, 1, 255, 255], [0, 2, 2, 1, 1, 1], *[[2] * 6] * 3], dtype=np.uint8)
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
def walked(workspace):
    """Five photographs, and everything that refine_crf reads of them; the walk of e failed."""
    workspace.wire("refine_crf", "train_segmenter")
    folder = ShardFolder(Path("data/walks"))
    folder.folder.mkdir(parents=True)
    for shard in range(3):
        rows = []
        for image in (r for r in workspace.records if r.shard == shard):
            ids = workspace.dataset().classes.ids(image.tags)
            scores = np.random.default_rng(image.position).random((len(ids), 3, 3)).astype(np.float16)
            row = finish(image.image_id, {}, {"scores": scores, "class_ids": ids}, WALKS)
            rows.append(row if image.image_id != "e" else quarantine("e", {}, "it failed", WALKS))
        folder.write(shard, rows_table(rows, shard_schema("random_walk", WALKS, workspace.classes)))
    write_thresholds(Path("data/walk_threshold"), {"background": Threshold(0.5, "auto")})
    return workspace


def refine(**changes: object) -> Tally:
    crf = {"steps": 2, "gaussian_sxy": 3, "gaussian_compat": 3}
    crf |= {"bilateral_sxy": 50, "bilateral_srgb": 5, "bilateral_compat": 10}
    values = {"method": "dense_crf", "unary": "labels", "scale": 1.0, "gt_prob": 0.7, "min_confidence": 0.5, "crf": crf}
    cfg = RefineCrfConfig(**{**values, "crf": CrfConfig(**crf), **changes})
    Path("data/masks").mkdir(exist_ok=True)
    return RefineCrf(cfg).update()


def correct(workspace, *image_ids: str, mask: np.ndarray = DRAWN) -> None:
    """Put corrections beside those that are there."""
    known = read_corrections()
    for image in workspace.records:
        if image.image_id in image_ids:
            known[image.image_id] = store_mask(image.image_id, image.sha256, mask, CLASSES)
    write_corrections(known.values())


def rows() -> dict[str, dict]:
    reader = RowReader(Path("data/masks"))
    return {image_id: dict(reader[image_id]) for image_id in reader.states}


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
    assert stage._supervision({}) == sorted({"tags", *cfg.supervision})
    correct(walked, "b")
    refine()
    stage = TrainSegmenter(cfg)
    assert {i: stage.row_source(i) for i in stage.training_rows()}["b"] == HUMAN
    assert stage._supervision({}) == sorted({"tags", "masks", *cfg.supervision})


# --- what editors write -----------------------------------------------------------------------------------------------


@pytest.fixture
def made(walked):
    """A project whose masks were made, in three shards."""
    correct(walked, "e")  # so that every photograph has one
    refine()
    return walked


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


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelfactory(monkeypatch, capsys):
    """Run the command in this process: gives what it printed."""

    def run(*words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["labelfactory", "corrections", *words])
        with pytest.raises(SystemExit) as caught:
            app_main.main()
        printed = capsys.readouterr()
        assert (caught.value.code or 0) == code, printed
        return printed.out + printed.err

    return run


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


# --- exports ----------------------------------------------------------------------------------------------------------


def test_an_export_names_who_made_each_mask(made):
    """provenance.json has the source; a person's mask passes any --min-quality."""
    found = export("voc", Selection("masks", min_quality=1.0), Path("out"))
    assert found["images"]["e"]["source"] == HUMAN
    everything = export("voc", Selection("masks"), Path("all"))
    assert {entry["source"] for entry in everything["images"].values()} == {HUMAN, "refine_crf"}
