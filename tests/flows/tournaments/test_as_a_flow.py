"""A tournament as a flow: on a cluster, contenders run side by side to the figures of one process alone."""

from pathlib import Path

import pytest
from factory import serving
from small_line import small_project
from workspace import call, copy_workspace

from labelfactory.tournament import Results, read_results

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.starts_cluster, pytest.mark.timeout(1200)]
CONTENDERS = "half: {extract_cams.scales: [0.5]}\nseam: {train_classifier.objective: seam}\n"


def results(folder: Path) -> Results:
    """What it wrote."""
    return read_results(folder / "data/tournament/results.json")


def test_contenders_run_side_by_side_on_a_cluster(tmp_path, monkeypatch):
    """The cluster makes what they need, each shared stage once; the flow finds it made, and ends in the same figures."""
    alone = small_project(tmp_path / "alone", 16)
    (alone / "two.yaml").write_text(CONTENDERS)
    spread = copy_workspace(alone, tmp_path / "spread")
    call(alone, "labelfactory", "tournament", "two.yaml", "--seeds", "1")
    monkeypatch.setenv("LABELFACTORY_WORKERS", "2")
    with serving(spread) as factory:
        before = len(factory.log("worker cpu"))
        typed = factory.type("tournament", "two.yaml", "--seeds", "1", "--on", "cpu", "--runner", "dask")
        done = factory.wait(typed.strip().rsplit("/", 1)[-1])
        assert done["state"]["type"] == "COMPLETED", done["state"]
        log = factory.log("worker cpu")[before:]
        for stage, count in {"prepare": 1, "train_classifier": 2, "extract_cams": 3}.items():
            assert log.count(f"{stage}: done in") == count, log
        assert typed.startswith("tournament of two.yaml, ")
    assert [(c.name, c.state, c.score, c.gain) for c in results(spread).contenders] == [
        (c.name, c.state, c.score, c.gain) for c in results(alone).contenders
    ]
