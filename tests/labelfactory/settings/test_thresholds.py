"""Thresholds on disk."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelfactory.errors import MissingError
from labelfactory.settings.thresholds import Threshold, read_thresholds, thresholds_digest, write_thresholds

thresholds = st.dictionaries(
    st.sampled_from(["background", "affinity_foreground", "affinity_background"]),
    st.builds(Threshold, value=st.floats(0, 1), source=st.sampled_from(["params", "auto"])),
    min_size=1,
)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=thresholds, shift=st.floats(0.001, 0.5))
def test_they_come_back_and_their_digest_sees_the_numbers_alone(tmp_path, chosen, shift):
    """Where a number came from changes no row; the number does."""
    write_thresholds(tmp_path, chosen)
    assert read_thresholds(tmp_path) == chosen
    digest = thresholds_digest(tmp_path)
    write_thresholds(tmp_path, {n: Threshold(t.value, "params") for n, t in reversed(chosen.items())})
    assert thresholds_digest(tmp_path) == digest
    name = min(chosen)
    write_thresholds(tmp_path, {**chosen, name: Threshold((chosen[name].value + shift) % 1, "auto")})
    assert thresholds_digest(tmp_path) != digest


def test_missing_ones_say_what_to_type(tmp_path):
    """The calibrating stage has not run."""
    with pytest.raises(MissingError, match=r"thresholds\.json") as caught:
        read_thresholds(tmp_path)
    assert "dvc repro" in caught.value.remedy
