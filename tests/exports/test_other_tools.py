"""Exports opened by the code of Ultralytics, Label Studio, CVAT (datumaro) and FiftyOne, where their packages lie in a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exportable import exportable, tiny_segmenter, written
from starts import starts

from labelfactory.names import file_name

IDS = ("photo 0", "été_1", "a+b2", "nr#3", "100%_4", "plain", "turned")
SIZES = {image_id: (24 + k, 32) for k, image_id in enumerate(IDS)}
TOOLS = os.environ.get("LABELFACTORY_OTHER_TOOLS", "")
"""A folder of other tools' packages, which are no dependencies of ours: `pip install --no-deps --target DIR ultralytics
label-studio-sdk pyjwt datumaro json-stream json-stream-rs-tokenizer imagesize defusedxml` and what they say is missing."""
FIFTYONE_FOLDER = os.environ.get("LABELFACTORY_FIFTYONE", "")
"""The same for `fiftyone voxel51-eta "graphql-core<3.3"`, which need a folder of their own. No database has to run."""

ULTRALYTICS = """
import importlib.metadata, importlib.machinery, json, sys, types
sys.path.append(sys.argv[1])
named = importlib.metadata.version
importlib.metadata.version = lambda name: "0.0" if name == "torchvision" else named(name)
for name in ("torchvision", "torchvision.ops", "torchvision.transforms"):  # it cannot be imported beside a torch for CPUs
    module = sys.modules[name] = types.ModuleType(name)
    module.__spec__, module.__path__, module.__version__ = importlib.machinery.ModuleSpec(name, None), [], "0.0"
    module.__file__, module.__getattr__ = "<none>", lambda name: type(name, (), {})
from ultralytics.data import utils
data = utils.check_det_dataset(sys.argv[2], autodownload=False)
counts = {}
for name in ("train", "val"):
    images = sorted(p for p in __import__("pathlib").Path(data[name]).iterdir())
    labels = utils.img2label_paths([str(p) for p in images])
    counts[name] = []
    for image, label in zip(images, labels):
        found = utils.verify_image_label((str(image), label, "", False, len(data["names"]), 0, 0, False))
        missing, present, empty, corrupt, message = found[5:]
        counts[name].append([image.stem, missing, corrupt, message])
        if found[3]:
            import numpy as np
            h, w = found[2]
            masks = [utils.polygon2mask((h, w), [(s * [w, h]).reshape(-1)]) for s in found[3]]
            counts[name][-1] += [int(np.sum(m)) for m in masks]
print(json.dumps({"names": data["names"], "lists": counts}))
"""
LABEL_STUDIO = """
import json, sys
sys.path.append(sys.argv[1])
import os
os.environ["LOCAL_FILES_DOCUMENT_ROOT"] = os.environ["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] = sys.argv[2]
from label_studio_sdk._extensions.label_studio_tools.core.utils.io import get_local_path
tasks = json.load(open(sys.argv[2] + "/tasks.json", encoding="utf-8"))
print(json.dumps([get_local_path(task["data"]["image"], image_dir="/nowhere", task_id=1) for task in tasks]))
"""
DATUMARO = """
import json, sys
sys.path.append(sys.argv[1])
import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
dataset = Dataset.import_from(sys.argv[2], sys.argv[3])
names = [label.name for label in dataset.categories()[AnnotationType.label]]
found = {}
for item in dataset:
    of_item = found.setdefault(item.id.rpartition("/")[2], {})
    for a in item.annotations:
        if a.type == AnnotationType.mask and not a.attributes.get("is_crowd"):
            of_item[names[a.label]] = of_item.get(names[a.label], 0) + int(np.sum(a.image > 0))
print(json.dumps(found))
"""
FIFTYONE = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
os.environ["FIFTYONE_DATABASE_URI"] = "mongodb://127.0.0.1:1"
from pathlib import Path
import fiftyone.utils.coco, fiftyone.utils.yolo
folder, name = sys.argv[2:]
if name == "coco":
    reader = fiftyone.utils.coco.COCODetectionDatasetImporter(
        data_path=folder + "/images", labels_path=folder + "/instances.json", label_types=["segmentations"]
    )
else:
    reader = fiftyone.utils.yolo.YOLOv5DatasetImporter(
        dataset_dir=folder, yaml_path="data.yaml", split="train", label_type="polylines"
    )
found = {}
with reader:
    for path, metadata, label in reader:
        found[Path(path).stem] = counts = {}
        labels = [label] if not isinstance(label, dict) else label.values()
        for each in filter(None, labels):
            for one in [*getattr(each, "detections", ()), *getattr(each, "polylines", ())]:
                if getattr(one, "iscrowd", 0):  # void
                    continue
                pixels = int(one.mask.sum()) if getattr(one, "mask", None) is not None else len(one.points)
                counts[one.label] = counts.get(one.label, 0) + pixels
print(json.dumps(found))
"""


@starts("starts_program")
def asked(program: str, *words: str, packages: str = TOOLS) -> object:
    """What a program prints that stands in another folder and loads other tools' packages; skips aloud without them."""
    if not packages:
        pytest.skip("LABELFACTORY_OTHER_TOOLS and LABELFACTORY_FIFTYONE name no folders of other tools' packages")
    done = subprocess.run(
        [sys.executable, "-c", program, packages, *words],
        cwd="/",
        env={**os.environ, "YOLO_CONFIG_DIR": "/tmp/ultralytics", "YOLO_OFFLINE": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def counted(mask: np.ndarray) -> dict[str, int]:
    return {name: n for k, name in ((1, "cat"), (2, "dog")) if (n := int((mask == k).sum()))}


def test_ultralytics_checks_the_folder_and_draws_the_same_pixels(workspace):
    """Its data check from another folder, its check of each label, and its polygons as masks: areas are those of the objects."""
    truth = exportable(workspace, sizes=SIZES)
    tiny_segmenter(workspace.root)
    folder, _ = written("yolo", min_area=1)
    read = asked(ULTRALYTICS, str((folder / "data.yaml").resolve()))
    assert read["names"] == {"0": "cat", "1": "dog"}
    images = {row[0]: row for row in read["lists"]["train"]}
    assert not [row for row in images.values() if row[2] or row[1]]
    for image_id, mask in truth.items():
        assert sum(images[file_name(image_id)][4:]) == sum(counted(mask).values())
    assert [row[0] for row in read["lists"]["val"]] == ["v"]


def test_label_studios_own_rule_finds_each_file(workspace):
    """The function by which its SDK and converter find local files."""
    exportable(workspace, sizes=SIZES)
    folder, _ = written("label_studio")
    paths = asked(LABEL_STUDIO, str(folder.resolve()))
    assert {Path(path).stem for path in paths} == {file_name(image_id) for image_id in IDS}
    assert all(Path(path).is_file() for path in paths)


@pytest.mark.parametrize(("name", "called"), [("coco", "coco"), ("cvat", "cvat"), ("voc", "voc_segmentation")])
def test_datumaro_counts_the_same_pixels(workspace, name, called):
    """CVAT's reader of formats: pixels of each class in each photograph."""
    truth = exportable(workspace, sizes=SIZES)
    folder, _ = written(name, min_area=1)
    if name == "coco":  # as the folder is called where both files lie in one place
        (folder / "annotations").mkdir()
        (folder / "instances.json").rename(folder / "annotations/instances_train.json")
    read = asked(DATUMARO, str(folder.resolve()), called)
    for of_image in read.values():
        for other in ("background", "ignored"):
            of_image.pop(other, None)
    assert read == {file_name(image_id): counted(mask) for image_id, mask in truth.items()}


@pytest.mark.parametrize("name", ["coco", "yolo"])  # it reads no masks of CVAT
def test_fiftyone_reads_the_same_labels(workspace, name):
    """Its importers: each photograph with its classes; of COCO, whose regions it draws, the pixels of each too."""
    truth = exportable(workspace, sizes=SIZES)
    tiny_segmenter(workspace.root)
    folder, _ = written(name, min_area=1)
    read = asked(FIFTYONE, str(folder.resolve()), name, packages=FIFTYONE_FOLDER)
    wanted = {file_name(image_id): counted(mask) for image_id, mask in truth.items()}
    if name != "coco":
        read, wanted = ({i: set(counts) for i, counts in each.items()} for each in (read, wanted))
    assert read == wanted
