"""The whole line through DVC on a tiny set: it runs once, then never again, and to the same digests twice."""

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dvc.repo import Repo
from line_outputs import digests, stages
from small_line import ran
from workspace import call

from labelfactory.dataset.manifest import Manifest, read_manifest, write_manifest
from labelfactory.level.paired import miou_of
from labelfactory.rows.scored import LISTS, areas_of, pixels_column
from labelfactory.rows.shards import ShardFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def remove_truth(folder: Path) -> None:
    """Delete the true masks, and import again as somebody would who never had any."""
    shutil.rmtree(folder / "data/raw/demo/masks")
    path = folder / "data/import/manifest.parquet"
    manifest = read_manifest(path)
    bare = tuple(replace(entry, mask_path=None, mask_sha256=None) for entry in manifest.entries)
    write_manifest(Manifest(manifest.classes, manifest.mask_ids, manifest.source, bare), path)


def test_a_second_repro_runs_nothing(finished):
    """The first made metrics, tables and a report; the second finds all of it in place, and so does status."""
    assert ran(call(finished, "dvc", "repro"), finished) == []
    assert "everything is up to date" in call(finished, "labelfactory", "run")
    assert call(finished, "labelfactory", "status").count("up to date") == len(stages(finished)) + 1
    metrics = json.loads((finished / "data/evaluation/metrics.json").read_text())
    assert metrics["true_masks"] == 24
    wanted = {f"miou/train/{made}" for made in ("seeds", "walks", "masks", "model")} | {"miou/val/model"}
    assert wanted <= set(metrics)
    assert all(0 <= metrics[key] <= 1 for key in wanted)
    assert "miou/val/masks" not in metrics
    assert (finished / "data/evaluation/report.html").stat().st_size > 10_000
    predicted = ShardFolder(finished / "data/predictions").all_states()
    assert [state.status for state in predicted] == ["ok"] * 24
    scored = pq.read_table(finished / "data/evaluation/images.parquet")
    assert scored.num_rows == 24
    assert scored.column("masks").null_count == 6  # images of the list val have no mask


def test_the_pixels_of_each_image_add_up_to_the_scores(finished):
    """On both lists, of everything that is scored, which an interval of a gain is made of."""
    metrics = json.loads((finished / "data/evaluation/metrics.json").read_text())
    scored = pq.read_table(finished / "data/evaluation/images.parquet")
    n_classes = len(read_manifest(finished / "data/import/manifest.parquet").classes) + 1
    for split, images in (("train", 18), ("val", 6)):
        own = scored.filter([split in lists for lists in scored.column(LISTS).to_pylist()])
        assert own.num_rows == images
        for name in ("seeds", "walks", "masks", "model") if split == "train" else ("model",):
            areas = areas_of(own.column(pixels_column(name)), n_classes)
            assert miou_of(areas) == pytest.approx(metrics[f"miou/{split}/{name}"])


def test_dvc_shows_metrics_and_plots(finished):
    """`dvc metrics show` names the scores; `dvc plots show` draws the loss and threshold curves into one page."""
    shown = json.loads(call(finished, "dvc", "metrics", "show", "--json"))
    assert "miou/train/masks" in shown[""]["data"]["data/evaluation/metrics.json"]["data"]
    call(finished, "dvc", "plots", "show", "--out", "plots_page")
    page = (finished / "plots_page/index.html").read_text()
    for title in ("Loss of the classifier", "Loss of the segmenter", "mIoU at each background threshold"):
        assert title in page


def test_chosen_thresholds_stand_beside_the_best(finished):
    """Where there are true masks: of seeds, walks and affinity labels, in the metrics and on the page."""
    metrics = json.loads((finished / "data/evaluation/metrics.json").read_text())
    chosen = json.loads((finished / "data/seed_thresholds/thresholds.json").read_text())
    assert 0 <= metrics["threshold_cost/train/affinity"] < 1
    for made in ("seeds", "walks"):  # the best of a grid of 0.01: the chosen one may lie between
        assert -0.01 < metrics[f"threshold_cost/train/{made}"] < 1
    low, high = (metrics[f"threshold/train/affinity_{side}_best"] for side in ("background", "foreground"))
    assert 0 < low <= high < 1
    if (low, high) == tuple(chosen[f"affinity_{side}"]["value"] for side in ("background", "foreground")):
        assert metrics["threshold_cost/train/affinity"] == pytest.approx(0)
    page = (finished / "data/evaluation/report.html").read_text()
    assert "seeds: affinity foreground" in page
    assert "not known" not in page


def test_two_clean_runs_give_the_same_digests_and_so_does_one_without_true_masks(imported, finished, monkeypatch):
    """Same commit, params, data and machine: the same bits, from one process a stage or two. `evaluate` alone looks at true
    masks.
    """
    monkeypatch.setenv("LABELFACTORY_WORKERS", "2")
    folder = imported
    remove_truth(folder)
    output = call(folder, "dvc", "repro")
    assert digests(folder) == digests(finished)
    assert "there is nothing to score" in output
    metrics = json.loads((folder / "data/evaluation/metrics.json").read_text())
    assert metrics["true_masks"] == 0
    scored, trained = (ShardFolder(f / "data/predictions").states(0) for f in (finished, folder))
    assert set(trained) == {r.image_id for r in ShardFolder(folder / "data/masks").all_states()}  # nothing is scored
    assert len(scored) > len(trained)
    assert all(scored[image_id].digest == state.digest for image_id, state in trained.items())
    assert ShardFolder(finished / "data/quality").states(0) == ShardFolder(folder / "data/quality").states(0)
    assert not any(key.startswith(("miou", "iou")) for key in metrics)
    assert "nothing was scored" in call(folder, "labelfactory", "report")


def test_audits_change_no_row_and_no_network(finished):
    """True masks that people drew of a sample: with them and without, the line ends with the same digests."""
    before = digests(finished)
    call(finished, "labelfactory", "review", "sample", "--count", "12")
    folder = finished / "drawn"
    folder.mkdir()
    masks = finished / "data/raw/demo/masks"
    chosen = [
        line.split()[0] for line in call(finished, "labelfactory", "review", "list").splitlines() if "to audit" in line
    ]
    for path in (next(masks.glob(f"{image_id}.*")) for image_id in chosen):
        shutil.copy(path, folder)
    call(finished, "labelfactory", "corrections", "add", "drawn", "--audit")
    assert "Estimated from 12 audited images" in call(finished, "labelfactory", "review", "estimate")
    assert "Estimated mIoU on train from 12 audited images" in call(finished, "labelfactory", "report")
    assert ran(call(finished, "dvc", "repro"), finished) == []
    for place in ("cams", "walks", "masks", "segmenter", "predictions", "store"):
        shutil.rmtree(finished / "data" / place)
    call(finished, "dvc", "repro")
    assert digests(finished) == before
    call(finished, "labelfactory", "run", "evaluate", "--force")
    assert "mIoU on train from 12 audited images" in (finished / "data/evaluation/report.html").read_text()


@pytest.mark.parametrize("noun", ["cams", "segmenter"])
def test_a_cold_stage_has_the_same_digests(finished, noun):
    """The tests' stages are forks of a process that has loaded the libraries; a user's are not. One of each kind is shown."""
    before = digests(finished)
    for place in (noun, "store"):  # where it would be found again
        shutil.rmtree(finished / "data" / place)
    stage = {"cams": "extract_cams", "segmenter": "train_segmenter"}[noun]
    call(finished, "python", "-m", f"stages.{stage}", cold=True)
    assert (finished / "data" / noun).is_dir()
    assert digests(finished) == before


def test_stages_of_a_run_have_the_same_digests(finished):
    """Those of `labelfactory run` are forks of a process of its own that has loaded the libraries."""
    before = digests(finished)
    for place in ("cams", "segmenter", "store"):
        shutil.rmtree(finished / "data" / place)
    printed = call(finished, "labelfactory", "run", "train_segmenter", cold=True)
    assert "extract_cams: done" in printed
    assert "train_segmenter: done" in printed
    assert digests(finished) == before


def test_a_run_waits_for_dvcs_lock(imported):
    """Held by another: it says for whom it waits, and goes on."""
    with Repo(str(imported)) as other:
        other.lock.lock()
        release = threading.Timer(15, other.lock.unlock)
        release.start()
        try:
            ran = call(imported, "labelfactory", "run", "prepare")
        finally:
            release.join()
    assert f"waiting for the process {os.getpid()}, which holds DVC's lock" in ran


def test_a_line_that_never_ran_cannot_leave_out_training(imported):
    """--no-retrain without models: exit 2, both lines, and dvc.yaml untouched."""
    assert "labelfactory run: at most 114 rows" in call(imported, "labelfactory", "status")
    before = (imported / "dvc.yaml").read_bytes()
    output = call(imported, "labelfactory", "run", "--no-retrain", code=2)
    assert "there are no models yet" in output
    assert "Type `labelfactory run` first." in output
    assert (imported / "dvc.yaml").read_bytes() == before
