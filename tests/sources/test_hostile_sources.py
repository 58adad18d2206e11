"""Sources that somebody else made: special files, links that lead out, pictures that are programs. Each costs its own image."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_files import EPS, SECRET, SPECIAL, fake_ghostscript, fifo
from loopback import Loopback, QuietHandler
from PIL import Image

from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.manifest import write_manifest
from labelfactory.errors import DataError
from sources import _fetch
from sources._batch import Batch
from sources._import_plan import ImportOptions, ImportPlan, plan_import
from sources.coco import find_coco
from sources.folder import find_folder
from sources.hf import find_hf
from sources.table import find_table
from sources.voc import find_voc
from stages.prepare import PrepareConfig, prepare

LENIENT = ImportOptions(max_bad_fraction=0.9, check_masks=True)
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project beside what others sent: photographs a to d, and a secret elsewhere."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key.png").write_bytes(SECRET)
    draw(tmp_path / "secret/private.png", 99)
    for name in ("sent/cat", "sent/dog", "project"):
        (tmp_path / name).mkdir(parents=True)
    for k, name in enumerate(("cat/a", "cat/b", "dog/c", "dog/d")):
        draw(tmp_path / f"sent/{name}.png", k)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def draw(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


SENT = Path("../sent")


def table() -> Batch:
    """A table of all files, `bad` the last."""
    names = sorted(path.relative_to(SENT).as_posix() for path in SENT.rglob("*.png"))
    rows = [{"path": name, "tags": name[:3]} for name in names]
    (SENT / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return find_table(SENT / "t.jsonl")


def coco() -> Batch:
    """COCO instances of all files."""
    names = sorted(path.relative_to(SENT).as_posix() for path in SENT.rglob("*.png"))
    images = [{"id": k, "file_name": name, "width": 12, "height": 10} for k, name in enumerate(names)]
    region = [[0, 0, 5, 0, 5, 5]]
    annotations = [{"image_id": k, "category_id": 1, "segmentation": region} for k in range(len(names))]
    loaded = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (SENT / "c.json").write_text(json.dumps(loaded))
    return find_coco(SENT / "c.json", SENT)


def hf() -> Batch:
    """A dataset whose images are paths."""
    names = sorted(path.relative_to(SENT).as_posix() for path in SENT.rglob("*.png"))
    images = [{"bytes": None, "path": name} for name in names]
    pq.write_table(pa.table({"image": images, "tags": [name[:3] for name in names]}), SENT / "train.parquet")
    return find_hf(SENT)


def folder() -> Batch:
    return find_folder(SENT)


NAMED: dict[str, Callable[[], Batch]] = {"table": table, "coco": coco, "hf": hf}
"""Sources whose files name the photographs."""


def reasons(plan: ImportPlan) -> str:
    return "\n".join(item.line for item in plan.left_out)


def imported(plan: ImportPlan) -> int:
    """How many were; the files of a dataset are written too."""
    plan.write_files()
    return len(plan.manifest.entries)


@pytest.mark.parametrize("case", list(SPECIAL))
@pytest.mark.parametrize("source", list(NAMED))
def test_what_is_no_photograph_is_left_out_at_once(project, source, case):
    """A pipe, a device, a socket, a file without end: its own row; the others are imported."""
    make, reason = SPECIAL[case]
    make(SENT / "dog/z.png")
    plan = plan_import(NAMED[source](), LENIENT)
    if case == "/dev/zero":
        reason = "leads out of" if source != "hf" else "is outside of"
    assert reason in reasons(plan)
    assert "z" in reasons(plan)
    assert len(plan.left_out) == 1
    assert imported(plan) == 4


@pytest.mark.parametrize("case", ["a FIFO", "/dev/zero", "a large file"])
def test_a_folder_of_classes_is_read_without_waiting(project, case):
    """What is no file is not seen; what is too large is left out."""
    SPECIAL[case][0](SENT / "dog/z.png")
    plan = plan_import(folder(), LENIENT)
    assert imported(plan) == 4
    assert ("larger than 512 MiB" in reasons(plan)) == (case == "a large file")


@pytest.mark.parametrize("target", ["../../secret/key.png", "../../secret/private.png"])
@pytest.mark.parametrize("how", ["a file", "a folder"])
@pytest.mark.parametrize("source", list(NAMED))
def test_a_link_that_a_table_leads_to_stays_in_its_folder(project, source, how, target):
    """The secret beside it is not imported, be it a photograph or not; a link to a photograph of the same folder is."""
    (SENT / "cat/e.png").symlink_to("a.png")
    if how == "a file":
        (SENT / "dog/z.png").symlink_to(target)
    else:
        (SENT / "dog/sub").symlink_to(Path(target).parent)
    batch = NAMED[source]()
    if how == "a folder":
        batch = with_row(source, f"dog/sub/{Path(target).name}")
    plan = plan_import(batch, LENIENT)
    assert ("leads out of" in reasons(plan)) or ("is outside of" in reasons(plan))
    assert len(plan.left_out) == 1
    assert imported(plan) == 5
    secret = (SENT / "dog" / target).read_bytes()
    assert not [path for path in Path("data").rglob("*.png") if path.read_bytes() == secret]


def with_row(source: str, name: str) -> Batch:
    """The source with one more row, of a photograph below a linked folder."""
    if source == "table":
        with (SENT / "t.jsonl").open("a") as stream:
            stream.write("\n" + json.dumps({"path": name, "tags": "dog"}))
        return find_table(SENT / "t.jsonl")
    if source == "coco":
        loaded = json.loads((SENT / "c.json").read_text())
        loaded["images"].append({"id": 99, "file_name": name, "width": 12, "height": 10})
        (SENT / "c.json").write_text(json.dumps(loaded))
        return find_coco(SENT / "c.json", SENT)
    rows = pq.read_table(SENT / "train.parquet").to_pylist()
    rows.append({"image": {"bytes": None, "path": name}, "tags": "dog"})
    pq.write_table(pa.Table.from_pylist(rows), SENT / "train.parquet")
    return find_hf(SENT)


def test_a_folder_of_links_that_the_user_named_is_imported_by_its_files(project, tmp_path):
    """The manifest names what the links lead to, so a link that is changed later changes nothing; `prepare` takes it."""
    for name, classes in (("cat", "ab"), ("dog", "cd")):
        (project / "photos" / name).mkdir(parents=True)
        for letter in classes:
            (project / f"photos/{name}/{letter}.png").symlink_to(f"../../../sent/{name}/{letter}.png")
    (project / "photos/cat/own.png").symlink_to("own-file")
    draw(project / "own.png", 7)
    (project / "own.png").rename(project / "photos/cat/own-file")
    plan = plan_import(find_folder(Path("photos")), ImportOptions(val_fraction=0.5))
    paths = {entry.image_id: entry.path for entry in plan.manifest.entries}
    assert paths["cat/a"] == str(tmp_path / "sent/cat/a.png")
    assert paths["cat/own"] == "photos/cat/own.png"
    config = PrepareConfig(train_list="train", val_list="val", max_bad_fraction=0, shard_size=256, compression="zstd")
    assert len(prepare(plan.manifest, config).usable) == 5


def test_a_link_in_the_project_is_not_followed_out_by_prepare(project):
    """A manifest that was written by hand, or before links were noted: the image is left out with a reason."""
    (project / "photos").mkdir()
    for name in ("a", "b"):
        draw(project / f"photos/{name}.png", ord(name))
    rows = [
        {"path": "photos/a.png", "tags": "cat", "list": "train"},
        {"path": "photos/b.png", "tags": "cat", "list": "val"},
    ]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    manifest = plan_import(find_table(Path("t.jsonl")), ImportOptions()).manifest
    Path("photos/b.png").rename("../secret/b.png")
    Path("photos/b.png").symlink_to(Path("../secret/b.png").resolve())
    strict = PrepareConfig(
        train_list="train", val_list="train", max_bad_fraction=0.6, shard_size=256, compression="zstd"
    )
    records = prepare(manifest, strict).records
    assert [record.reason for record in records] == ["", "leads out of the project"]


@pytest.mark.parametrize("name", ["cat/z.png", "cat/z.jpg", "cat/z.tif"])
def test_no_import_starts_a_program(project, tmp_path, name):
    """An EPS is no photograph, whatever it is called, in no source."""
    (SENT / name).write_bytes(EPS)
    rows = [{"path": path, "tags": "cat"} for path in ("cat/a.png", name)]
    (SENT / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with fake_ghostscript(tmp_path / "bin") as started:
        for batch in (find_table(SENT / "t.jsonl"), find_folder(SENT)):
            assert "not an image" in reasons(plan_import(batch, LENIENT))
        assert not started.exists()


@pytest.mark.parametrize(
    "name", ["tags.csv", "classes.txt", "ImageSets/train.txt", "Annotations/a.xml", "SegmentationClass/a.png"]
)
def test_a_pipe_among_the_files_of_voc_is_refused(project, name):
    """Lists, tags, classes and masks are files; the message names the file."""
    root = Path("voc")
    for each in ("JPEGImages", "ImageSets", "SegmentationClass", "Annotations"):
        (root / each).mkdir(parents=True)
    for letter in "ab":
        draw(root / f"JPEGImages/{letter}.png", ord(letter))
        (root / f"SegmentationClass/{letter}.png").write_bytes(encode_mask(np.ones((10, 12), np.uint8)))
        (root / f"Annotations/{letter}.xml").write_text("<a><object><name>cat</name></object></a>")
    (root / "ImageSets/train.txt").write_text("a\nb\n")
    (root / "classes.txt").write_text("background\ncat\n")
    if name != "Annotations/a.xml":
        (root / "tags.csv").write_text("a,cat\nb,cat\n")
    (root / name).unlink()
    fifo(root / name)
    with pytest.raises(DataError, match=r"is not a regular file") as caught:
        plan_import(find_voc(root, tags_from_masks=name.startswith("Segm")), ImportOptions(check_masks=True))
    assert name.rpartition("/")[2] in caught.value.problem


@pytest.mark.parametrize("make", [fifo, SPECIAL["/dev/zero"][0]])
def test_a_table_that_is_no_file_is_refused(project, make):
    """Tables and JSON themselves."""
    for name, find in (
        ("t.csv", find_table),
        ("t.parquet", find_table),
        ("c.json", lambda path: find_coco(path, SENT)),
    ):
        make(Path(name))
        with pytest.raises(DataError, match=r"no such file|is not a regular file"):
            plan_import(find(Path(name)), LENIENT)


def test_pieces_of_a_dataset_are_files_of_its_folder(project):
    """Neither a pipe nor a split that is a path."""
    fifo(SENT / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet: damaged: is not a regular file"):
        find_hf(SENT)
    (SENT / "train.parquet").unlink()
    (SENT / "dataset_dict.json").write_text(json.dumps({"splits": ["../secret", 7, None]}))
    Path("../secret/state.json").write_text(json.dumps({"_data_files": [{"filename": "x.arrow"}]}))
    with pytest.raises(DataError, match=r"sent/secret/state\.json: not readable"):
        find_hf(SENT)
    for state in ("[]", '{"_data_files": 3}', '{"_data_files": [3, {"filename": null}]}'):
        (SENT / "dataset_dict.json").unlink(missing_ok=True)
        (SENT / "state.json").write_text(state)
        with pytest.raises(DataError, match="contains no dataset"):
            find_hf(SENT)


def test_what_a_server_sends_is_kept_if_it_is_a_photograph(project, monkeypatch):
    """Neither a page nor a program is; nor is what does not end."""
    monkeypatch.setattr(_fetch, "LARGEST", 50_000)
    photograph = (SENT / "cat/a.png").read_bytes()
    answers = {
        "/a.png": photograph,
        "/p.py": b"import os\n",
        "/e.jpg": EPS,
        "/x.png": b"x" * 200_000,
        "/b.py": photograph,
    }

    class Handler(QuietHandler):
        def answer(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[self.path])

    server = Loopback(Handler)
    rows = [{"url": f"{server.root}{path}", "tags": "cat"} for path in answers]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plan = plan_import(find_table(Path("t.jsonl")), dataclasses.replace(LENIENT, val_fraction=0.5))
    server.close()
    assert [item.reason.split(": ", 1)[0].rpartition("/")[2] for item in plan.left_out[-1:]] == ["x.png"]
    assert len(plan.left_out) == 3
    kept = sorted(Path("data/raw/table").iterdir())
    assert [path.read_bytes() for path in kept] == [photograph] * 2
    assert {path.suffix for path in kept} == {".png", ""}
    write_manifest(plan.manifest)


@pytest.mark.parametrize("pattern", ["/**", "//**", "../secret/*", "**/../../secret/*"])
def test_a_dataset_reads_no_table_outside_of_it(project, pattern):
    """Neither through a link nor by a pattern of its README, which does not make it look there."""
    hf()
    secret = (SENT / "train.parquet").rename("../secret/train.parquet").resolve()
    (SENT / "train.parquet").symlink_to(secret)
    with pytest.raises(DataError, match="leads out of"):
        find_hf(SENT)
    (SENT / "train.parquet").unlink()
    (SENT / "other.parquet").write_bytes(secret.read_bytes())
    (SENT / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: '{pattern}'\n---\n")
    with pytest.raises(DataError, match=r"README\.md: names files that are not there"):
        find_hf(SENT)


def test_the_links_of_hugging_faces_cache_are_followed(project, tmp_path):
    """There each file of a snapshot is a link to a folder beside it."""
    hf()
    place = tmp_path / "datasets--a--b"
    (place / "blobs").mkdir(parents=True)
    (SENT / "train.parquet").rename(place / "blobs/0123")
    (place / "snapshots").mkdir()
    SENT.resolve().rename(place / "snapshots/9f")
    (place / "snapshots/9f/train.parquet").symlink_to("../../blobs/0123")
    assert imported(plan_import(find_hf(place / "snapshots/9f"), LENIENT)) == 4
    (place / "snapshots/9f/train.parquet").unlink()
    (place / "snapshots/9f/data").mkdir()
    for name in ("cat", "dog"):
        (place / "snapshots/9f" / name).rename(place / "snapshots/9f/data" / name)
    (place / "snapshots/9f/data/train.parquet").symlink_to("../../../blobs/0123")
    assert len(plan_import(find_hf(place / "snapshots/9f/data"), LENIENT).manifest.entries) == 4
