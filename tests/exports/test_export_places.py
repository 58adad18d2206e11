"""What an export may replace, and what may leave the project by it: files as they were imported, names that lead nowhere."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exportable import CLASSES, exportable, tiny_segmenter, write_masks, written
from hostile_files import SECRET, fifo
from PIL import Image

from exports._package import Checked, write_package
from exports._predicted import refuse_others, write_predicted
from exports._selection import Selection
from exports._write import export
from labelfactory.destinations import blank_seal
from labelfactory.errors import DataError
from labelfactory.files import DiskError
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.settings.registry import load_method
from lineage.diff import compare
from lineage.export import export_lineage
from lineage.mask_set import MaskSet
from stages.refine_crf import RefineCrf


@pytest.fixture
def line(workspace) -> dict[str, np.ndarray]:
    """Photographs with masks, ready to be exported."""
    return exportable(workspace)


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


def with_a_note(folder: Path) -> None:
    stated = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps({**stated, "note": "checked by hand"}, indent=2))


def of_another_program(folder: Path) -> None:
    (folder / "provenance.json").write_text('{"builder": "npm", "files": {}}')


@pytest.mark.parametrize(
    "change", [lost, corrected, linked, with_a_link, without_a_list, with_a_note, of_another_program]
)
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


@pytest.mark.parametrize("others", ["predicted", "package", "lineage"])
def test_what_is_put_in_a_files_place_while_it_is_made_stays(tmp_path, monkeypatch, others):
    """Between the check before the work and the end of it, which may be hours later."""
    monkeypatch.chdir(tmp_path)
    mine = Path({"predicted": "a.png", "package": "m.onnx", "lineage": "openlineage.jsonl"}[others])

    def put(*_: object) -> list[dict[str, object]]:
        mine.write_text("years")
        return []

    if others == "predicted":
        refuse_others(Path(), ["a"], [])
        put()
        with pytest.raises(DataError, match="was not written by"):
            write_predicted(Path(), "a", np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8))
    elif others == "lineage":
        monkeypatch.setattr("lineage.export.openlineage", put)
        with pytest.raises(DataError, match="was not written by"):
            export_lineage(None, Path())
    else:
        monkeypatch.setattr(
            "exports._package._export", lambda net, path: [path.write_text(blank_seal("labelfactory package")), put()]
        )
        monkeypatch.setattr("exports._package._write_metadata", lambda *_: None)
        monkeypatch.setattr("exports._package.check_package", lambda *_: Checked(1, 1.0, 0.0))
        with pytest.raises(DataError, match="was not written by"):
            write_package(tiny_segmenter(tmp_path), mine, [])
    assert mine.read_text() == "years"
    assert [path for path in Path().iterdir() if path.name != "data"] == [mine]


def writing_to(place: Path) -> list[Callable[[], object]]:
    """All that write results to a place that a person names."""
    return [
        lambda: export("voc", Selection("masks"), place),
        lambda: write_package(Path("no.safetensors"), place, []),
        lambda: export_lineage(None, place),
        lambda: refuse_others(place, ["a"], []),
        lambda: compare(MaskSet("a", {}, []), MaskSet("b", {}, []), pictures=place),
    ]


@pytest.mark.parametrize(
    "out", ["data", "data/masks", "data/new/deep", "../{here}/data/new", "by/new", "dvc.yaml", ".dvc/x"]
)
def test_no_result_goes_where_the_project_keeps_its_own(line, out):
    """However its path is written: export, package, lineage, predict and diff refuse it before they write."""
    Path("by").symlink_to("data")
    place = Path(out.format(here=Path.cwd().name))
    before = sorted(str(path) for path in Path().rglob("*"))
    for refusing in writing_to(place):
        with pytest.raises(DataError, match="belongs to the project"):
            refusing()
    assert sorted(str(path) for path in Path().rglob("*")) == before


@pytest.mark.parametrize("out", ["file/x", "file/x/y", "loop", "loop/x", "n" * 300])
def test_a_place_that_is_none_is_refused_by_every_command(line, out):
    """In two lines, before a network is loaded or a picture read."""
    Path("file").write_text("mine")
    Path("loop").symlink_to("loop")
    place = Path(out)
    before = sorted(str(path) for path in Path().rglob("*"))
    for refusing in writing_to(place):
        with pytest.raises(DiskError, match="cannot be written") as caught:
            refusing()
        assert caught.value.remedy
    assert sorted(str(path) for path in Path().rglob("*")) == before


def test_an_export_to_no_folder_leaves_nothing(line):
    """A file of somebody is in its place."""
    Path("file").write_text("mine")
    with pytest.raises(DataError):
        export("voc", Selection("masks"), Path("file"))
    assert Path("file").read_text() == "mine"
    assert not [path for path in Path().iterdir() if path.name.startswith(".file")]


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
    with pytest.raises(DataError, match="its row in data/masks was replaced meanwhile"):
        export(name, selection, Path("out") / name)
    assert not [path for path in Path("out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["cityscapes", "coco", "cvat", "hf", "label_studio", "voc", "yolo"])
def test_ids_and_lists_are_no_paths(line, workspace, name, tmp_path):
    """Whatever a table called them, every file of an export is in its folder."""
    for image_id, hostile in (("a", "../../../up"), ("b", "/etc/passwd"), ("turned", "x\0y/..")):
        workspace.change(image_id, lists=("train", "../../../list", "/tmp/list", hostile))
    workspace.records[0] = dataclasses.replace(workspace.records[0], image_id="../../escaped")
    workspace.save()
    write_masks(workspace, {"../../escaped" if image_id == "a" else image_id: mask for image_id, mask in line.items()})
    before = {path for path in tmp_path.parent.rglob("*") if path.is_file()}
    folder, found = written(name)
    assert set(found["images"]) == {"../../escaped", "b", "été/1 x", "turned"}
    new = {path for path in tmp_path.parent.rglob("*") if path.is_file()} - before
    assert new
    outside = {path.name for path in new if not path.is_relative_to(folder.resolve())}
    assert outside <= {"project.lock"}
