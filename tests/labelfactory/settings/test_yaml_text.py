"""YAML of settings: what is hostile or mistyped ends in an error of two parts, at once, whichever file or option holds it."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.profile import PROFILES, profile
from flows.sweeps.plan import parse
from labelfactory.errors import ParamsError
from labelfactory.settings.params import read_yaml
from labelfactory.settings.wiring import last_runs, read_wiring
from labelfactory.settings.yaml_text import DEEPEST, MOST_VALUES, parse_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 10)}]}}\n" for k in range(1, 10))
HOSTILE = {
    "20,000 brackets": (f"a: {'[' * 20_000}", f"more than {DEEPEST} levels deep"),
    "20,000 lists": (f"a: {'[' * 20_000}{']' * 20_000}", f"more than {DEEPEST} levels deep"),
    "20,000 mappings": ("{a: " * 20_000 + "}" * 20_000, f"more than {DEEPEST} levels deep"),
    "20,000 dashes": ("a:\n" + "".join(f"{' ' * k}-\n" for k in range(1, 300)), f"more than {DEEPEST} levels deep"),
    "aliases of aliases": (BOMB, f"more than {MOST_VALUES} values"),
    "merges of merges": (MERGES, f"more than {MOST_VALUES} values"),
    "an alias of itself": ("a: &a [*a]", "stands inside of what it stands for"),
    "an unknown alias": ("a: *b", "undefined alias"),
    "a long number": (f"a: {'1' * 5000}", "not readable"),
    "a long number of base 16": (f"a: 0x{'f' * 5000}", "larger than 64 bits"),
    "a key twice": ("a: 1\na: 2", "'a' appears twice"),
    "a key twice, inside": ("a: {b: 1, b: 2}", "'b' appears twice"),
    "a list as a key": ("? [a]\n: 1", "not readable"),
    "bytes": ("a: !!binary aGVsbG8=", "tag"),
    "a set": ("a: !!set {b, c}", "tag"),
    "a bool that is none": ("a: !!bool maybe", "not readable"),
    "a number that is none": ("a: !!int ''", "not readable"),
    "a list as a mapping": ("a: !!map [b]", "not readable"),
    "an object": ("a: !!python/object/apply:os.system [ls]", "tag"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_two_lines(tmp_path, name):
    """The file and the reason, then what to do; nothing is built of it first."""
    text, reason = HOSTILE[name]
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as caught:
        read_yaml(path)
    assert caught.value.problem.startswith(f"{path}: not readable as YAML: ")
    assert reason in caught.value.problem
    assert len(str(caught.value).splitlines()) == 2
    assert len(caught.value.problem) < 1000


@pytest.mark.parametrize("name", HOSTILE)
def test_the_command_line_is_read_the_same_way(tmp_path, monkeypatch, name):
    """`--set`, the values of a sweep, a profile, dvc.yaml and dvc.lock."""
    text = HOSTILE[name][0]
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("random_walk: {beta: 8}\n")
    PROFILES.mkdir()
    (PROFILES / "mine.yaml").write_text(text)
    Path("dvc.yaml").write_text(text)
    Path("dvc.lock").write_text(text)
    flow = "{" + text.replace("\n", ", ") + "}" if text.startswith("a") and "\n" in text and "-\n" not in text else text
    for action in (
        lambda: profile(None, settings=[f"random_walk.beta={flow}"]),
        lambda: parse([f"random_walk.beta={flow}"]),
        lambda: profile("mine"),
        read_wiring,
        last_runs,
    ):
        with pytest.raises(ParamsError) as caught:
            action()
        assert len(caught.value.problem) < 1000
    assert Path("params.yaml").read_text() == "random_walk: {beta: 8}\n"


def test_a_deep_name_is_no_setting(tmp_path, monkeypatch):
    """A name of a hundred thousand parts would be as many levels."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("random_walk: {beta: 8}\n")
    with pytest.raises(ParamsError, match="is not of the form"):
        profile(None, settings=[f"{'a.' * 100_000}b=1"])


def test_plain_values_stay(tmp_path):
    """Anchors, merges and numbers that people write; a date is the text that it is."""
    text = "a: &a {b: 1, c: [1.5, .inf, ~, yes]}\nd: {<<: *a, b: 2}\ne: 2026-11-29\nf: -9223372036854775808\n"
    values = parse_yaml(text, "it", "")
    assert values["d"] == {"b": 2, "c": [1.5, float("inf"), None, True]}
    assert values["e"] == "2026-11-29"
    assert values["f"] == -(2**63)
    many = "\n".join(f"key{k}: {k}" for k in range(10_000))
    assert len(parse_yaml(many, "it", "")) == 10_000


@given(st.text(alphabet=st.sampled_from("ab:,[]{}&*!|>-?#'\"%@ \n\t0x.<~\\"), max_size=60))
def test_any_text_is_a_value_or_an_error(text):
    """Never another exception."""
    with suppress(ParamsError):
        parse_yaml(text, "it", "Mend it.")
