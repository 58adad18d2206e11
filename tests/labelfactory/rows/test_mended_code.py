"""A stage that fails, is mended and goes on: no row of the old code is left where values differ, none is lost where not."""

from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from conftest import Workspace

from labelfactory.errors import DataError
from labelfactory.rows.columns import NumberColumn
from labelfactory.rows.engine import Tally
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage

CODE = """
def level(image_id, pixels):
    # a first try
    if image_id == "c":
        raise ValueError("a photograph of this kind was not thought of")
    return int(pixels.sum()) * {factor}
"""
MENDED = CODE.replace('if image_id == "c":', "if pixels.ndim != 3:")


class Level(PerImageStage[Section]):
    """Runs the code that lies in the project, as a stage of the line does."""

    writes = "level"
    columns = {"level": NumberColumn("int64")}
    uses_gpu = False
    processed: ClassVar[list[str]] = []

    @classmethod
    def stage_name(cls) -> str:
        return "level"

    def setup(self) -> None:
        self.code: dict[str, Any] = {}
        exec(Path("code/science.py").read_text(), self.code)

    def process(self, sample: Sample) -> Row:
        self.processed.append(sample.record.image_id)
        return {"level": self.code["level"](sample.record.image_id, sample.photograph())}


@pytest.fixture
def project(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Five photographs of which one makes the first code fail; no sample may be bad."""
    monkeypatch.setattr(Level, "processed", [])
    workspace.max_bad_fraction = 0.0
    workspace.save()
    workspace.wire("level")
    Path("stages/level.py").write_text("from code import science\n")
    Path("data/level").mkdir()
    Path("code/science.py").write_text(CODE.format(factor=1))
    with pytest.raises(DataError, match="1 of 5 images could not be processed"):
        Level(Section()).update()
    assert Level.processed == ["a", "b", "c", "d"]
    Level.processed.clear()
    return workspace


def values(workspace: Workspace, factor: int) -> dict[str, int]:
    return {r.image_id: int(r.photograph().sum()) * factor for r in workspace.records}


def rows() -> list[dict[str, Any]]:
    return [row for path in sorted(Path("data/level").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_no_row_of_the_old_code_is_left(project):
    """What was finished before the failure is made again too, since its values differ now."""
    assert {row["image_id"]: row["level"] for row in rows() if row["status"] == "ok"} == {
        image_id: value for image_id, value in values(project, 1).items() if image_id in "abd"
    }
    Path("code/science.py").write_text(MENDED.format(factor=2))
    assert Level(Section()).update() == Tally(5, 0, 0, 3, 0)
    made = rows()
    assert {row["image_id"]: row["level"] for row in made} == values(project, 2)
    assert len({row["inputs"].split('"code": ')[1][:66] for row in made}) == 1


def test_an_edit_that_changes_no_value_keeps_the_finished_rows(project):
    """The photograph was the fault: with a better comment and message the run goes on where it stopped."""
    text = CODE.replace("a first try", "sums").replace("was not thought of", "is refused").format(factor=1)
    Path("code/science.py").write_text(text)
    project.remove("c")
    assert Level(Section()).update() == Tally(1, 3, 0, 2, 0)
    assert Level.processed == ["e"]
    assert {row["image_id"]: row["level"] for row in rows()} == values(project, 1)
