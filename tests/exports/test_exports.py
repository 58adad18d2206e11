"""Exports, read by the formats' own readers where there are any, and predictions from a checkpoint alone."""

import dataclasses
import hashlib
import io
import json
import os
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from datasets import load_dataset
from hostile_files import EPS, SECRET, fake_ghostscript, fifo
from hypothesis import given, settings
from passports import passport
from PIL import Image
from pycocotools.coco import COCO
from strategies import masks as any_masks
from typer.testing import CliRunner
from withdrawing import tell_ledger

from app.main import COMMANDS, command_line
from exports._package import write_package
from exports._polygons import draw, polygons_of
from exports._predicted import refuse_others
from exports._selection import Selection
from exports._write import export, formats
from labelfactory.dataset.images import decode_mask, decode_photograph, encode_mask
from labelfactory.dataset.prepared import read_dataset
from labelfactory.digests import digest_rows
from labelfactory.errors import DataError, MissingError
from labelfactory.learning.checkpoints import save_checkpoint
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.settings.registry import load_method
from lineage.export import export_lineage
from models.backbones import build_backbone
from models.segmenters import build_segmenter
from sources._import_plan import ImportOptions, plan_import
from sources.coco import find_coco
from sources.hf import find_hf
from sources.voc import find_voc
from stages.refine_crf import RefineCrf

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"a": (30, 40), "b": (24, 32), "été/1 x": (40, 30), "turned": (20, 36)}
CLASSES = ("cat", "dog")


def blobs(seed: int, size: tuple[int, int]) -> np.ndarray:
    """A mask with regions that touch, holes, single pixels and void."""
    field = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    smooth = cv2.GaussianBlur(field, (0, 0), 1.6)
    made = np.zeros(size, np.uint8)
    made[smooth > 0.08] = 1
    made[smooth < -0.15] = 2
    made[:3, :3] = 255
    made[-1, -1] = 1 + (made[-1, -1] == 1)
    return made


@pytest.fixture
def line(workspace) -> dict[str, np.ndarray]:
    """Four photographs with masks, one of them turned by EXIF, one without an id that a file could have; val has one more."""
    workspace.records.clear()
    shutil.copyfile(ROOT / "dvc.yaml", "dvc.yaml")
    truth = {}
    for k, (image_id, size) in enumerate(SIZES.items()):
        workspace.add(f"p{k}", "cat dog" if k != 1 else "dog")
        pixels = np.random.default_rng(k).integers(0, 256, (*size, 3), dtype=np.uint8)
        exif = Image.Exif()
        stored = pixels
        if image_id == "turned":
            exif[0x0112] = 6
            stored = np.rot90(pixels)
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(stored)).save(stream, format="PNG", exif=exif)
        Path(f"photographs/p{k}.png").write_bytes(stream.getvalue())
        lists = ("train", "train_aug") if k < 3 else ("train",)
        sha256 = hashlib.sha256(stream.getvalue()).hexdigest()
        workspace.records[k] = dataclasses.replace(
            workspace.records[k], image_id=image_id, sha256=sha256, height=size[0], width=size[1], lists=lists
        )
        truth[image_id] = blobs(k, size)
    workspace.add("v", "cat", split="score")
    workspace.change("v", lists=("val",))
    columns = RefineCrf.columns
    schema = shard_schema("refine_crf", columns, CLASSES)
    Path("data/masks").mkdir(parents=True)
    for shard in {record.shard for record in workspace.records}:
        rows = [
            finish(
                record.image_id,
                {"made": "by a test"},
                {
                    "mask": truth[record.image_id],
                    "confidence": np.zeros((1, 1), np.uint8),
                    "mean_confidence": 0.5,
                    "void_share": 0.0,
                    "agreement": 0.5 + 0.1 * list(SIZES).index(record.image_id),
                    "area": np.zeros(3, np.float32),
                    "source": "refine_crf",
                },
                columns,
            )
            for record in workspace.records
            if record.shard == shard and record.image_id in truth
        ]
        ShardFolder(Path("data/masks")).write(shard, rows_table(rows, schema))
    return truth


def written(name: str, **options: object) -> tuple[Path, dict]:
    selection = Selection("masks", **options)
    return Path("out") / name, export(name, selection, Path("out") / name)


def picture(path: Path | str) -> Image.Image:
    """The picture, its file closed again."""
    with Image.open(path) as opened:
        opened.load()
        return opened.copy()


def without_void(mask: np.ndarray) -> np.ndarray:
    return np.where(mask == 255, 0, mask)


def test_the_formats_are_those_that_are_documented():
    """One file, one format; README and docs name each."""
    assert formats() == ["cityscapes", "coco", "cvat", "hf", "label_studio", "voc", "yolo"]


@pytest.mark.parametrize("name", ["instances", "semantic"])
def test_pycocotools_reads_the_same_pixels(line, name, capsys):
    """Every class of every image, pixel by pixel; void is a crowd; areas and boxes are those of the masks."""
    folder, _ = written("coco")
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
    folder, _ = written("coco")
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
    folder, _ = written("cvat")
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


def test_yolo_states_the_error_of_its_polygons(line):
    """The files, drawn again by hand, differ by the share that provenance.json states."""
    folder, found = written("yolo")
    wrong = known = 0
    for name, image_id in (("a", "a"), ("b", "b"), ("turned", "turned"), ("%C3%A9t%C3%A9%2F1%20x", "été/1 x")):
        mask = line[image_id]
        height, width = mask.shape
        polygons = []
        for row in (folder / f"labels/train/{name}.txt").read_text().splitlines():
            label, *numbers = row.split()
            points = np.array(numbers, dtype=float).reshape(-1, 2) * [width, height] - 0.5
            assert len(points) >= 3
            polygons.append((int(label) + 1, np.rint(points).astype(np.int32)))
        wrong += ((draw(polygons, mask.shape) != mask) & (mask != 255)).sum()
        known += (mask != 255).sum()
    assert found["facts"]["pixel_error"] == pytest.approx(wrong / known, abs=1e-7)
    assert found["facts"]["pixel_error"] <= found["facts"]["pixel_error_of_worst_image"] < 0.02
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
            polygons.append((1 + CLASSES.index(label), np.rint(points).astype(np.int32)))
        differing = ((draw(polygons, mask.shape) != mask) & (mask != 255)).mean()
        assert differing <= found["facts"]["pixel_error_of_worst_image"] + 1e-6
    names = ElementTree.parse(folder / "labels.xml").getroot().findall("PolygonLabels/Label")
    assert [label.get("value") for label in names] == list(CLASSES)


@settings(max_examples=60, deadline=None)
@given(mask=any_masks(4, max_side=14))
def test_polygons_of_any_mask_are_near_it(mask):
    """Every region has an outline of three corners or more; what is lost is at the bridges to holes."""
    polygons = polygons_of(mask)
    assert all(len(polygon) >= 3 for _, polygon in polygons)
    assert {label for label, _ in polygons} == set(np.unique(mask)) - {0, 255}
    drawn = draw(polygons, mask.shape)
    covered = np.isin(mask, (0, 255), invert=True)
    assert (drawn[covered] != 0).all()


def test_a_ring_keeps_its_hole():
    """By hand: a frame of one class around nothing."""
    mask = np.zeros((12, 12), np.uint8)
    mask[2:10, 2:10] = 3
    mask[4:8, 4:8] = 0
    (pair,) = polygons_of(mask)
    assert np.array_equal(draw([pair], (12, 12)), mask)


@pytest.mark.parametrize("name", ["cityscapes", "coco", "cvat", "hf", "label_studio", "voc", "yolo"])
def test_provenance_says_where_it_came_from(line, name):
    """Digests of data set, photographs and masks, parameters, commit and networks; the digests can be computed again."""
    Path("params.yaml").write_text("prepare: {train_list: train}\n")
    save_checkpoint(Path("data/classifier/checkpoint.safetensors"), {"w": torch.zeros(1)}, passport())
    folder, found = written(name, split="train", min_quality=0.55)
    stated = json.loads((folder / "provenance.json").read_text())
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


def test_what_was_withdrawn_does_not_go_out(line, capsys):
    """Between `withdraw --later` and the next run, data set and masks still hold it."""
    first = next(iter(line))
    record = next(r for r in read_dataset().records if r.image_id == first)
    tell_ledger(**{first: record.sha256})
    _, provenance = written("voc")
    assert first not in provenance["images"]
    assert set(provenance["images"]) <= set(line)
    assert "export: 1 withdrawn photographs are left out" in capsys.readouterr().err


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


def lost(folder: Path) -> None:
    """An own file among those of an export."""
    (folder / "SegmentationClass/thesis.txt").write_text("years")


def corrected(folder: Path) -> None:
    (folder / "SegmentationClass/a.png").write_bytes(b"corrected by hand")


def linked(folder: Path) -> None:
    folder.rename("elsewhere")
    folder.symlink_to(Path("elsewhere").resolve())


def with_a_link(folder: Path) -> None:
    (folder / "more").symlink_to("/")


def without_a_list(folder: Path) -> None:
    """As exports of before had it."""
    stated = json.loads((folder / "provenance.json").read_text())
    del stated["files"]
    (folder / "provenance.json").write_text(json.dumps(stated))


def of_another_program(folder: Path) -> None:
    (folder / "provenance.json").write_text('{"builder": "npm", "files": {}}')


@pytest.mark.parametrize("change", [lost, corrected, linked, with_a_link, without_a_list, of_another_program])
def test_an_export_replaces_what_an_export_wrote_and_nothing_else(line, change):
    """The folder stays as it is to the byte, whatever it is refused for, and nothing is left beside it."""

    def found() -> dict[str, object]:
        return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(Path().rglob("*"))}

    folder, _ = written("voc")
    change(folder)
    before = found()
    with pytest.raises(DataError):
        export("coco", Selection("masks"), folder)
    after = found()
    assert {path for path in after if after[path] != before.get(path)} == set()
    assert set(after) == set(before)


def test_what_is_put_into_the_folder_during_an_export_stays(line, monkeypatch):
    folder, _ = written("voc")
    whole = load_method("exports", "voc").write

    def slow(selection: Selection, temporary: Path) -> dict:
        lost(folder)
        return whole(selection, temporary)

    monkeypatch.setattr("exports.voc.write", slow)
    with pytest.raises(DataError, match=r"did not write.*thesis\.txt"):
        export("voc", Selection("masks"), folder)
    assert (folder / "SegmentationClass/thesis.txt").read_text() == "years"
    assert [path.name for path in Path("out").iterdir()] == ["voc"]


@pytest.mark.parametrize(
    "out", ["data", "data/masks", "data/new/deep", "../{here}/data/new", "by/new", "dvc.yaml", ".dvc/x"]
)
def test_no_result_goes_where_the_project_keeps_its_own(line, out):
    """However its path is written: export, package, lineage and predict refuse it before they write."""
    Path("by").symlink_to("data")
    place = Path(out.format(here=Path.cwd().name))
    before = sorted(str(path) for path in Path().rglob("*"))
    for refusing in (
        lambda: export("voc", Selection("masks"), place),
        lambda: write_package(Path("no.safetensors"), place, []),
        lambda: export_lineage(None, place),
        lambda: refuse_others(place, ["a"], []),
    ):
        with pytest.raises(DataError, match="belongs to the project"):
            refusing()
    assert sorted(str(path) for path in Path().rglob("*")) == before


def replaced(path: Path) -> None:
    Image.new("RGB", (40, 30)).save(path)


def link_to_a_secret(path: Path) -> None:
    Path("../secret.txt").write_bytes(SECRET)
    path.unlink()
    path.symlink_to(Path("../secret.txt").resolve())


def link_to_the_same_bytes(path: Path) -> None:
    path.rename("../moved.png")
    path.symlink_to(Path("../moved.png").resolve())


def gone(path: Path) -> None:
    path.unlink()


ATTACKS = {
    "another file": (replaced, "changed since it was imported"),
    "a link to a secret": (link_to_a_secret, "leads out of the project"),
    "a link to the same bytes": (link_to_the_same_bytes, "leads out of the project"),
    "a FIFO": (lambda path: [path.unlink(), fifo(path)], "is not a regular file"),
    "no file": (gone, "No such file"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("attack", list(ATTACKS))
@pytest.mark.parametrize("name", ["cityscapes", "coco", "cvat", "hf", "label_studio", "voc", "yolo"])
def test_a_photograph_goes_out_as_it_was_imported_or_not_at_all(line, name, attack):
    """Its digest stands in provenance.json; nothing of an export that fails is left."""
    spoil, message = ATTACKS[attack]
    spoil(Path("photographs/p1.png"))
    with pytest.raises(DataError, match=rf"photographs/p1\.png: {message}") as caught:
        written(name)
    assert caught.value.remedy
    assert not [path for path in Path("out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["cityscapes", "coco", "cvat", "hf", "label_studio", "voc", "yolo"])
def test_a_mask_goes_out_under_its_own_digest(line, name):
    """A shard that a run replaces during the export has other masks than those that the export noted."""
    selection = Selection("masks")
    folder, columns = ShardFolder(Path("data/masks")), RefineCrf.columns
    rows = [
        finish(image_id, {"made": "later"}, row | {"mask": np.zeros_like(row["mask"])}, columns)
        for image_id, row in folder.rows(0, list(folder.states(0))).items()
    ]
    folder.write(0, rows_table(rows, shard_schema("refine_crf", columns, CLASSES)))
    with pytest.raises(DataError, match="its mask was replaced during the export"):
        export(name, selection, Path("out") / name)
    assert not [path for path in Path("out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["cityscapes", "coco", "cvat", "hf", "label_studio", "voc", "yolo"])
def test_ids_and_lists_are_no_paths(line, workspace, name, tmp_path):
    """Whatever a table called them, every file of an export is in its folder."""
    for image_id, hostile in (("a", "../../../up"), ("b", "/etc/passwd"), ("turned", "x\0y/..")):
        workspace.change(image_id, lists=("train", "../../../list", "/tmp/list", hostile))
    record = workspace.records[0]
    workspace.records[0] = dataclasses.replace(workspace.records[0], image_id="../../escaped")
    workspace.save()
    rows = ShardFolder(Path("data/masks")).rows(0, ["a", "b"])
    rows["../../escaped"] = rows.pop("a")
    made = [finish(i, {"made": "by a test"}, row, RefineCrf.columns) for i, row in sorted(rows.items())]
    ShardFolder(Path("data/masks")).write(
        record.shard, rows_table(made, shard_schema("refine_crf", RefineCrf.columns, CLASSES))
    )
    before = {path for path in tmp_path.parent.rglob("*") if path.is_file()}
    folder, found = written(name)
    assert set(found["images"]) == {"../../escaped", "b", "été/1 x", "turned"}
    new = {path for path in tmp_path.parent.rglob("*") if path.is_file()} - before
    assert new
    outside = {path.name for path in new if not path.is_relative_to(folder.resolve())}
    assert outside <= {"project.lock"}


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


def test_without_masks_the_remedy_is_to_run(workspace):
    """Before the line has run."""
    shutil.copyfile(ROOT / "dvc.yaml", "dvc.yaml")
    with pytest.raises(MissingError, match="contains no mask yet"):
        Selection("masks")
    with pytest.raises(MissingError, match="no such checkpoint"):
        Selection("predictions")


# --- predictions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def segmenter(tmp_path) -> Path:
    """The checkpoint of a tiny net with random weights."""
    architecture = {
        "backbone": "tiny",
        "output_stride": 16,
        "net": "deeplab_v3",
        "width": 16,
        "rates": [1, 2],
        "classes": 3,
        "folded": False,
    }
    torch.manual_seed(0)
    net = build_segmenter(build_backbone("tiny", output_stride=16, state=None, pretrained=False), architecture)
    for weight in net.classifier.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    path = tmp_path / "data/segmenter/checkpoint.safetensors"
    save_checkpoint(
        path, net.state_dict(), passport(stage="train_segmenter", architecture=architecture, classes=list(CLASSES))
    )
    return path


def test_predictions_are_exported_for_every_photograph(line, segmenter):
    """What the segmenter says, also where the line made no mask."""
    found = export("cityscapes", Selection("predictions"), Path("out"))
    assert set(found["images"]) == {*line, "v"}
    assert found["checkpoints"]["segmenter"]["supervision"] == ["imagenet-tags", "tags"]
    mask = np.array(picture("out/gtFine/train/all/a_gtFine_labelIds.png"))
    assert mask.shape == SIZES["a"]
    assert set(np.unique(mask)) <= {0, 1, 2}


def test_predict_needs_a_checkpoint_and_nothing_else(segmenter, tmp_path, monkeypatch):
    """In an empty folder: a mask and an overlay of each picture, at its size; bad ones are named, the others done."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    home = tmp_path / "empty"
    (home / "more").mkdir(parents=True)
    monkeypatch.chdir(home)
    for k, path in enumerate(("a.jpg", "more/a.png", "more/b.webp")):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (30 + k, 40, 3), dtype=np.uint8)).save(path)
    Path("bad.jpg").write_bytes(b"no")
    words = ["predict", "a.jpg", "bad.jpg", "more", "--out", "out", "--checkpoint", str(segmenter), "--scales", "1"]
    done = CliRunner().invoke(command_line(*COMMANDS), words)
    assert isinstance(done.exception, DataError)
    assert "bad.jpg: not an image" in done.exception.problem
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        f"{name}{suffix}" for name in ("a", "a~2", "b") for suffix in (".png", "_overlay.jpg")
    )
    assert decode_mask(Path("out/a~2.png").read_bytes()).shape == (31, 40)
    assert picture("out/a_overlay.jpg").size == (40, 30)
    first = Path("out/a.png").read_bytes()
    assert CliRunner().invoke(command_line(*COMMANDS), [*words[:2], *words[4:]]).exit_code == 0
    assert Path("out/a.png").read_bytes() == first


@pytest.mark.timeout(120)
def test_predict_names_what_is_no_picture(segmenter, tmp_path, monkeypatch):
    """A FIFO and an EPS among the pictures of a folder: the others are done, nothing waits and no program starts."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Image.new("RGB", (20, 20)).save("in/a.png")
    fifo(Path("in/b.jpg"))
    Path("in/c.jpg").write_bytes(EPS)
    words = ["predict", "in", "--out", "out", "--checkpoint", str(segmenter), "--scales", "1", "--no-flip"]
    with fake_ghostscript(tmp_path / "bin") as started:
        done = CliRunner().invoke(command_line(*COMMANDS), words)
        assert not started.exists()
    assert isinstance(done.exception, DataError)
    assert "in/b.jpg: is not a regular file" in done.exception.problem
    assert "in/c.jpg: not an image" in done.exception.problem
    assert decode_mask(Path("out/a.png").read_bytes()).shape == (20, 20)


def test_predict_replaces_its_own_results_and_nothing_else(segmenter, tmp_path, monkeypatch):
    """No photograph, no true mask in the same colours, no link: it refuses before the first write, whoever is the second one."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    home = tmp_path / "home"
    (home / "photos").mkdir(parents=True)
    (home / "truth").mkdir()
    (home / "links").mkdir()
    monkeypatch.chdir(home)
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((20, 24, 3), 99, np.uint8)).save(f"photos/{name}")
    Path("truth/b.png").write_bytes(encode_mask(np.ones((20, 24), np.uint8)))
    Path("links/b_overlay.jpg").symlink_to("nowhere")
    Path("file").write_text("mine")

    def predict(*pictures: str, out: str) -> object:
        words = ["predict", *pictures, "--out", out, "--checkpoint", str(segmenter), "--scales", "1", "--no-flip"]
        return CliRunner().invoke(command_line(*COMMANDS), words)

    def found() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(Path().rglob("*")) if p.is_file()}

    assert predict("photos", out="results").exit_code == 0
    assert (decode_mask(Path("results/a.png").read_bytes()) <= 2).all()
    before = found()
    assert predict("photos", out="results").exit_code == 0
    assert found() == before
    for pictures, out, message in (
        ("photos", "photos", "photos/a.png: is one of the pictures"),
        ("photos", "photos/../photos", "is one of the pictures"),
        ("results", "results", "results/a.png: is one of the pictures"),
        ("photos/b.png", "truth", "truth/b.png: was not written by `labelfactory predict`"),
        ("photos", "links", "links/b_overlay.jpg: was not written"),
        ("photos", "file", "file: is not a folder"),
    ):
        assert message in str(predict(pictures, out=out).exception)
        assert found() == before
    Path("truth/b.png").unlink()
    os.link("photos/a.png", "truth/b.png")
    assert "truth/b.png: is one of the pictures" in str(predict("photos", out="truth").exception)


def test_predict_refuses_other_weights(tmp_path, monkeypatch):
    """A classifier's checkpoint, a missing one, scales that are none."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 20)).save("a.png")
    save_checkpoint(tmp_path / "c.safetensors", {"w": torch.zeros(1)}, passport())
    for words, message in (
        (["--checkpoint", "c.safetensors"], "the weights of train_classifier, not of a segmenter"),
        (["--checkpoint", "no.safetensors"], "no such checkpoint"),
        (["--checkpoint", "c.safetensors", "--scales", "x"], "--scales 'x': each must be a number"),
    ):
        done = CliRunner().invoke(command_line(*COMMANDS), ["predict", "a.png", "--out", "out", *words])
        assert message in str(done.exception)
    assert not Path("out").exists()
