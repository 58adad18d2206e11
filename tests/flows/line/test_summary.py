"""The table of the line says what is there, not only what the last run of each stage said."""

import shutil

from made_line import DATA, MadeLine, recorded_line

from flows.line.summary import read_summary


def words() -> dict[str, str]:
    return {stage.name: stage.made for stage in read_summary().stages}


def test_a_network_that_was_copied_there_is_not_said_to_be_the_last_runs(tmp_path, monkeypatch):
    """Of another project, say: its rows are not those of the report. The stage's own one comes back with its words."""
    line: MadeLine = recorded_line(tmp_path, monkeypatch)
    before, own = words(), shutil.copytree(DATA / "segmenter", "own")
    assert before["train_segmenter"] == "trained on 4 rows"
    line.killed = "train_segmenter"  # leaves a network, and no report of it
    line.train("segmenter", {}, seed=9)
    assert words() == before | {"train_segmenter": "another network than its last run left"}
    shutil.rmtree(DATA / "segmenter")
    shutil.copytree(own, DATA / "segmenter")
    assert words() == before
