"""Names of files and classes that would write lines of their own, or be two classes; and warnings that name nothing."""

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelfactory.dataset.left_out import LeftOut
from labelfactory.errors import DataError
from sources._batch import Batch
from sources._import_plan import ImportOptions, plan_import
from sources.coco import find_coco
from sources.folder import find_folder
from sources.hf import find_hf
from sources.table import find_table
from sources.voc import find_voc

EASY = ImportOptions(val_fraction=0.5)
FORGED = "a\nimport: 9 images added\x1b[2J\r\tb"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs of cats, dogs and of neither."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(("cat", "dog", "background")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        pixels = np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{name}/{k}.png")
    return tmp_path


def test_a_photograph_that_is_left_out_takes_one_line():
    """Whatever its file is called."""
    line = LeftOut(FORGED, f"{FORGED}, row 1", f"other {FORGED}", f"{FORGED!r} and {FORGED}").line
    assert line.isprintable()
    assert r"a\nimport: 9 images added\x1b[2J\r\tb, row 1" in line


def test_no_file_name_writes_a_line_of_the_message(here):
    """Of a folder that is empty, a photograph that is damaged, and two of the same bytes on two lists."""
    Path("photos/background").rename(f"photos/{FORGED}")
    Path(f"photos/{FORGED}/2.png").unlink()
    Path(f"photos/cat/{FORGED}.png").write_bytes(b"")
    with pytest.raises(DataError, match="problems") as caught:
        plan_import(find_folder(Path("photos")), EASY)
    first, *lines = caught.value.problem.split("\n")
    assert all(line.startswith("  ") and line.isprintable() for line in lines)
    assert first == f"photos: {len(lines)} problems"
    assert any(r"a\nimport: 9" in line for line in lines)
    Path(f"photos/dog/{FORGED}.png").write_bytes(Path("photos/cat/0.png").read_bytes())
    rows = [
        {"path": "photos/cat/0.png", "tags": "cat", "id": "a", "list": "train"},
        {"path": f"photos/dog/{FORGED}.png", "tags": "cat", "id": "b", "list": "val"},
    ]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match="share 1 photographs") as caught:
        plan_import(find_table(Path("t.jsonl")), ImportOptions())
    assert len(caught.value.problem.split("\n")) == 2


def table(name: str) -> Batch:
    rows = [{"path": path.as_posix(), "tags": path.parent.name} for path in sorted(Path("photos").rglob("*.png"))]
    rows = [row | {"tags": row["tags"].replace("background", name)} for row in rows]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return find_table(Path("t.jsonl"))


def coco(name: str) -> Batch:
    names = ["cat/0.png", "dog/1.png", "background/2.png"]
    listed = {
        "images": [{"id": k, "file_name": path} for k, path in enumerate(names)],
        "annotations": [{"image_id": k, "category_id": 2 - k} for k in range(3)],
        "categories": [{"id": 2 - k, "name": tag} for k, tag in enumerate(("cat", "dog", name))],
    }
    Path("c.json").write_text(json.dumps(listed))
    return find_coco(Path("c.json"), Path("photos"), renamed=[name])


def hf(name: str) -> Batch:
    paths = sorted(Path("photos").rglob("*.png"))
    images = [{"bytes": path.read_bytes(), "path": None} for path in paths]
    tags = [path.parent.name.replace("background", name) for path in paths]
    Path("d").mkdir()
    pq.write_table(pa.table({"image": images, "tags": tags}), "d/t.parquet")
    return find_hf(Path("d"))


def voc(name: str) -> Batch:
    for each in ("JPEGImages", "ImageSets"):
        Path("voc", each).mkdir(parents=True)
    for path in Path("photos").rglob("*.png"):
        path.rename(f"voc/JPEGImages/{path.name}")
    Path("voc/ImageSets/train.txt").write_text("0\n1\n2\n")
    Path("voc/classes.txt").write_text(f"background\ncat\ndog\n{name}\n")
    Path("voc/tags.csv").write_text(f"0,cat\n1,dog\n2,{name}\n")
    return find_voc(Path("voc"))


@pytest.mark.parametrize("name", ["background", "Background"])
@pytest.mark.parametrize("source", [table, coco, hf, voc])
def test_a_class_that_is_called_background_is_refused(here, source, name):
    """It would be a second class of that name beside class 0. Dropped as the message says, its photographs have no tag."""
    batch = source(name)
    if (source, name) == (voc, "background"):
        with pytest.raises(DataError, match=r"row 4: 'background' appears in row 1 too"):
            plan_import(batch, EASY)
        return
    with pytest.raises(DataError, match=rf"'{name}' is the name of class 0.*--rename {name}=,.*--rename {name}=NEW"):
        plan_import(batch, EASY)
    manifest = plan_import(batch, ImportOptions(val_fraction=0.5, rename={name: ""})).manifest
    assert (
        manifest.classes.names == ("cat", "dog")
        if source is not coco
        else {"cat", "dog"} == set(manifest.classes.names)
    )
    assert sorted(entry.tags for entry in manifest.entries) == [(), ("cat",), ("dog",)]
    renamed = plan_import(batch, ImportOptions(val_fraction=0.5, rename={name: "scenery"})).manifest
    assert "scenery" in renamed.classes.names


def test_no_class_gets_that_name_by_renaming(here):
    """Nor by --classes."""
    for rename, classes in (({"cat": "background"}, ()), ({}, ("cat", "background"))):
        with pytest.raises(DataError, match="'background' is the name of class 0"):
            plan_import(find_folder(Path("photos")), ImportOptions(rename=rename, classes=classes, val_fraction=0.5))


def test_pillow_writes_no_warnings_of_its_own(here):
    """A message of ours names the file; a warning names a line of Pillow. In a process with the usual filters."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    entries = struct.pack("<HHII", 0x010E, 2, 100, 2**31) + struct.pack(
        "<HHII", 0x0112, 3, 1, 1
    )  # one text lies beyond the end
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    data = stream.getvalue()
    Path("a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    program = (
        "import sys; from pathlib import Path; from labelfactory.dataset.images import decode_photograph\n"
        "for name in sys.argv[1:]: print(decode_photograph(Path(name).read_bytes()).shape)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    result = subprocess.run(
        [sys.executable, "-c", program, "a.jpg"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("(8, 8, 3)\n", "")
