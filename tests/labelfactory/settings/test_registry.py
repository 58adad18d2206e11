"""A plug-in family: the file's name is the method's name."""

import itertools
import pickle
from pathlib import Path

import pytest

from labelfactory.errors import ParamsError
from labelfactory.settings.params import Section, check_sections
from labelfactory.settings.registry import choose, load_method, method_names, method_of

NUMBERS = itertools.count()
"""Modules stay loaded: each test has a family of its own name."""


@pytest.fixture
def family(tmp_path, monkeypatch):
    """A family with two methods and one part that both share."""
    package = f"trees_{next(NUMBERS)}"
    folder = tmp_path / package
    folder.mkdir()
    for name in ("__init__", "oak", "beech", "_bark"):
        (folder / f"{name}.py").write_text(f"name = {name!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_a_new_file_is_a_new_method(family):
    """Sorted; files that start with _ are parts."""
    assert method_names(family) == ["beech", "oak"]
    assert load_method(family, "oak").name == "oak"


@pytest.mark.parametrize("name", ["oka", "_bark", "__init__", "oak.x", ""])
def test_what_is_no_method_is_refused(family, name):
    """With the nearest name or all of them; nothing is imported by accident."""
    with pytest.raises(ParamsError, match="is not a method of trees_"):
        load_method(family, name)


@pytest.fixture
def knobs(family, tmp_path):
    """The oak gets knobs and a function that takes them."""
    (tmp_path / family / "oak.py").write_text(OAK)
    return family


OAK = """
from pydantic import Field
from labelfactory.settings.registry import MethodConfig

class Config(MethodConfig):
    height: float = Field(default=20, gt=0)
    acorns: int = Field(default=3, ge=0)

from fractions import Fraction as Tree

class Oak(Tree):
    pass

def grow(seed, *, height, acorns):
    return seed, height, acorns
"""


def section(family: str) -> type[Section]:
    class Config(Section):
        moved = {"acorns": "tree", "leaves": "tree"}
        tree: method_of(family)  # type: ignore[valid-type]

    return Config


def problems(family: str, **values: object) -> str:
    with pytest.raises(ParamsError) as caught:
        check_sections({"wood": values}, {"wood": section(family)}, "params.yaml")
    return caught.value.problem


def test_a_method_is_named_alone_or_with_what_differs_from_its_defaults(knobs):
    """`tree: oak` and `tree: {name: oak, acorns: 5}`; the functions of the method take the knobs by name."""
    assert section(knobs)(tree="beech").model_dump() == {"tree": {"name": "beech"}}
    assert section(knobs)(tree="oak").model_dump() == {"tree": {"name": "oak", "height": 20.0, "acorns": 3}}
    chosen = section(knobs)(tree={"name": "oak", "acorns": 5}).tree
    assert chosen.bind("grow")("seed") == ("seed", 20.0, 5)
    assert section(knobs)(tree="beech").tree.module.name == "beech"


def test_a_function_takes_the_arguments_that_it_names(knobs):
    """Which a family gives to the methods that ask for them."""
    oak = section(knobs)(tree="oak").tree
    assert oak.takes("grow", "seed")
    assert not oak.takes("grow", "photograph")


def test_the_class_of_a_method_is_the_one_that_its_file_defines(knobs):
    """Not the base that it imports."""
    oak = choose(knobs, "oak")
    assert oak.subclass_of(oak.module.Tree) is oak.module.Oak
    with pytest.raises(LookupError, match="oak defines no Path"):
        oak.subclass_of(Path)


def test_a_key_covers_the_chosen_method_alone(knobs):
    """Its knobs with their defaults: written out or not is the same; another knob, another method is not."""
    short, long, other, beech = (
        section(knobs)(tree=tree).digest()
        for tree in ("oak", {"name": "oak", "height": 20}, {"name": "oak", "height": 21}, "beech")
    )
    assert short == long
    assert len({short, other, beech}) == 3


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ("oka", "wood.tree: 'oka' is unknown; did you mean `oak`?"),
        ({"name": "oka"}, "wood.tree: 'oka' is unknown; did you mean `oak`?"),
        ({"nmae": "oak"}, "wood.tree: {'nmae': 'oak'} is unknown"),
        (7, "wood.tree: 7 is unknown; known: beech, oak"),
        ({"name": "oak", "hieght": 3}, "wood.tree.hieght: unknown key; did you mean `height`?"),
        ({"name": "oak", "height": 0}, "wood.tree.height: 0 must be greater than 0"),
        ({"name": "beech", "height": 3}, "wood.tree.height: unknown key"),
    ],
)
def test_what_a_method_is_not_or_has_not_is_said_before_anything_runs(knobs, tree, said):
    """With the nearest name."""
    assert said in problems(knobs, tree=tree)


def test_older_files_with_knobs_beside_the_method_are_understood(knobs):
    """A knob of the chosen method moves to it; one of another method is dropped; given twice it is refused."""
    old = section(knobs).model_validate({"tree": "oak", "acorns": 9, "leaves": 1})
    assert old.tree.acorns == 9
    assert section(knobs).model_validate({"tree": "beech", "acorns": 9}).model_dump() == {"tree": {"name": "beech"}}
    assert "acorns is given twice" in problems(knobs, tree={"name": "oak", "acorns": 1}, acorns=2)


def test_a_chosen_method_travels_to_another_process():
    """As the settings of a stage do."""
    chosen = choose("models.cams", {"name": "pcm", "rounds": 2})
    assert pickle.loads(pickle.dumps(chosen)) == chosen
