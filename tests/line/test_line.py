"""The whole line through DVC on a tiny set: runs once, then nothing; reruns what a change touches; same digests twice."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from chaos import contents
from databases import with_databases
from dvc.repo import Repo
from small_line import SMALL, ran
from workspace import call, copy_workspace, make_workspace

from flows.line.dvc_line import LEARNING
from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.manifest import Entry, Manifest, read_manifest, write_manifest
from labelfactory.learning.checkpoints import CHECKPOINT, read_passport
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import RowState, ShardFolder
from labelfactory.schema import VOID

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PER_IMAGE = ("cams", "affinity_labels", "walks", "masks")
TRAINED = ("classifier", "affinity", "segmenter")
CALIBRATED = ("seed_thresholds", "walk_threshold")
LEARNT = [f"data/{noun}/{CHECKPOINT}" for noun in TRAINED] + [f"data/{noun}/thresholds.json" for noun in CALIBRATED]


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Path:
    """A workspace with 24 images and params for seconds; nothing has run."""
    folder = with_databases(make_workspace(tmp_path_factory.mktemp("line") / "imported", git=True))
    call(folder, "labelfactory", "import", "demo", "--count", "24")
    settings = [f"--set={name}.{key}={value}" for name, keys in SMALL.items() for key, value in keys.items()]
    call(folder, "labelfactory", "profile", "demo", *settings)
    return folder


@pytest.fixture(scope="module")
def finished(imported) -> Path:
    """A copy of it in which the line has run once. Tests that change anything copy it."""
    folder = copy_workspace(imported, imported.parent / "finished")
    output = call(folder, "dvc", "repro")
    for name in stages(folder):
        assert f"Running stage '{name}'" in output
    return folder


@pytest.fixture
def variant(finished, request) -> Path:
    """A copy of the finished workspace for one test."""
    return copy_workspace(finished, finished.parent / request.node.name[:40])


def stages(folder: Path) -> list[str]:
    return list(yaml.safe_load((folder / "dvc.yaml").read_text())["stages"])


def digests(folder: Path) -> dict[str, str]:
    """Digest of every row of every per-image stage, of every checkpoint's weights, and the thresholds."""
    found = {}
    for noun in PER_IMAGE:
        for state in ShardFolder(folder / "data" / noun).all_states():
            found[f"{noun}/{state.image_id}"] = f"{state.status} {state.digest}"
    for noun in TRAINED:
        found[noun] = read_passport(folder / "data" / noun / CHECKPOINT).weights_digest
    for noun in CALIBRATED:
        found[noun] = (folder / f"data/{noun}/thresholds.json").read_text()
    return found


def report(folder: Path, name: str) -> dict:
    return json.loads((folder / f"data/reports/{name}.json").read_text())


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
    scored = pq.read_table(finished / "data/evaluation/images.parquet")
    assert scored.num_rows == 24
    assert scored.column("masks").null_count == 6  # images of the list val have no mask


def test_a_teacher_walks_in_place_of_the_cams(variant):
    """Turned on, it is trained on the affinity labels, its scores walk, and the model names it; turned off, all is as before."""
    before, cams = digests(variant), ShardFolder(variant / "data/cams")
    call(variant, "labelfactory", "profile", "--set=train_teacher.enabled=true")
    started = ran(call(variant, "dvc", "repro"), variant)
    assert started[0] == "train_teacher"
    assert started[1] == "random_walk"
    assert "train_segmenter" in started
    taught = digests(variant)
    assert all(taught[name] == before[name] for name in before if not name.startswith(("walk", "masks", "segmenter")))
    teacher = read_passport(variant / "data/teacher" / CHECKPOINT)
    assert teacher.supervision == ["tags"]
    assert teacher.params["epochs"] == 1
    walks = ShardFolder(variant / "data/walks").table(0).to_pylist()
    tagged = [
        row for row in walks if cams.states(0)[row["image_id"]].status == "ok" and json.loads(row["inputs"])["tags"]
    ]
    assert tagged
    assert all(taught[f"walks/{row['image_id']}"] != before[f"walks/{row['image_id']}"] for row in tagged)
    for row in walks:
        inputs = json.loads(row["inputs"])
        assert inputs["teacher"] == teacher.weights_digest
        assert "thresholds" not in inputs
    model = read_passport(variant / "data/segmenter" / CHECKPOINT)
    assert model.parents["teacher"] == teacher.weights_digest
    call(variant, "labelfactory", "export", "voc", "--out", "taught")
    stated = json.loads((variant / "taught/provenance.json").read_text())
    assert stated["checkpoints"]["teacher"]["weights_digest"] == teacher.weights_digest
    call(variant, "labelfactory", "profile", "--set=train_teacher.enabled=false")
    call(variant, "dvc", "repro")
    assert [file.name for file in (variant / "data/teacher").iterdir()] == ["curve.csv"]
    assert digests(variant) == before


def test_the_upper_bound_learns_from_true_masks(variant):
    """The same net, schedule and images; its passport says *masks*, the line's do not, and the model is held against it."""
    before = digests(variant)
    call(variant, "labelfactory", "profile", "--set=train_upper_bound.enabled=true")
    assert ran(call(variant, "dvc", "repro"), variant) == ["train_upper_bound", "evaluate"]
    bound, model = (read_passport(variant / "data" / noun / CHECKPOINT) for noun in ("upper_bound", "segmenter"))
    assert ("masks" in bound.supervision, "masks" in model.supervision) == (True, False)
    assert (bound.params, bound.architecture, bound.training_rows) == (
        model.params,
        model.architecture,
        model.training_rows,
    )
    scores = json.loads((variant / "data/evaluation/metrics.json").read_text())
    assert 0 < scores["miou/val/upper_bound"] <= 1
    assert scores["fraction_of_supervised"] == pytest.approx(scores["miou/val/model"] / scores["miou/val/upper_bound"])
    assert digests(variant) == before


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
    assert (low, high) != tuple(chosen[f"affinity_{side}"]["value"] for side in ("background", "foreground"))
    page = (finished / "data/evaluation/report.html").read_text()
    assert "seeds: affinity foreground" in page
    assert "not known" not in page


def test_two_clean_runs_give_the_same_digests_and_so_does_one_without_true_masks(imported, finished, monkeypatch):
    """Same commit, params, data and machine: the same bits, from one process a stage or two. `evaluate` alone looks at true
    masks.
    """
    monkeypatch.setenv("LABELFACTORY_WORKERS", "2")
    folder = copy_workspace(imported, imported.parent / "without_truth")
    remove_truth(folder)
    output = call(folder, "dvc", "repro")
    assert digests(folder) == digests(finished)
    assert "there is nothing to score" in output
    metrics = json.loads((folder / "data/evaluation/metrics.json").read_text())
    assert metrics["true_masks"] == 0
    assert not any(key.startswith(("miou", "iou")) for key in metrics)
    assert "nothing was scored" in call(folder, "labelfactory", "report")


@pytest.mark.parametrize("noun", ["cams", "segmenter"])
def test_a_cold_stage_has_the_same_digests(variant, noun):
    """The tests' stages are forks of a process that has loaded the libraries; a user's are not. One of each kind is shown."""
    before = digests(variant)
    shutil.rmtree(variant / "data" / noun)
    stage = {"cams": "extract_cams", "segmenter": "train_segmenter"}[noun]
    call(variant, "python", "-m", f"stages.{stage}", cold=True)
    assert (variant / "data" / noun).is_dir()
    assert digests(variant) == before


def test_a_changed_crf_reruns_what_follows_and_nothing_before(variant):
    """Status names the parameter beforehand; afterwards earlier outputs are the same bytes."""
    before = digests(variant)
    changed = call(variant, "labelfactory", "profile", "--set", "refine_crf.crf.bilateral_compat=1")
    assert "refine_crf.crf.bilateral_compat: 10 → 1" in changed
    status = call(variant, "labelfactory", "status")
    assert "params.yaml refine_crf.crf.bilateral_compat: 10 → 1" in status
    assert [line.split()[1] for line in status.splitlines() if "stale" in line] == ["refine_crf"]
    order = stages(variant)
    assert ran(call(variant, "dvc", "repro"), variant) == order[order.index("refine_crf") :]
    after = digests(variant)
    assert {key.split("/")[0] for key in after if after[key] != before[key]} == {"masks", "segmenter"}
    assert report(variant, "refine_crf")["rows_computed"] == 18
    assert ran(call(variant, "dvc", "repro"), variant) == []


def test_new_images_with_the_models_as_they_are(variant):
    """--no-retrain: 6 images more cost 6 images; models, thresholds and dvc.yaml stay as they are."""
    kept = {name: (variant / name).read_bytes() for name in [*LEARNT, "dvc.yaml"]}
    before = digests(variant)
    call(variant, "labelfactory", "import", "demo", "--append", "--count", "30")
    call(variant, "labelfactory", "run", "--no-retrain")
    assert {name for name, content in kept.items() if (variant / name).read_bytes() != content} == set()
    after = digests(variant)
    assert {key: after[key] for key in before} == before
    for name in ("extract_cams", "label_affinity", "random_walk", "refine_crf"):
        made = report(variant, name)
        assert (made["rows_computed"], made["rows_copied"]) == (5, 18), name
    status = call(variant, "labelfactory", "status").splitlines()
    stale = {line.split()[1]: line for line in status if "stale" in line}
    idle = {line.split()[1] for line in status if "asked again, nothing to do" in line}
    assert idle == {"train_teacher", "train_upper_bound"}  # they are off
    assert set(stale) == set(LEARNING) - idle
    assert "data/dataset: modified" in stale["train_classifier"]


def states_of(folder: Path) -> dict[str, RowState]:
    """Every row of every per-image stage by stage and image, without its payload."""
    found = {noun: ShardFolder(folder / "data" / noun).all_states() for noun in PER_IMAGE}
    return {f"{noun}/{state.image_id}": state for noun, states in found.items() for state in states}


def counts(folder: Path) -> set[tuple[int, int]]:
    """Rows computed and copied, of each per-image stage; one pair where all did the same."""
    made = [report(folder, name) for name in ("extract_cams", "label_affinity", "random_walk", "refine_crf")]
    return {(m["rows_computed"], m["rows_copied"]) for m in made}


def edit_manifest(folder: Path, edit: Callable[[tuple[Entry, ...]], tuple[Entry, ...]]) -> None:
    path = folder / "data/import/manifest.parquet"
    manifest = read_manifest(path)
    write_manifest(replace(manifest, entries=edit(manifest.entries)), path)


def test_one_image_costs_one_image(variant):
    """Times mean nothing; other tags are a row per stage; a removed image is none; status says so beforehand."""
    for path in [*variant.glob("data/raw/demo/*/*"), *variant.glob("data/import/*"), *variant.glob("stages/*.py")]:
        os.utime(path, (1, 1))
    assert "everything is up to date" in call(variant, "labelfactory", "run")

    before = states_of(variant)
    entries = read_manifest(variant / "data/import/manifest.parquet").entries
    one = next(e for e in entries if "train" in e.lists and len(e.tags) > 1)
    edit_manifest(variant, lambda all_: tuple(replace(e, tags=e.tags[:1]) if e == one else e for e in all_))
    assert "--no-retrain: at most 4 rows, 0 stages that learn" in call(variant, "labelfactory", "status")
    call(variant, "labelfactory", "run", "--no-retrain", "label_affinity", "refine_crf")
    assert counts(variant) == {(1, 17)}
    after = states_of(variant)
    assert {name.split("/")[1] for name, state in after.items() if state != before[name]} == {one.image_id}

    other = next(e for e in entries if "train" in e.lists and e.tags and e != one)
    edit_manifest(variant, lambda all_: tuple(e for e in all_ if e.image_id != other.image_id))
    said = call(variant, "labelfactory", "status")
    assert "--no-retrain: at most 0 rows, 0 stages that learn" in said
    assert "labelfactory run: at most 68 rows" in said
    call(variant, "labelfactory", "run", "--no-retrain", "label_affinity", "refine_crf")
    assert counts(variant) == {(0, 17)}
    left = states_of(variant)
    assert left == {name: state for name, state in after.items() if not name.endswith(f"/{other.image_id}")}

    call(variant, "labelfactory", "run", "train_classifier")
    learnt = report(variant, "train_classifier")
    assert (learnt["trained"], learnt["training_rows"]) == (True, 17)


def test_a_second_run_in_the_folder_is_refused(imported):
    """DVC's lock is held by another: two lines and exit code 2, not a traceback."""
    with Repo(str(imported)) as other, other.lock:
        said = call(imported, "labelfactory", "run", code=2)
    assert "error: another run works in this folder: it holds DVC's lock" in said
    assert "Wait until it is done" in said


def test_a_comment_in_a_stage_computes_nothing(variant):
    """DVC asks the stage, which copies all: no byte changes, so nobody below is asked."""
    before = contents(variant / "data/affinity_labels")
    with (variant / "stages/label_affinity.py").open("a") as code:
        code.write("# a word\n")
    status = call(variant, "labelfactory", "status")
    assert [line.split()[1] for line in status.splitlines() if "asked again" in line] == ["label_affinity"]
    assert "stale" not in status
    assert ran(call(variant, "dvc", "repro"), variant) == ["label_affinity"]
    assert contents(variant / "data/affinity_labels") == before


def test_an_edit_of_a_stage_makes_it_stale_and_nothing_else(variant):
    """Its rows are computed again to the same digests; who reads them is asked, and has nothing to do."""
    before = digests(variant)
    with (variant / "stages/label_affinity.py").open("a") as code:
        code.write("UNUSED = 1\n")
    status = call(variant, "labelfactory", "status")
    assert [line.split()[1] for line in status.splitlines() if "stale" in line] == ["label_affinity"]
    first, *asked = ran(call(variant, "dvc", "repro"), variant)
    assert first == "label_affinity"
    assert digests(variant) == before
    made = report(variant, "label_affinity")
    assert (made["rows_computed"], made["rows_copied"]) == (18, 0)
    assert report(variant, "train_affinity")["trained"] is False
    for name in asked:
        assert report(variant, name).get("rows_computed", 0) == 0, name
        assert not report(variant, name).get("trained", False), name


def test_a_line_that_never_ran_cannot_leave_out_training(imported):
    """--no-retrain without models: exit 2, both lines, and dvc.yaml untouched."""
    assert "labelfactory run: at most 72 rows" in call(imported, "labelfactory", "status")
    before = (imported / "dvc.yaml").read_bytes()
    output = call(imported, "labelfactory", "run", "--no-retrain", code=2)
    assert "there are no models yet" in output
    assert "Type `labelfactory run` first." in output
    assert (imported / "dvc.yaml").read_bytes() == before


def test_bare_repro_is_recorded_and_an_image_can_be_withdrawn(variant):
    """Two repros without a record between them, found by the next; then an image leaves no trace, and all of it fits."""
    shutil.rmtree(variant / "data/ledger", ignore_errors=True)  # other tests may have typed `labelfactory run`
    assert f"{len(stages(variant))} stages, 18 new masks" in call(variant, "labelfactory", "record")
    assert "nothing new" in call(variant, "labelfactory", "record")
    for value in (1, 2):
        call(variant, "labelfactory", "profile", "--set", f"refine_crf.crf.gaussian_compat={value}")
        call(variant, "dvc", "repro", "refine_crf")
    assert "36 new masks" in call(variant, "labelfactory", "record")
    assert "everything fits" in call(variant, "labelfactory", "audit", "verify", "--deep")
    image_id = ShardFolder(variant / "data/masks").all_states()[3].image_id
    pixel = json.loads(call(variant, "labelfactory", "audit", "pixel", image_id, "3", "4", "--json"))
    assert "bit for bit" in pixel["steps"][2]["note"]
    asked = call(variant, "labelfactory", "withdraw", image_id, "--by", "tester", "--dry-run")
    assert "--dry-run: nothing was changed" in asked
    assert "3 versions of masks" in asked
    assert "segmenter 1" in asked
    assert "nothing of these images is left" in call(variant, "labelfactory", "withdraw", image_id, "--by", "tester")
    assert image_id not in {state.image_id for state in ShardFolder(variant / "data/masks").all_states()}
    assert "everything fits" in call(variant, "labelfactory", "audit", "verify")
    assert "1 withdrawn photographs are left out" in call(variant, "labelfactory", "import", "demo", "--count", "24")


def test_a_correction_runs_what_depends_on_it_and_nothing_else(variant):
    """One row of masks, the segmenter, the scores; a second run does nothing, and taking it back gives the old digests."""
    before = digests(variant)
    image_id = next(key.removeprefix("masks/") for key in before if key.startswith("masks/"))
    mask = RowReader(variant / "data/masks")[image_id]["mask"]
    (variant / "edited").mkdir()
    (variant / f"edited/{image_id}.png").write_bytes(encode_mask(np.where(mask == 0, VOID, mask).astype(np.uint8)))
    assert f"1 mask ({image_id}) corrected" in call(variant, "labelfactory", "corrections", "add", "edited")
    output = call(variant, "labelfactory", "run")
    done = re.findall(r"^(\w+): done in", output, re.MULTILINE)
    assert done == ["refine_crf", "train_segmenter", "train_upper_bound", "evaluate"]
    assert "Running stage" not in output  # a line a stage is enough
    assert (report(variant, "refine_crf")["rows_computed"], report(variant, "refine_crf")["corrected"]) == (1, 1)
    assert {k for k, v in digests(variant).items() if v != before[k]} == {f"masks/{image_id}", "segmenter"}
    assert read_passport(variant / f"data/segmenter/{CHECKPOINT}").supervision == ["masks", "tags"]
    assert f"1 masks were corrected by a person and count in every score of masks: {image_id}" in (
        variant / "data/evaluation/report.html"
    ).read_text(encoding="utf-8")
    assert '"learnt_from": "human"' in call(variant, "labelfactory", "audit", "mask", image_id, "--json")
    assert "everything is up to date" in call(variant, "labelfactory", "run")
    call(variant, "labelfactory", "corrections", "remove", image_id)
    call(variant, "dvc", "repro")
    assert digests(variant) == before
