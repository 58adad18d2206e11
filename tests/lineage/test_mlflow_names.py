"""Names of metrics, params and tags: MLflow takes each, and two of ours never become one of its."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

from lineage.mlflow_forms import mlflow_name

SHORT = ("a b", "a_b", "a?b", "a/b", "a,b", 'a"b', "a//b", "a/", "/a", "a/./b", ".", "..", "a/../b", "é", "猫")
ALIKE = (*SHORT, "x" * 300, "x" * 301)


def check(names: list[str]) -> None:
    sent = [mlflow_name(name) for name in names]
    for name in sent:
        for accepts in (_validate_metric_name, _validate_param_name, _validate_tag_name):
            accepts(name)
        assert len(name) <= 250
    assert len(set(sent)) == len(set(names))


def test_names_that_differ_in_signs_alone_stay_apart():
    """Classes of one data set, as the last part of a score's key."""
    check([f"iou/val/masks/{name}" for name in ALIKE])
    assert mlflow_name("iou/val/masks/a b") == "iou/val/masks/a b"


@settings(max_examples=200, deadline=None)
@given(names=st.lists(st.text("ab_?,/. :é", min_size=1, max_size=6), min_size=2, max_size=8, unique=True))
def test_any_names_stay_apart(names):
    check([f"iou/{name}" for name in names])


@pytest.mark.parametrize("name", ["curve/loss", "random_walk.method.beta", "iou/train/masks/cat", "output.masks"])
def test_a_name_that_mlflow_takes_stays_as_it_is(name):
    """So curves and scores of earlier versions go on."""
    assert mlflow_name(name) == name
