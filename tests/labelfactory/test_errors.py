"""Errors that a person can read."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.errors import (
    DataError,
    LabelfactoryError,
    MissingError,
    ParamsError,
    ShapeError,
    SupervisionError,
    UserError,
    did_you_mean,
    in_short,
)


@pytest.mark.parametrize("kind", [UserError, ParamsError, DataError, MissingError, SupervisionError])
def test_what_the_user_can_mend_exits_with_2(kind):
    """Two lines: the problem, the remedy; they survive the way between processes."""
    error = pickle.loads(pickle.dumps(kind("it is broken", "Mend it.")))
    assert (type(error), error.exit_code, error.problem, error.remedy) == (kind, 2, "it is broken", "Mend it.")
    assert str(error) == "it is broken\nMend it."
    assert str(kind("it is broken")) == "it is broken"


def test_a_bug_exits_with_1():
    """A ShapeError is the caller's bug, not the user's."""
    assert ShapeError("no").exit_code == LabelfactoryError.exit_code == 1
    assert not isinstance(ShapeError("no"), UserError)
    assert isinstance(ShapeError("no"), ValueError)


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("betta", ["steps", "beta"], "; did you mean `beta`?"),
        ("zzz", ["steps", "beta"], "; known: beta, steps"),
        ("zzz", [], ""),
    ],
)
def test_did_you_mean(word, known, expected):
    """The nearest word, else all of them, else nothing."""
    assert did_you_mean(word, known) == expected


@given(known=st.sets(st.text("abcdef", min_size=1), min_size=1))
def test_a_known_word_is_nearest_to_itself(known):
    """Whatever else is known."""
    for word in known:
        assert did_you_mean(word, known) == f"; did you mean `{word}`?"


@pytest.mark.parametrize("most", range(20, 60, 4))
def test_a_cut_leaves_nothing_of_a_secret(most, monkeypatch):
    """Wherever it falls: of the environment, or before the @ of an address."""
    monkeypatch.setenv("SERVICE_TOKEN", "hunter2hunter2XYZ")
    for text in ("not fetched: hunter2hunter2XYZ is wrong", "at https://user:geheim12345@host/x it\nended"):
        said = in_short(ValueError(text), most)
        assert len(said) <= most
        assert "\n" not in said
        assert not any(part in said for part in ("hunt", "XYZ", "gehe", "2345"))
    assert in_short(ValueError()) == "ValueError"
