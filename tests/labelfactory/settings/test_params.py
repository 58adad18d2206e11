"""params.yaml: every problem at once, each with a suggestion; a digest of what changes a result."""

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from labelfactory.errors import MissingError, ParamsError
from labelfactory.settings.params import Section, check_sections, read_yaml


class Crf(Section):
    speed_only = frozenset({"threads"})

    steps: int = Field(default=10, ge=1)
    width: float = Field(default=3.0, gt=0)
    threads: int = 1


class Walk(Section):
    speed_only = frozenset({"workers"})

    beta: float = Field(gt=0)
    steps: int = Field(ge=1, le=4096)
    share: float = Field(default=0.5, ge=0, lt=1)
    method: Literal["exact", "chebyshev"] = "exact"
    scales: tuple[float, ...] = (1.0,)
    crf: Crf = Crf()
    workers: int = 1

    @model_validator(mode="after")
    def _fits(self) -> "Walk":
        if self.beta > self.steps:
            raise ValueError("beta is above steps")
        return self


class Prepare(Section):
    train_list: str


SECTIONS = {"prepare": Prepare, "random_walk": Walk}
GOOD = {"prepare": {"train_list": "train"}, "random_walk": {"beta": 8, "steps": 256}}


def problems(values: dict) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        check_sections(values, SECTIONS, "params.yaml")
    head, *lines = caught.value.problem.splitlines()
    assert head == f"params.yaml: {len(lines)} problem" + ("s" if len(lines) > 1 else "")
    assert caught.value.remedy == "Mend params.yaml and run `dvc repro` again."
    return [line.strip() for line in lines]


def with_walk(**changes: object) -> dict:
    return {**GOOD, "random_walk": {**GOOD["random_walk"], **changes}}


def test_good_values_become_sections():
    """Typed, frozen, with defaults."""
    checked = check_sections(GOOD, SECTIONS, "params.yaml")
    assert checked["random_walk"] == Walk(beta=8.0, steps=256)
    with pytest.raises(ValueError, match="frozen"):
        checked["random_walk"].beta = 3  # type: ignore[attr-defined]


def test_every_problem_of_every_section_at_once():
    """One run shows all that has to be mended."""
    values = {"prepare": {}, "random_walk": {"betta": 8, "steps": 0, "share": 1.5}, "random_wakl": {}}
    assert problems(values) == [
        "random_wakl: unknown section; did you mean `random_walk`?",
        "prepare.train_list: is missing",
        "random_walk.beta: is missing",
        "random_walk.steps: 0 is below the minimum 1",
        "random_walk.share: 1.5 must be less than 1.0",
        "random_walk.betta: unknown key; did you mean `beta`?",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steps": 5000}, "random_walk.steps: 5000 is above the maximum 4096"),
        ({"beta": 0}, "random_walk.beta: 0 must be greater than 0.0"),
        ({"beta": 300}, "random_walk: beta is above steps"),
        ({"method": "exat"}, "random_walk.method: 'exat': input should be 'exact' or 'chebyshev'"),
        ({"crf": {"widht": 3}}, "random_walk.crf.widht: unknown key; did you mean `width`?"),
        ({"crf": {"steps": 0}}, "random_walk.crf.steps: 0 is below the minimum 1"),
    ],
)
def test_a_problem_names_key_value_and_limit(changes, expected):
    """Also inside a mapping, whose own keys are suggested, and for a section as a whole."""
    assert problems(with_walk(**changes)) == [expected]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_must_be_finite(value):
    """`.inf` and `.nan` are legal YAML and no legal setting."""
    assert problems(with_walk(beta=value))


def test_a_missing_section_is_said():
    """And an empty one."""
    assert problems({"prepare": {"train_list": "x"}}) == ["random_walk: section is missing"]
    assert len(problems({**GOOD, "random_walk": None})) == 1


@given(
    beta=st.floats(0.1, 100),
    steps=st.integers(100, 4096),
    width=st.floats(0.1, 9),
    scales=st.lists(st.floats(0.1, 2), min_size=1, max_size=3),
)
def test_the_digest_sees_each_value_and_nothing_else(beta, steps, width, scales):
    """Equal digests exactly for equal values, nested ones too; not for speed, nor for the order of keys."""
    base = Walk(beta=8, steps=256)
    other = Walk(scales=tuple(scales), crf=Crf(width=width), steps=steps, beta=beta)
    again = Walk(beta=beta, steps=steps, crf=Crf(width=width, threads=9), scales=tuple(scales), workers=7)
    assert other.digest() == again.digest()
    assert (base.digest() == other.digest()) == (base == other)
    assert Walk(beta=beta, steps=steps, crf=Crf(width=width + 1)).digest() != base.digest()


@pytest.mark.parametrize(
    "changed", [{"beta": 9}, {"steps": 255}, {"method": "chebyshev"}, {"scales": (1.0, 1.5)}, {"crf": {"width": 4}}]
)
def test_the_digest_changes_with_one_value(changed):
    """Each field on its own."""
    assert Walk(**{"beta": 8, "steps": 256, **changed}).digest() != Walk(beta=8, steps=256).digest()


def test_yaml_as_people_write_it(tmp_path):
    """8, 8.0 and 8e0 are one number; YAML 1.1 reads the last as a string."""
    digests = set()
    for text in ("8", "8.0", "8e0"):
        (tmp_path / "p.yaml").write_text(f"prepare: {{train_list: t}}\nrandom_walk: {{beta: {text}, steps: 256}}\n")
        digests.add(check_sections(read_yaml(tmp_path / "p.yaml"), SECTIONS, "p.yaml")["random_walk"].digest())
    assert len(digests) == 1


@pytest.mark.parametrize("text", ["a: [1", "- 1", "", "\x00", "a: b: c"])
def test_what_is_no_mapping_is_an_error_with_the_files_name(tmp_path, text):
    """Not a traceback of the YAML library."""
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=r"p\.yaml") as caught:
        read_yaml(path)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    "text",
    ["steps: 1\nsteps: 2\n", "walk: {beta: 1}\ncrf: {}\nwalk: {steps: 2}\n", "walk: {steps: 1, beta: 2, steps: 1}\n"],
)
def test_a_key_that_stands_twice_is_an_error(tmp_path, text):
    """YAML would take the last one, in silence."""
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"'(steps|walk)' appears twice"):
        read_yaml(tmp_path / "p.yaml")


def test_what_yaml_merges_is_no_repetition(tmp_path):
    """Anchors and merge keys, and equal keys of other mappings."""
    (tmp_path / "p.yaml").write_text("a: &one {steps: 1, beta: 2}\nb: {<<: *one, steps: 3}\n")
    assert read_yaml(tmp_path / "p.yaml") == {"a": {"steps": 1, "beta": 2}, "b": {"steps": 3, "beta": 2}}


def test_a_missing_file_says_where_to_stand(tmp_path):
    """Most often the command was typed in another folder."""
    with pytest.raises(MissingError, match="no such file") as caught:
        read_yaml(tmp_path / "p.yaml")
    assert "root folder" in caught.value.remedy
