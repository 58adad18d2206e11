"""A plug-in family: the file's name is the method's name."""

import pytest
from pydantic import ValidationError

from labelfactory.errors import ParamsError
from labelfactory.settings.params import Section
from labelfactory.settings.registry import load_method, method_names, method_of


@pytest.fixture
def family(tmp_path, monkeypatch):
    """A family with two methods and one part that both share."""
    folder = tmp_path / "tree_family"
    folder.mkdir()
    for name in ("__init__", "oak", "beech", "_bark"):
        (folder / f"{name}.py").write_text(f"name = {name!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "tree_family"


def test_a_new_file_is_a_new_method(family):
    """Sorted; files that start with _ are parts."""
    assert method_names(family) == ["beech", "oak"]
    assert load_method(family, "oak").name == "oak"


@pytest.mark.parametrize("name", ["oka", "_bark", "__init__", "oak.x", ""])
def test_what_is_no_method_is_refused(family, name):
    """With the nearest name or all of them; nothing is imported by accident."""
    with pytest.raises(ParamsError, match="is no method of tree_family"):
        load_method(family, name)


def test_a_params_field_takes_only_methods(family):
    """Before any image is read."""

    class Config(Section):
        tree: method_of(family)  # type: ignore[valid-type]

    assert Config(tree="oak").tree == "oak"
    with pytest.raises(ValidationError, match="'oka' is unknown; did you mean `oak`"):
        Config(tree="oka")
