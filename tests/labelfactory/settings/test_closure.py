"""Which files are in a stage's key: what it imports as far as that bears values, and of a family the chosen methods."""

from pathlib import Path

import pytest

from labelfactory.errors import MissingError, ParamsError
from labelfactory.settings import closure
from labelfactory.settings.closure import chosen_by, code_digest, code_of, joined, reached
from labelfactory.settings.params import Section
from labelfactory.settings.registry import method_of
from labelfactory.settings.value_rooms import BY_NUMBER, NOT_FOLLOWED, VALUE_ROOMS, answers_by_number

ROOT = Path(__file__).resolve().parents[3]

PROJECT = {
    "stages/paint.py": """
        from typing import TYPE_CHECKING
        import numpy as np
        from labelfactory.pool import pool
        from models.trees import grow
        if TYPE_CHECKING:
            from models.typed import Shape
        def run(name):
            from models.late import ripe
            return grow(name), ripe, np, pool
    """,
    "models/__init__.py": '"""Nothing but text."""',
    "models/late.py": "ripe = 1",
    "models/typed.py": "Shape = int",
    "models/trees/__init__.py": """
        from labelfactory.settings.registry import load_method
        def grow(name):
            return load_method("models.trees", name)
    """,
    "models/trees/oak.py": "from ._bark import rough\nlobed = rough",
    "models/trees/beech.py": "from models.trees import _leaf",
    "models/trees/_bark.py": "rough = True",
    "models/trees/_leaf.py": "smooth = True",
    "labelfactory/pool/pool.py": "import labelfactory.schema",
    "labelfactory/schema.py": "VOID = 255",
}
ALWAYS = {"stages/paint.py", "models/late.py", "models/trees/__init__.py", "labelfactory/schema.py"}


@pytest.fixture
def project(tmp_path) -> Path:
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line.removeprefix("        ") for line in text.splitlines()) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("chosen", "methods"),
    [
        ({"models.trees": ["oak"]}, {"models/trees/oak.py", "models/trees/_bark.py"}),
        ({"models.trees": ["beech"]}, {"models/trees/beech.py", "models/trees/_leaf.py"}),
        ({"models.trees": []}, set()),
        (
            {"models.flowers": ["rose"]},
            {f"models/trees/{name}.py" for name in ("oak", "beech", "_bark", "_leaf")},
        ),
    ],
)
def test_of_a_family_the_chosen_methods_count_and_what_they_import(project, chosen, methods):
    """All of them where nothing says which; imports inside functions count, those for type checkers do not."""
    assert set(code_of("stages.paint", chosen, project)) == ALWAYS | methods


def test_what_answers_by_number_is_followed_and_is_in_no_key(project):
    """A value room that a stage reaches through the engine is in its key."""
    assert "labelfactory/pool/pool.py" in reached("stages.paint", None, project)
    before = code_digest("stages.paint", None, project)
    (project / "labelfactory/pool/pool.py").write_text("import labelfactory.schema\nTRIES = 3\n")
    assert code_digest("stages.paint", None, project) == before
    (project / "labelfactory/schema.py").write_text("VOID = 254\n")
    assert code_digest("stages.paint", None, project) != before


def test_a_file_under_labelfactory_that_no_list_names_counts(project):
    """Until somebody says that it bears no value."""
    (project / "labelfactory/pool/pool.py").write_text("from labelfactory import hue\n")
    (project / "labelfactory/hue.py").write_text("red = 0\n")
    assert "labelfactory/hue.py" in code_of("stages.paint", None, project)


def test_the_number_is_in_every_digest(project, monkeypatch):
    """What is raised by hand makes all again."""
    before = code_digest("stages.paint", None, project)
    monkeypatch.setattr(closure, "ENGINE_FORMAT", closure.ENGINE_FORMAT + 1)
    assert code_digest("stages.paint", None, project) != before


def test_a_moved_file_is_another(project):
    """Names of files are in the digest."""
    before = code_of("stages.paint", None, project)
    (project / "models/late.py").rename(project / "models/later.py")
    stage = project / "stages/paint.py"
    stage.write_text(stage.read_text().replace("models.late", "models.later"))
    after = code_of("stages.paint", None, project)
    assert before["models/late.py"] == after["models/later.py"]


def test_what_is_not_there_or_not_python_is_an_error(project):
    """With the file's name."""
    with pytest.raises(MissingError, match=r"stages\.draw: no such module"):
        code_of("stages.draw", None, project)
    (project / "models/late.py").write_text("ripe =\n")
    with pytest.raises(ParamsError, match=r"models/late\.py: is not Python"):
        code_of("stages.paint", None, project)


# --- the lists --------------------------------------------------------------------------------------------------------


def test_every_file_of_the_ground_floor_is_in_one_list():
    """Whoever adds a file says whether it bears values or answers by number, and why."""
    files = {path.relative_to(ROOT / "labelfactory").as_posix() for path in (ROOT / "labelfactory").rglob("*.py")}
    numbered = {file for file in files if answers_by_number(f"labelfactory/{file}")}
    assert files - numbered - VALUE_ROOMS.keys() == set(), "name them in labelfactory/settings/value_rooms.py"
    assert numbered & VALUE_ROOMS.keys() == set()
    assert VALUE_ROOMS.keys() <= files
    folders = {f"{Path(file).parts[0]}/" for file in files}
    assert BY_NUMBER.keys() <= files | folders
    assert {path.removeprefix("labelfactory/") for path in NOT_FOLLOWED} <= numbered


def test_passports_name_methods_alone_or_with_their_knobs():
    """What a network is made of decides which code a stage that reads it runs."""
    architecture = {"backbone": "tiny", "net": {"name": "deeplab_v2", "width": 16}, "output_stride": 8}
    assert chosen_by(architecture) == {("models.backbones", "tiny"), ("models.segmenters", "deeplab_v2")}


def test_a_family_of_networks_of_which_none_is_there_counts_for_nothing():
    """With the teacher off, a walk runs no segmenter; what older passports do not name is what there was then."""
    chosen = joined([{("models.cams", "cam")}, {("models.backbones", "tiny")}, {("models.backbones", "resnet50")}])
    assert chosen["models.cams"] == {"cam"}
    assert chosen["models.backbones"] == {"tiny", "resnet50"}
    assert chosen["models.segmenters"] == set()
    assert chosen["models.objectives"] == {"tags"}
    assert joined([{("models.objectives", "seam")}])["models.objectives"] == {"seam"}


def test_a_section_says_which_methods_it_names():
    """Those of sections inside it too."""

    class Inner(Section):
        drawn: method_of("models.cams")  # type: ignore[valid-type]

    class Outer(Section):
        backbone: method_of("models.backbones")  # type: ignore[valid-type]
        inner: Inner
        second: method_of("models.cams")  # type: ignore[valid-type]
        steps: int = 3

    section = Outer.model_validate({"backbone": "tiny", "inner": {"drawn": "pcm"}, "second": "cam"})
    assert section.methods() == {("models.backbones", "tiny"), ("models.cams", "pcm"), ("models.cams", "cam")}
