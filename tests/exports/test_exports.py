"""Exports, read by the formats' own readers where there are any, and predictions from a checkpoint alone."""

import dataclasses
import hashlib
import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import load_dataset
from exportable import CLASSES, SIZES, exportable, picture, tiny_segmenter, write_masks, written
from passports import passport
from PIL import Image
from pycocotools.coco import COCO
from withdrawing import tell_ledger
from workspace import ROOT

from exports._origin import with_digest
from exports._polygons import draw
from exports._selection import Selection
from exports._write import export, formats
from labelfactory.dataset.images import decode_mask, decode_photograph, encode_mask
from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.digests import digest_rows
from labelfactory.errors import DataError, MissingError
from labelfactory.learning.checkpoints import load_checkpoint, save_checkpoint
from labelfactory.settings.registry import load_method
from sources._import_plan import ImportOptions, plan_import
from sources.coco import find_coco
from sources.hf import find_hf
from sources.voc import find_voc


@pytest.fixture
def line(workspace) -> dict[str, np.ndarray]:
    """Photographs with masks, ready to be exported."""
    return exportable(workspace)


@pytest.fixture
def segmenter(tmp_path) -> Path:
    """The checkpoint of a tiny net with random weights."""
    return tiny_segmenter(tmp_path)


def without_void(mask: np.ndarray) -> np.ndarray:
    return np.where(mask == 255, 0, mask)


def test_the_formats_are_those_that_are_documented():
    """One file, one format; README and docs name each."""
    assert formats() == ["cityscapes", "coco", "cvat", "hf", "label_studio", "voc", "yolo"]


@pytest.mark.parametrize("name", ["instances", "semantic"])
def test_pycocotools_reads_the_same_pixels(line, name, capsys):
    """Every class of every image, pixel by pixel; void is a crowd; areas and boxes are those of the masks."""
    folder, _ = written("coco", min_area=1)
    coco = COCO(str(folder / f"{name}.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert {image["image_id"] for image in coco.loadImgs(coco.getImgIds())} == set(line)
    for image in coco.loadImgs(coco.getImgIds()):
        mask = line[image["image_id"]]
        assert (folder / "images" / image["file_name"]).is_file()
        for crowd, label in ((False, 1), (False, 2), (True, 255)):
            ids = coco.getAnnIds(imgIds=image["id"], catIds=[] if crowd else [label], iscrowd=crowd)
            union = np.zeros(mask.shape, bool)
            for annotation in coco.loadAnns(ids):
                region = coco.annToMask(annotation) > 0
                if not crowd:
                    assert not (union & region).any()
                assert annotation["area"] == region.sum()
                union |= region
            assert np.array_equal(union, mask == label)
    json.loads((folder / f"{name}.json").read_text())


def test_coco_comes_back_through_the_importer(line):
    """Export, import: the same masks, void included, and the same photographs."""
    folder, _ = written("coco", min_area=1)
    plan = plan_import(find_coco(folder / "instances.json", folder / "images"), ImportOptions(val_fraction=0.5))
    plan.write_files()
    by_sha = {e.sha256: e for e in plan.manifest.entries}
    for image_id, mask in line.items():
        record = next(r for r in Selection("masks").dataset.records if r.image_id == image_id)
        if image_id != "turned":
            assert np.array_equal(decode_mask(Path(by_sha[record.sha256].mask_path).read_bytes()), mask)
    assert not plan.left_out


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_photograph_without_a_suffix_gets_one(line, workspace, kind):
    """What came from a URL may have none; readers go by it."""
    pixels = Image.fromarray(workspace.records[0].photograph())
    pixels.save("photographs/bare", format=kind)
    sha256 = hashlib.sha256(Path("photographs/bare").read_bytes()).hexdigest()
    workspace.change("a", path="photographs/bare", sha256=sha256)
    write_masks(workspace, line)
    folder, _ = written("voc")
    (back,) = [p for p in (folder / "JPEGImages").iterdir() if p.stem == "a"]
    with Image.open(back) as opened:
        assert opened.format == kind
    assert back.suffix in (".jpg", ".png", ".webp", ".tif", ".bmp")


def test_voc_comes_back_with_the_same_digests(line):
    """Photographs, tags and masks: the digests that keys are made of."""
    folder, _ = written("voc")
    plan = plan_import(find_voc(folder), ImportOptions(check_masks=True))
    assert not plan.left_out
    assert plan.manifest.classes.names == CLASSES
    records = {r.image_id: r for r in Selection("masks").records}
    masks = {i: hashlib.sha256(encode_mask(m)).hexdigest() for i, m in line.items()}
    back = {e.image_id: e for e in plan.manifest.entries}
    names = {"a": "a", "b": "b", "été/1 x": "%C3%A9t%C3%A9%2F1%20x", "turned": "turned"}
    for image_id, record in records.items():
        entry = back[names[image_id]]
        assert (entry.tags, entry.lists, entry.mask_sha256) == (record.tags, record.lists, masks[image_id])
        if image_id != "turned":  # turned photographs go out upright
            assert entry.sha256 == record.sha256
    upright = decode_photograph(Path(back["turned"].path).read_bytes())
    assert np.array_equal(upright, records["turned"].photograph())


def test_datasets_reads_photographs_masks_and_tags(line):
    """`load_dataset` of the folder; then our own importer reads it to the same tags and masks."""
    folder, _ = written("hf")
    loaded = load_dataset(str(folder), cache_dir="cache")["train"]
    assert loaded.features["tags"].feature.names == ["background", *CLASSES]
    records = {r.image_id: r for r in Selection("masks").records}
    for row in loaded:
        assert np.array_equal(np.array(row["mask"]), line[row["image_id"]])
        assert np.array_equal(np.array(row["image"].convert("RGB")), records[row["image_id"]].photograph())
        assert tuple(loaded.features["tags"].feature.names[t] for t in row["tags"]) == records[row["image_id"]].tags
    plan = plan_import(find_hf(folder), ImportOptions(check_masks=True))
    plan.write_files()
    assert not plan.left_out
    assert plan.manifest.mask_ids == {0: 0, 1: 1, 2: 2}
    for entry in plan.manifest.entries:
        assert entry.tags == records[entry.image_id].tags
        assert entry.lists == records[entry.image_id].lists
        assert np.array_equal(decode_mask(Path(entry.mask_path).read_bytes()), line[entry.image_id])


def test_cityscapes_ids_are_the_pixels(line):
    """Grey PNGs beside their photographs, and a table of labels."""
    folder, found = written("cityscapes")
    files = sorted((folder / "gtFine/train/all").glob("*_gtFine_labelIds.png"))
    assert len(files) == 4
    opened = {path.name: picture(path) for path in files}
    assert all(image.mode == "L" for image in opened.values())
    seen = {name: np.array(image) for name, image in opened.items()}
    assert np.array_equal(seen["a_gtFine_labelIds.png"], line["a"])
    assert np.array_equal(seen["turned_gtFine_labelIds.png"], line["turned"])
    assert (folder / "leftImg8bit/train/all/a_leftImg8bit.png").is_file()
    table = json.loads((folder / "labels.json").read_text())
    assert [(row["name"], row["id"]) for row in table] == [("background", 0), ("cat", 1), ("dog", 2), ("void", 255)]
    assert found["facts"] == {}


def test_cvat_runs_are_the_pixels(line):
    """Unpacked by hand as CVAT's documents say; void is background."""
    folder, _ = written("cvat", min_area=1)
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    assert [name.text for name in root.findall("meta/task/labels/label/name")] == list(CLASSES)
    sizes = {path.name: picture(path).size for path in (folder / "images").iterdir()}
    drawn = {}
    for image in root.findall("image"):
        assert sizes[image.get("name")] == (int(image.get("width")), int(image.get("height")))
        mask = np.zeros((int(image.get("height")), int(image.get("width"))), np.uint8)
        for shape in image.findall("mask"):
            left, top, width, height = (int(shape.get(k)) for k in ("left", "top", "width", "height"))
            runs = [int(run) for run in shape.get("rle").split(",")]
            flat = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
            mask[top : top + height, left : left + width][flat > 0] = 1 + CLASSES.index(shape.get("label"))
        drawn[image.get("name")] = mask
    assert np.array_equal(drawn["a.png"], without_void(line["a"]))
    assert np.array_equal(drawn["turned.png"], without_void(line["turned"]))


@pytest.mark.parametrize("least", [1, 20])
def test_yolo_states_the_error_of_its_polygons(line, least):
    """The files, drawn again by hand, differ by the share that provenance.json states."""
    folder, found = written("yolo", min_area=least)
    wrong = known = 0
    for name, image_id in (("a", "a"), ("b", "b"), ("turned", "turned"), ("%C3%A9t%C3%A9%2F1%20x", "été/1 x")):
        mask = line[image_id]
        height, width = mask.shape
        polygons = []
        for row in (folder / f"labels/train/{name}.txt").read_text().splitlines():
            label, *numbers = row.split()
            points = np.array(numbers, dtype=float).reshape(-1, 2) * [width, height] - 0.5
            assert len(points) >= 3
            polygons.append((int(label) + 1, points))
        wrong += ((draw(polygons, mask.shape) != mask) & (mask != 255)).sum()
        known += (mask != 255).sum()
    assert found["facts"]["pixel_error"] == pytest.approx(wrong / known, abs=1e-7)
    assert found["facts"]["pixel_error"] <= found["facts"]["pixel_error_of_worst_image"]
    assert (found["facts"]["pixel_error"] == 0) == (least == 1)
    assert found["facts"]["speck_pixels_left_out"] == wrong
    stated = yaml.safe_load((folder / "data.yaml").read_text())
    assert stated["names"] == {0: "cat", 1: "dog"}
    assert (folder / stated["train"]).is_dir()


def test_label_studio_polygons_are_per_cents_of_the_image(line):
    """Drawn again they differ by what is stated; the interface names the classes."""
    folder, found = written("label_studio")
    tasks = {task["data"]["image_id"]: task for task in json.loads((folder / "tasks.json").read_text())}
    for image_id, mask in line.items():
        polygons = []
        for result in tasks[image_id]["predictions"][0]["result"]:
            points = (
                np.array(result["value"]["points"]) / 100 * [result["original_width"], result["original_height"]] - 0.5
            )
            (label,) = result["value"]["polygonlabels"]
            polygons.append((1 + CLASSES.index(label), points))
        differing = ((draw(polygons, mask.shape) != mask) & (mask != 255)).mean()
        assert differing <= found["facts"]["pixel_error_of_worst_image"] + 1e-6
    names = ElementTree.parse(folder / "labels.xml").getroot().findall("PolygonLabels/Label")
    assert [label.get("value") for label in names] == list(CLASSES)


@pytest.mark.parametrize("name", ["cityscapes", "coco", "cvat", "hf", "label_studio", "voc", "yolo"])
def test_provenance_says_where_it_came_from(line, name):
    """Digests of data set, photographs and masks, parameters, commit and networks; the digests can be computed again."""
    Path("params.yaml").write_text("prepare: {train_list: train}\n")
    save_checkpoint(Path("data/classifier/checkpoint.safetensors"), {"w": torch.zeros(1)}, passport())
    folder, found = written(name, split="train", min_quality=0.55)
    stated = json.loads((folder / "provenance.json").read_text())
    del stated["seal"]
    assert stated == json.loads(json.dumps(found))
    assert set(stated["images"]) == {"b", "été/1 x", "turned"}  # `a` is at 0.5
    records = {r.image_id: r for r in Selection("masks").records}
    assert {i: image["photograph"] for i, image in stated["images"].items()} == {
        i: records[i].sha256 for i in stated["images"]
    }
    assert stated["masks_digest"] == digest_rows((i, image["mask"]) for i, image in stated["images"].items())
    images = Path("data/dataset/images.parquet").read_bytes()
    assert stated["dataset_sha256"] == hashlib.sha256(images).hexdigest()
    assert stated["params"] == {"prepare": {"train_list": "train"}}
    assert stated["checkpoints"]["classifier"]["supervision"] == ["imagenet-tags", "tags"]
    assert (stated["format"], stated["what"], stated["split"], stated["min_quality"]) == (name, "masks", "train", 0.55)
    assert stated["level"] == "± unknown"


def test_what_was_withdrawn_does_not_go_out(line, capsys):
    """Between `withdraw --later` and the next run, data set and masks still hold it."""
    first = next(iter(line))
    record = next(r for r in read_dataset().records if r.image_id == first)
    tell_ledger(**{first: record.sha256})
    _, provenance = written("voc")
    assert first not in provenance["images"]
    assert set(provenance["images"]) <= set(line)
    assert "export: 1 withdrawn photographs are left out" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["masks", "predictions"])
def test_provenance_is_that_of_what_was_loaded(line, segmenter, monkeypatch, what):
    """While the photographs are read, a run ends: other weights, data set, parameters, commit."""
    classifier = Path("data/classifier/checkpoint.safetensors")
    Path("params.yaml").write_text("prepare: {train_list: train}\n")
    save_checkpoint(classifier, {"w": torch.zeros(1)}, passport())
    commits = iter(["first", "second", "third"])
    monkeypatch.setattr("exports._origin.git_state", lambda: (next(commits), False))
    before = export("voc", Selection(what), Path("before"))
    assert before["commit"] == "first"
    whole = load_method("exports", "voc").write

    def meanwhile(selection: Selection, folder: Path) -> dict:
        facts = whole(selection, folder)
        for path in (classifier, segmenter):
            state, stated = load_checkpoint(path)
            save_checkpoint(path, {name: tensor + 1 for name, tensor in state.items()}, stated)
        Path("params.yaml").write_text("prepare: {train_list: other}\n")
        write_dataset(dataclasses.replace(read_dataset(), max_bad_fraction=0.9))
        return facts

    monkeypatch.setattr("exports.voc.write", meanwhile)
    after = export("voc", Selection(what), Path("after"))
    assert after.pop("commit") == "second"
    assert after == {key: value for key, value in before.items() if key != "commit"}
    assert set(after["checkpoints"]) == {"classifier"} | ({"segmenter"} if what == "predictions" else set())


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path):
    """Value and digest are of the same bytes."""
    path = tmp_path / "x"
    contents = iter(["second", "second", "third"])

    def read(path: Path) -> str:
        text = path.read_text()
        path.write_text(next(contents, "third"))
        return text

    path.write_text("first")
    assert with_digest(path, read) == ("second", hashlib.sha256(b"second").hexdigest())
    endless = iter(range(100))
    with pytest.raises(DataError, match="was replaced while it was read"):
        with_digest(path, lambda path: path.write_text(str(next(endless))))


def test_an_export_appears_whole_or_not_at_all(line, monkeypatch):
    """A failure half-way leaves the old one; something else is never replaced; an older export is."""
    folder, _ = written("voc")
    before = sorted(path.name for path in folder.rglob("*"))

    def full(mask: np.ndarray) -> bytes:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("exports.voc.encode_mask", full)
        with pytest.raises(OSError, match="disk full"):
            written("voc")
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert [path.name for path in Path("out").iterdir()] == ["voc"]
    export("coco", Selection("masks"), folder)
    assert (folder / "instances.json").is_file()
    assert not (folder / "tags.csv").exists()
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years")
    with pytest.raises(DataError, match="contains something other than an export"):
        export("coco", Selection("masks"), Path("mine"))
    assert Path("mine/thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tarin"}, "the list 'tarin' has no usable image"),
        ({"split": "val"}, "no photograph on the list 'val' has a mask"),
        ({"min_quality": 0.99}, "no mask reaches the quality 0.99"),
    ],
)
def test_an_empty_export_is_an_error(line, options, message):
    """Zero files of success are none; what to type is said, and nothing is written."""
    with pytest.raises(DataError, match=message) as caught:
        written("voc", **options)
    assert caught.value.remedy
    assert not Path("out/voc").exists()


def test_a_mask_that_was_not_rated_goes_out_unless_a_quality_is_asked_for(line):
    """As after a run that was interrupted: provenance says null, and the remedy is to run."""
    shutil.rmtree("data/quality")
    folder, found = written("label_studio", split="train")
    assert {image["quality"] for image in found["images"].values()} == {None}
    assert "score" not in json.loads((folder / "tasks.json").read_text())[0]["predictions"][0]
    with pytest.raises(MissingError, match=r"4 masks on disk have no quality, so none is known to reach 0\.5"):
        written("voc", min_quality=0.5)


def test_without_masks_the_remedy_is_to_run(workspace):
    """Before the line has run."""
    shutil.copyfile(ROOT / "dvc.yaml", "dvc.yaml")
    with pytest.raises(MissingError, match="contains no mask yet"):
        Selection("masks")
    with pytest.raises(MissingError, match="no such checkpoint"):
        Selection("predictions")


def test_predictions_are_exported_for_every_photograph(line, segmenter):
    """What the segmenter says, also where the line made no mask."""
    found = export("cityscapes", Selection("predictions"), Path("out"))
    assert set(found["images"]) == {*line, "v"}
    assert found["checkpoints"]["segmenter"]["supervision"] == ["imagenet-tags", "tags"]
    mask = np.array(picture("out/gtFine/train/all/a_gtFine_labelIds.png"))
    assert mask.shape == SIZES["a"]
    assert set(np.unique(mask)) <= {0, 1, 2}
