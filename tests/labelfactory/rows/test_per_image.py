"""The shard engine: what is computed, what is copied, what survives a kill, what is quarantined, in one process and several."""

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from brightness import Brightness, BrightnessConfig, Outline, change_code, files, stamps, states, update
from conftest import Workspace

from labelfactory.errors import DataError, MissingError
from labelfactory.files import temporary_path
from labelfactory.pool.pool import process_pool
from labelfactory.rows import batches
from labelfactory.rows.columns import ArrayColumn
from labelfactory.rows.engine import Tally
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import FinishedRow, Sample, ShardFolder, finish, rows_table
from labelfactory.settings.params import Section
from labelfactory.settings.thresholds import Threshold, read_thresholds, write_thresholds
from models.refinement._crf import CrfConfig
from stages.refine_crf import RefineCrf, RefineCrfConfig

WALK_COLUMNS = {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}


def test_a_plan_of_some_shards_opens_no_other(project):
    """One worker of many plans its own shard, at the cost of one shard."""
    update()
    whole = list(Brightness(Brightness.section()).plan())
    damaged = Path("data/brightness/shard-00000.parquet")
    damaged.write_bytes(b"not to be read")
    others = {plan.shard for plan in whole} - {0}
    assert others
    assert list(Brightness(Brightness.section()).plan(only=others)) == [plan for plan in whole if plan.shard != 0]


# --- computed, copied, untouched


def test_all_rows_at_first_and_none_the_second_time(project):
    """The second run opens no file for writing."""
    assert update() == (list("abcde"), Tally(5, 0, 0, 3, 0))
    before, content = stamps(), files()
    assert update() == ([], Tally(0, 5, 0, 0, 0))
    assert (stamps(), files()) == (before, content)


def test_rows_hold_what_the_stage_made(project):
    """Values come back by image, in the data set's order."""
    update()
    stage = Brightness(BrightnessConfig())
    row = ShardFolder(Path("data/brightness")).rows(1, ["c"])["c"]
    expected = stage.process(Sample(stage.dataset.records[2], {}))
    assert np.array_equal(row["level"], expected["level"])
    assert row["class_ids"].tolist() == [1, 2]
    assert list(states()) == list("abcde")


def test_one_changed_photograph_is_one_row(project):
    """Its neighbour is copied, the other shards are not touched."""
    update()
    before, content = stamps(), files()
    old = pq.read_table("data/brightness/shard-00001.parquet").to_pylist()
    project.repaint("c", seed=77)
    assert update() == (["c"], Tally(1, 4, 0, 1, 0))
    assert {n for n in content if files()[n] != content[n]} == {"shard-00001.parquet"}
    assert {n for n, stamp in stamps().items() if stamp != before[n]} == {"shard-00001.parquet"}
    new = pq.read_table("data/brightness/shard-00001.parquet").to_pylist()
    assert new[1] == old[1]
    assert new[0]["digest"] != old[0]["digest"]


def test_new_photographs_are_the_only_ones_computed(project):
    """They fill the last shard, then new ones; full shards are not touched."""
    update()
    before = stamps()
    old = pq.read_table("data/brightness/shard-00002.parquet").to_pylist()
    for image_id in "fgh":
        project.add(image_id)
    assert update() == (list("fgh"), Tally(3, 5, 0, 2, 0))
    assert {n for n, stamp in stamps().items() if stamp == before.get(n)} == {
        "shard-00000.parquet",
        "shard-00001.parquet",
    }
    assert pq.read_table("data/brightness/shard-00002.parquet").to_pylist()[:1] == old


def test_rows_that_were_added_later_give_the_same_bytes(project):
    """A line that grew ends where one that saw all at once does."""
    for image_id in "be":
        project.change(image_id, split="rest")
    update()
    for image_id in "be":
        project.change(image_id, split="train")
    assert update()[0] == ["b", "e"]
    grown = files()
    shutil.rmtree("data/brightness")
    update()
    assert files() == grown


def test_a_removed_photograph_takes_its_row_with_it(project):
    """Nothing is computed; the gap stays; a shard without images goes."""
    update()
    before = stamps()
    project.remove("a")
    project.remove("e")
    assert update() == ([], Tally(0, 3, 0, 1, 1))
    assert list(states()) == ["b", "c", "d"]
    assert sorted(files()) == ["shard-00000.parquet", "shard-00001.parquet"]
    assert stamps()["shard-00001.parquet"] == before["shard-00001.parquet"]


def test_the_wave_stops_at_a_row_of_the_same_bytes(project):
    """Code that changes no level recomputes the first stage and leaves the second alone."""
    (project.root / "stages/outline.py").write_text("")
    update()
    update(Outline)
    before = stamps("outline")
    change_code(project)
    assert update()[0] == list("abcde")
    assert update(Outline) == ([], Tally(0, 5, 0, 0, 0))
    assert stamps("outline") == before


def test_only_what_hangs_on_a_changed_row_is_computed(project):
    """One photograph changed: one row in each stage."""
    update()
    update(Outline)
    project.repaint("d", seed=3)
    assert update()[0] == ["d"]
    assert update(Outline)[0] == ["d"]


def test_a_missing_upstream_row_says_what_to_type(project):
    """The stage before has not seen the new image."""
    update()
    project.add("f")
    with pytest.raises(MissingError, match="no row for the image f") as caught:
        update(Outline)
    assert "dvc repro" in caught.value.remedy


def test_shards_are_plain_parquet(project):
    """pyarrow alone reads them: a mask is a PNG in the struct of Hugging Face's images."""
    update()
    update(Outline)
    table = pq.read_table("data/outline/shard-00000.parquet")
    assert table.column_names == ["image_id", "key", "digest", "status", "reason", "inputs", "mask"]
    assert table.column("mask")[0].as_py()["bytes"].startswith(b"\x89PNG")
    stored = pq.read_table("data/brightness/shard-00000.parquet").column("level")[0].as_py()
    level = np.frombuffer(stored["data"], "<f2").reshape(stored["shape"])
    assert level.shape == (5, 6)


# --- kills


@pytest.mark.parametrize("batch", [1, 2])
def test_a_kill_costs_the_shard_in_hand(project, batch):
    """The next run computes only the rest, and the bytes are those of a run that nobody killed."""
    cfg = BrightnessConfig(batch=batch)
    update(cfg=cfg)
    whole = files()
    shutil.rmtree("data/brightness")
    Brightness.failing["d"] = SystemExit()
    with pytest.raises(SystemExit):
        update(cfg=cfg)
    assert list(files()) == ["shard-00000.parquet"]
    temporary_path(Path("data/brightness/shard-00001.parquet")).write_bytes(b"half a shard")
    Brightness.failing.clear()
    assert update(cfg=cfg) == (list("cde"), Tally(3, 2, 0, 2, 0))
    assert files() == whole


def test_a_kill_while_writing_leaves_the_old_shard(project, monkeypatch):
    """Up to the rename the old file stands, and nothing else is left behind."""
    update()
    before = files()
    project.repaint("a", seed=8)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            update()
    assert files() == before
    assert update()[0] == ["a"]


# --- bad images


def test_a_bad_image_is_quarantined_and_the_others_go_on(project):
    """Its row says why; it holds no payload."""
    Brightness.failing["b"] = ValueError("no light\nat all")
    assert update() == (list("acde"), Tally(4, 0, 1, 3, 0))
    assert states()["b"] == "ValueError: no light at all"
    stored = pq.read_table("data/brightness/shard-00000.parquet").to_pylist()[1]
    assert (stored["status"], stored["digest"], stored["level"]) == ("quarantined", "", None)


def test_a_bad_image_takes_no_other_of_its_batch_with_it(project):
    """The others of the batch are computed, and to the same digests as alone."""
    update()
    alone = {s.image_id: s.digest for s in ShardFolder(Path("data/brightness")).all_states()}
    shutil.rmtree("data/brightness")
    Brightness.failing["c"] = RuntimeError("bad")
    computed, tally = update(cfg=BrightnessConfig(batch=2))
    assert (computed, tally.rows_quarantined) == (list("abde"), 1)
    kept = {s.image_id: s.digest for s in ShardFolder(Path("data/brightness")).all_states() if s.status == "ok"}
    assert kept == {i: alone[i] for i in "abde"}


def test_a_photograph_that_changed_on_disk_is_quarantined(project):
    """The digest of the import guards every stage."""
    Path("photographs/e.png").write_bytes(b"other bytes")
    update()
    assert "changed since it was imported" in states()["e"]


def test_a_row_of_the_wrong_columns_is_quarantined(project, monkeypatch):
    """A stage that forgets a column is said, not written."""
    monkeypatch.setattr(Outline, "process", lambda self, sample: {"msak": 1})
    project.max_bad_fraction = 1.0
    project.save()
    update()
    update(Outline)
    assert "KeyError" in states("outline")["a"]


def test_quarantined_rows_are_tried_again(project):
    """The rest is copied."""
    Brightness.failing["b"] = ValueError("once")
    update()
    Brightness.failing.clear()
    assert update() == (["b"], Tally(1, 4, 0, 1, 0))
    assert set(states().values()) == {"ok"}


def test_too_many_bad_images_stop_the_run_and_all_are_named(project):
    """Over the limit: an error that lists them; what was finished is kept."""
    project.max_bad_fraction = 0.2
    project.save()
    Brightness.failing.update(a=ValueError("dark"), c=ValueError("darker"))
    with pytest.raises(DataError, match="2 of 5 images") as caught:
        update()
    assert "a: ValueError: dark" in caught.value.problem
    assert "c: ValueError: darker" in caught.value.problem
    assert "max_bad_fraction" in caught.value.remedy
    Brightness.failing.clear()
    assert update()[0] == ["a", "c", "e"]


def test_every_bad_image_is_named(project):
    """Thirty bad ones give thirty lines."""
    project.max_bad_fraction = 0.0
    for record in list(project.records):
        project.remove(record.image_id)
    for k in range(30):
        project.add(f"x{k}", position=2 * k)
        project.change(f"x{k}", shard=0)
        Brightness.failing[f"x{k}"] = ValueError("bad")
    with pytest.raises(DataError, match="30 of 30") as caught:
        update()
    assert caught.value.problem.count("ValueError: bad") == 30


def test_the_limit_itself_is_allowed(project):
    """One of five at 0.2 goes on."""
    project.max_bad_fraction = 0.2
    project.save()
    Brightness.failing["a"] = ValueError("dark")
    assert update()[1].rows_quarantined == 1


def test_what_is_quarantined_above_is_quarantined_below(project):
    """Counted once, named with its cause, not processed; within the limit it stops nobody."""
    project.max_bad_fraction = 0.2
    project.save()
    Brightness.failing["b"] = ValueError("dark")
    update()
    assert update(Outline) == (list("acde"), Tally(4, 0, 1, 3, 0))
    assert states("outline")["b"] == "brightness: ValueError: dark"
    before = stamps("outline")
    assert update(Outline) == ([], Tally(0, 4, 1, 0, 0))
    assert stamps("outline") == before
    Brightness.failing.clear()
    update()
    assert update(Outline)[0] == ["b"]


# --- processes


@pytest.fixture
def walked(workspace: Workspace) -> Workspace:
    """A project in which the real stage refine_crf has everything that it reads."""
    workspace.wire("refine_crf")
    schema = shard_schema("random_walk", WALK_COLUMNS, workspace.classes)
    folder = ShardFolder(Path("data/walks"))
    folder.folder.mkdir(parents=True)
    for shard in range(3):
        rows = []
        for record in (r for r in workspace.records if r.shard == shard):
            ids = workspace.dataset().classes.ids(record.tags)
            scores = np.random.default_rng(record.position).random((len(ids), 3, 3)).astype(np.float16)
            rows.append(finish(record.image_id, {}, {"scores": scores, "class_ids": ids}, WALK_COLUMNS))
        folder.write(shard, rows_table(rows, schema))
    write_thresholds(Path("data/walk_threshold"), {"background": Threshold(0.5, "auto")})
    return workspace


def refine() -> Tally:
    crf = {"steps": 2, "gaussian_sxy": 3, "gaussian_compat": 3}
    crf |= {"bilateral_sxy": 50, "bilateral_srgb": 5, "bilateral_compat": 10}
    cfg = RefineCrfConfig(
        method="dense_crf", unary="labels", scale=1.0, gt_prob=0.7, min_confidence=0.5, crf=CrfConfig(**crf)
    )
    Path("data/masks").mkdir(exist_ok=True)
    return RefineCrf(cfg).update()


@pytest.mark.slow
def test_one_process_and_two_give_the_same_bytes(walked, monkeypatch):
    """One thread in each, rows in the data set's order."""
    assert refine().rows_computed == 5
    alone = files("masks")
    shutil.rmtree("data/masks")
    monkeypatch.setenv("LABELFACTORY_WORKERS", "2")
    assert refine().rows_computed == 5
    assert files("masks") == alone


@pytest.mark.slow
def test_what_stops_a_process_at_its_start_is_said(workspace):
    """A damaged checkpoint is found in `setup`: the user sees that error, not a broken pool."""
    with (
        pytest.raises(MissingError, match=r"thresholds\.json: no such file"),
        process_pool(1, read_thresholds, (Path("data/nowhere"),)) as submit,
    ):
        list(submit(abs, [(1,)]))


def no_setup(name: str, cfg: Section) -> None:
    """In the place of the engine's own start of a worker: these stages live in no file that a worker could load."""


def dying_over_b(samples: Sequence[Sample], inputs: Sequence[dict[str, Any]]) -> list[FinishedRow]:
    """A worker's work, which no process survives when b is among the samples."""
    if any(sample.record.image_id == "b" for sample in samples):
        os.kill(os.getpid(), signal.SIGKILL)
    columns = Brightness.columns
    row = {"level": np.ones((2, 2), np.float16), "class_ids": np.ones(1, np.uint8), "mean": 0.5}
    return [finish(s.record.image_id, i, row, columns) for s, i in zip(samples, inputs, strict=True)]


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.parametrize("batch", [1, 2])
def test_an_image_over_which_workers_die_is_quarantined_and_the_others_go_on(project, monkeypatch, batch, capsys):
    """Its batch is tried again, then each image alone; what does not kill the worker is computed. Later it is tried anew."""
    monkeypatch.setenv("LABELFACTORY_WORKERS", "2")
    with monkeypatch.context() as patched:
        patched.setattr(batches, "_start_worker", no_setup)
        patched.setattr(batches, "_work", dying_over_b)
        tally = update(cfg=BrightnessConfig(batch=batch))[1]
    assert tally == Tally(4, 0, 1, 3, 0)
    assert states()["b"] == "the worker process died (SIGKILL), 2 times"
    assert {i for i, state in states().items() if state == "ok"} == set("acde")
    assert "its task is tried again" in capsys.readouterr().err
    monkeypatch.setenv("LABELFACTORY_WORKERS", "1")
    assert update(cfg=BrightnessConfig(batch=batch)) == (["b"], Tally(1, 4, 0, 1, 0))
