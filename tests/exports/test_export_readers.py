"""Exports as other tools open them: addresses, folders and names of classes."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import yaml
from datasets import load_dataset
from exportable import exportable, tiny_segmenter, written
from pycocotools.coco import COCO

from exports._selection import Selection
from exports._write import export
from labelfactory.dataset.images import decode_mask
from sources._import_plan import ImportOptions, plan_import
from sources.coco import find_coco
from sources.hf import find_hf
from sources.voc import find_voc

IDS = ("photo 0", "été_1", "a+b2", "nr#3", "100%_4", "plain", "x&y=z?", "a/b\\c", "%20", "猫", "turned")
SIZES = {image_id: (24 + k, 32) for k, image_id in enumerate(IDS)}
NAMES = ("a, b", 'say "hi"', "it's", "été 猫", "a;b", "no", "1: x # y", "<b>&")


def read_voc(folder: Path) -> dict[str, dict[str, int]]:
    return tagged_pixels(plan_import(find_voc(folder), ImportOptions(check_masks=True)))


def read_hf(folder: Path) -> dict[str, dict[str, int]]:
    return tagged_pixels(plan_import(find_hf(folder), ImportOptions(check_masks=True)))


def read_coco(folder: Path) -> dict[str, dict[str, int]]:
    return tagged_pixels(plan_import(find_coco(folder / "instances.json", folder / "images"), ImportOptions()))


def tagged_pixels(plan) -> dict[str, dict[str, int]]:
    """Image → class → pixels in its mask, of what our own importer reads."""
    plan.write_files()
    assert not plan.left_out
    names = ("background", *plan.manifest.classes.names)
    found = {}
    for entry in plan.manifest.entries:
        mask = decode_mask(Path(entry.mask_path).read_bytes())
        of_class = {names[plan.manifest.mask_ids[int(v)]]: int((mask == v).sum()) for v in np.unique(mask) if v < 255}
        of_class.pop("background", None)
        assert entry.tags
        found[entry.image_id] = of_class
    return found


def read_pycocotools(folder: Path) -> dict[str, dict[str, int]]:
    coco = COCO(str(folder / "semantic.json"))
    names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
    return {
        image["file_name"].rpartition(".")[0]: {
            names[a["category_id"]]: int(coco.annToMask(a).sum())
            for a in coco.loadAnns(coco.getAnnIds(imgIds=image["id"], iscrowd=False))
        }
        for image in coco.loadImgs(coco.getImgIds())
    }


def read_datasets(folder: Path) -> dict[str, dict[str, int]]:
    loaded = load_dataset(str(folder), cache_dir="cache")["train"]
    names = loaded.features["tags"].feature.names
    return {row["image_id"]: counted(np.array(row["mask"]), names) for row in loaded}


def read_cityscapes(folder: Path) -> dict[str, dict[str, int]]:
    names = [row["name"] for row in json.loads((folder / "labels.json").read_text(encoding="utf-8"))]
    end = "_gtFine_labelIds.png"
    return {
        path.name.removesuffix(end): counted(decode_mask(path.read_bytes()), names)
        for path in (folder / "gtFine/train/all").glob(f"*{end}")
    }


def counted(mask: np.ndarray, names: list[str]) -> dict[str, int]:
    return {names[k]: int((mask == k).sum()) for k in np.unique(mask) if 0 < k < 255}


READERS: dict[str, tuple[str, Callable[[Path], dict[str, dict[str, int]]]]] = {
    "voc": ("voc", read_voc),
    "hf": ("hf", read_hf),
    "coco": ("coco", read_coco),
    "pycocotools": ("coco", read_pycocotools),
    "datasets": ("hf", read_datasets),
    "cityscapes": ("cityscapes", read_cityscapes),
}


@pytest.mark.parametrize("reader", list(READERS))
def test_names_of_any_kind_come_back(workspace, reader):
    """Names with commas, quotes, blanks and other letters keep their pixels, in photographs of any name."""
    truth = exportable(workspace, NAMES, SIZES)
    name, read = READERS[reader]
    folder, _ = written(name, min_area=1)
    wanted = sorted(sorted(counted(mask, ["", *NAMES]).items()) for mask in truth.values())
    assert sorted(sorted(found.items()) for found in read(folder).values()) == wanted


def test_names_of_any_kind_stand_in_the_files_of_editors(workspace):
    """CVAT and Label Studio name classes in XML, YOLO in YAML; each annotation has one of these names."""
    exportable(workspace, NAMES, SIZES)
    cvat = ElementTree.parse(written("cvat")[0] / "annotations.xml").getroot()
    assert tuple(name.text for name in cvat.findall("meta/task/labels/label/name")) == NAMES
    assert {mask.get("label") for mask in cvat.iter("mask")} == set(NAMES)
    folder, _ = written("label_studio")
    labels = ElementTree.parse(folder / "labels.xml").getroot().findall("PolygonLabels/Label")
    assert tuple(label.get("value") for label in labels) == NAMES
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    results = [result for task in tasks for result in task["predictions"][0]["result"]]
    assert {label for result in results for label in result["value"]["polygonlabels"]} == set(NAMES)
    assert yaml.safe_load((written("yolo")[0] / "data.yaml").read_text(encoding="utf-8"))["names"] == dict(
        enumerate(NAMES)
    )


def test_label_studio_finds_each_photograph(workspace):
    """Its server decodes the query once, as Django does (urllib decodes alike); the rest is a path below the export."""
    exportable(workspace, sizes=SIZES)
    folder, _ = written("label_studio")
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    found = {}
    for task in tasks:
        (path,) = parse_qs(urlsplit(task["data"]["image"]).query)["d"]
        assert (folder / path).is_file()
        found[task["data"]["image_id"]] = path
    assert set(found) == set(IDS)
    assert len(set(found.values())) == len(IDS)


def lists_of(data: Path) -> dict[str, Path]:
    """The folders of data.yaml by the rule of `check_det_dataset` of ultralytics 8.4."""
    stated = yaml.safe_load(data.read_text(encoding="utf-8"))
    root = Path(stated.get("path") or data.parent)
    return {name: (root / stated[name]).resolve() for name in ("train", "val")}


def test_yolo_names_the_validation_list(workspace):
    """Its masks are predictions, as the line makes none, and provenance.json says so; data.yaml is found from anywhere."""
    exportable(workspace)
    tiny_segmenter(workspace.root)
    folder, found = written("yolo")
    stated = lists_of(folder.resolve() / "data.yaml")
    assert {name: {path.stem for path in images.iterdir()} for name, images in stated.items()} == {
        "train": {"a", "b", "%C3%A9t%C3%A9%2F1%20x", "turned"},
        "val": {"v"},
    }
    assert (folder / "labels/val/v.txt").is_file()
    validation = found["facts"]["validation"]
    assert validation["list"] == "val"
    assert validation["weights_digest"]
    assert {i: image["source"] for i, image in validation["predicted"].items()} == {"v": "segmenter"}
    assert "v" not in found["images"]


@pytest.mark.parametrize(
    ("options", "trained", "why"),
    [
        ({}, False, "no segmenter is trained"),
        ({"split": "train"}, True, "only the list 'train' was asked for"),
    ],
)
def test_without_a_validation_list_yolo_says_why(workspace, options, trained, why):
    """Ultralytics asks for both lists: val is then the training list."""
    exportable(workspace)
    if trained:
        tiny_segmenter(workspace.root)
    folder, found = written("yolo", **options)
    stated = lists_of(folder.resolve() / "data.yaml")
    assert stated["train"] == stated["val"]
    assert why in found["facts"]["validation"]["why"]


def test_predictions_have_their_own_validation_list(workspace):
    exportable(workspace)
    tiny_segmenter(workspace.root)
    found = export("yolo", Selection("predictions"), Path("out"))
    assert found["facts"]["validation"] == {"list": "val"}
    assert lists_of(Path("out/data.yaml").resolve())["val"].name == "val"


def test_the_command_says_what_was_left_out(workspace, labelfactory):
    """Specks, and where the validation list is from; a format that keeps every pixel takes no --min-area."""
    exportable(workspace)
    said = labelfactory("export", "yolo", "--out", "out")
    assert "specks of fewer than 20 pixels left out" in said
    assert "val is the training list too: no segmenter is trained" in said
    assert "voc has no objects" in labelfactory("export", "voc", "--out", "voc", "--min-area", "5", code=2)
