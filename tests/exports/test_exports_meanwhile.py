"""Exports while another command changes what they read."""

import dataclasses
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from exportable import exportable, written
from withdrawing import tell_ledger

from app.export import export as export_command
from exports._selection import Selection
from exports._write import export
from labelfactory.dataset.corrections import store_mask, write_corrections
from labelfactory.dataset.prepared import read_dataset
from labelfactory.errors import ChangedMeanwhileError, DataError, UserError
from labelfactory.files import temporary_path
from labelfactory.rows.reader import RowReader
from labelfactory.settings.registry import load_method


@pytest.fixture
def line(workspace) -> dict[str, np.ndarray]:
    """Photographs with masks, ready to be exported."""
    return exportable(workspace)


def test_what_is_withdrawn_during_an_export_does_not_go_out(line, monkeypatch):
    """Neither as a new folder nor in place of an older one; the next one leaves it out."""
    folder, _ = written("voc")
    before = sorted(path.name for path in folder.rglob("*"))
    first = next(iter(line))
    record = next(r for r in read_dataset().records if r.image_id == first)
    whole = load_method("exports", "voc").write

    def withdrawing(selection: Selection, temporary: Path) -> dict:
        facts = whole(selection, temporary)
        tell_ledger(**{first: record.sha256})
        return facts

    selections = [(Selection("masks"), out) for out in (folder, Path("new"))]
    with monkeypatch.context() as patched:
        patched.setattr("exports.voc.write", withdrawing)
        for selection, out in selections:
            with pytest.raises(DataError, match=f"withdrawn during the export: {first}") as caught:
                export("voc", selection, out)
            assert "leaves them out" in caught.value.remedy
    assert not Path("new").exists()
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert first not in written("voc")[1]["images"]


def test_an_export_begins_again_without_what_is_withdrawn_meanwhile(line, monkeypatch, capsys):
    """Its photograph is deleted before the export comes to it."""
    first = next(iter(line))
    record = next(r for r in read_dataset().records if r.image_id == first)
    whole, begun = load_method("exports", "voc").write, []

    def withdrawing(selection: Selection, folder: Path) -> dict:
        if not begun:
            tell_ledger(**{first: record.sha256})
            Path(record.path).unlink()
        begun.append(first in {r.image_id for r in selection.records})
        return whole(selection, folder)

    monkeypatch.setattr("exports.voc.write", withdrawing)
    export_command("voc", Path("out"))
    assert begun == [True, False]
    assert set(json.loads(Path("out/provenance.json").read_text())["images"]) == set(line) - {first}
    assert f"withdrawn during the export: {first}" in capsys.readouterr().err


def test_an_export_begins_again_after_a_correction_is_removed_meanwhile(line, monkeypatch, capsys):
    """No command that another one was faster than has to be typed again."""
    first = next(iter(line))
    record = next(r for r in read_dataset().records if r.image_id == first)
    drawn = np.ones((record.height, record.width), dtype=np.uint8)
    correction = store_mask(first, record.sha256, drawn, read_dataset().classes)
    write_corrections([correction])
    whole, begun = load_method("exports", "voc").write, []

    def removing(selection: Selection, folder: Path) -> dict:
        if not begun:
            write_corrections([])
            correction.path().unlink()
        begun.append(first)
        return whole(selection, folder)

    monkeypatch.setattr("exports.voc.write", removing)
    export_command("voc", Path("out"))
    assert len(begun) == 2
    assert json.loads(Path("out/provenance.json").read_text())["images"][first]["source"] != "human"
    assert f"{first}: its correction was replaced meanwhile; it begins again" in capsys.readouterr().err


def test_an_export_does_not_begin_again_for_ever(line, monkeypatch):
    """A row that was damaged on the disk looks replaced each time."""
    first = next(iter(line))
    row = RowReader._row
    damaged = lambda reader, image_id, state: row(reader, image_id, dataclasses.replace(state, digest="0" * 64))  # noqa: E731
    monkeypatch.setattr(RowReader, "_row", damaged)
    with pytest.raises(ChangedMeanwhileError, match=f"{first}: its row in data/masks was replaced meanwhile"):
        export_command("voc", Path("out"))


@pytest.mark.parametrize("kind", ["", "old"])
def test_a_folder_that_somebody_gives_the_temporary_name_stays(line, monkeypatch, tmp_path, kind):
    """Number of process and machine tell it; where others can rename, any folder of this user may be there."""
    out = tmp_path / "shared/out"
    mine = temporary_path(out, kind)
    whole = load_method("exports", "voc").write

    def meanwhile(selection: Selection, folder: Path) -> dict:
        facts = whole(selection, folder)
        if mine.exists():
            mine.rename(tmp_path / "away")
        mine.mkdir()
        (mine / "thesis.tex").write_text("years")
        return facts

    monkeypatch.setattr("exports.voc.write", meanwhile)
    with suppress(UserError):
        export("voc", Selection("masks"), out)
    assert [path for path in (mine / "thesis.tex", out / "thesis.tex") if path.exists()]
