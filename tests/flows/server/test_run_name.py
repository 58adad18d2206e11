"""A run has one name, whoever gives it."""

import re

import pytest

from flows.server.run_name import run_name


@pytest.mark.parametrize(
    ("flow", "parameters", "said"),
    [
        ("label-factory", {"targets": None, "retrain": True}, "whole line"),
        ("label-factory", {"targets": ["refine_crf"], "retrain": False}, "refine_crf without retraining"),
        ("label-new-images", {"source": "demo:60"}, "new images of demo:60"),
        ("sweep", {"parameters": {"random_walk.beta": [4, 8]}}, "sweep of random_walk.beta"),
    ],
)
def test_the_name_that_the_command_printed_stays(flow, parameters, said):
    """Prefect's own two words go; the name of the submission, or of an attempt before a crash, stays."""
    name = run_name(flow, parameters, "adjective-animal")
    assert re.fullmatch(rf"{said}, \d\d \S+ \d\d:\d\d", name)
    assert run_name(flow, {**parameters, "targets": ["evaluate"]}, name) == name
