"""What a change costs: a parameter, a comment, new images, other tags, an image that is taken away."""

import os
import shutil
from contextlib import chdir
from dataclasses import replace

import pytest
from chaos import contents
from line_outputs import LEARNT, counts, digests, edit_manifest, report, stages, states_of
from small_line import ran
from workspace import call

from flows.line.dvc_line import open_line
from flows.line.unused_inputs import REASON
from labelfactory.dataset.manifest import Entry, read_manifest
from labelfactory.learning.checkpoints import read_passport
from labelfactory.settings.wiring import read_wiring
from lineage.ledger import Ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_changed_crf_reruns_what_follows_and_the_way_back_computes_nothing(finished):
    """Status names the parameter beforehand; earlier outputs are the same bytes. Back at the old value, status says that all
    is there, every file is as it was, and the ledger has no other model.
    """
    before, outputs = digests(finished), {noun: contents(finished / "data" / noun) for noun in ("masks", "segmenter")}
    changed = call(finished, "labelfactory", "profile", "--set", "refine_crf.method.crf.bilateral_compat=1")
    assert "refine_crf.method.crf.bilateral_compat: 10 → 1" in changed
    status = call(finished, "labelfactory", "status")
    assert "params.yaml refine_crf.method.crf.bilateral_compat: 10 → 1" in status
    assert [line.split()[1] for line in status.splitlines() if "stale" in line] == ["refine_crf"]
    order = stages(finished)
    assert ran(call(finished, "dvc", "repro"), finished) == order[order.index("refine_crf") :]
    after = digests(finished)
    assert {key.split("/")[0] for key in after if after[key] != before[key]} == {"masks", "segmenter"}
    assert report(finished, "refine_crf")["rows_computed"] == 18
    assert ran(call(finished, "dvc", "repro"), finished) == []

    call(finished, "labelfactory", "record")
    models = Ledger(finished / "data/ledger").events("model")
    call(finished, "labelfactory", "profile", "--set", "refine_crf.method.crf.bilateral_compat=10")
    status = call(finished, "labelfactory", "status")
    assert "labelfactory run: at most 0 rows, 0 stages that learn;" in status
    assert "found again: 60 rows, 1 networks or thresholds" in status
    printed = call(finished, "labelfactory", "run")
    assert "refine_crf: 18 rows were made before, and found again in data/store" in printed
    assert "found again, trained on 18 rows" in printed
    assert digests(finished) == before
    assert {noun: contents(finished / "data" / noun) for noun in outputs} == outputs
    made = report(finished, "refine_crf")
    assert (made["rows_computed"], made["rows_copied"], made["rows_found"]) == (0, 0, 18)
    assert report(finished, "train_segmenter")["trained"] is False
    assert Ledger(finished / "data/ledger").events("model") == models
    said = call(finished, "labelfactory", "gc", "--dry-run")
    assert ", 0 MB by itself (limit" in said, "DVC's cache holds the same files"
    assert "0 entries would go, 0 MB; nothing was changed" in said


def test_other_tags_of_the_validation_list_are_measured_and_not_learnt(finished):
    """On the same weights, to the figures that a training from the start then has; until then mAP is not measured."""

    def other_tags(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        names = read_manifest(finished / "data/import/manifest.parquet").classes.names
        following = dict(zip(names, names[1:] + names[:1], strict=True))
        return tuple(replace(e, tags=tuple(map(following.get, e.tags))) if "val" in e.lists else e for e in entries)

    checkpoint = finished / "data/classifier/checkpoint.safetensors"
    first, weights = report(finished, "train_classifier"), read_passport(checkpoint).weights_digest
    edit_manifest(finished, other_tags)
    call(finished, "dvc", "repro", "prepare")
    assert "mAP not measured on val" in call(finished, "labelfactory", "report")
    call(finished, "dvc", "repro", "train_classifier")
    again = report(finished, "train_classifier")
    assert again["trained"] is False
    figures = {name: value for name, value in again.items() if name.startswith(("map/", "ap/"))}
    assert figures != {name: first[name] for name in figures}
    assert "mAP not measured" not in call(finished, "labelfactory", "report")
    passport = read_passport(checkpoint)
    assert (passport.weights_digest, passport.metrics) == (weights, {"loss": first["loss"], **figures})
    checkpoint.unlink()
    shutil.rmtree(finished / "data/store")
    call(finished, "dvc", "repro", "--force", "--single-item", "train_classifier")
    trained = report(finished, "train_classifier")
    assert trained["trained"] is True
    assert read_passport(checkpoint).model_copy(update={"git_commit": None}) == passport.model_copy(
        update={"git_commit": None}
    )


def test_new_images_with_the_models_as_they_are(finished):
    """--no-retrain: 6 images more cost 6 images; models, thresholds and dvc.yaml stay as they are."""
    kept = {name: (finished / name).read_bytes() for name in [*LEARNT, "dvc.yaml"]}
    before = digests(finished)
    call(finished, "labelfactory", "import", "demo", "--append", "--count", "30")
    call(finished, "labelfactory", "run", "--no-retrain")
    assert {name for name, content in kept.items() if (finished / name).read_bytes() != content} == set()
    after = digests(finished)
    assert {key: after[key] for key in before} == before
    for name in ("extract_cams", "label_affinity", "random_walk", "refine_crf"):
        made = report(finished, name)
        assert (made["rows_computed"], made["rows_copied"]) == (5, 18), name
    status = call(finished, "labelfactory", "status").splitlines()
    stale = {line.split()[1]: line for line in status if "stale" in line}
    idle = {line.split()[1] for line in status if "asked again, nothing to do" in line}
    assert idle == {"train_teacher", "train_upper_bound"}  # they are off
    assert set(stale) == set(read_wiring().learning) - idle
    assert "data/dataset: modified" in stale["train_classifier"]


def test_what_changed_as_a_stage_ended_is_not_taken_for_used(imported):
    """DVC looks at inputs when the stage has ended: `dvc commit` notes what no stage used, as a correction then would be."""
    call(imported, "labelfactory", "run", "prepare")
    used = report(imported, "prepare")
    entries = read_manifest(imported / "data/import/manifest.parquet").entries
    one = next(e for e in entries if len(e.tags) > 1)
    edit_manifest(imported, lambda all_: tuple(replace(e, tags=e.tags[:1]) if e == one else e for e in all_))
    call(imported, "dvc", "commit", "--force", "prepare")
    assert "up to date" in call(imported, "dvc", "status", "prepare")
    assert REASON in call(imported, "labelfactory", "status")
    with chdir(imported), open_line() as line:
        assert line.stale(["prepare"]) == ["prepare"]
    assert f"prepare: {REASON}; it runs again" in call(imported, "labelfactory", "run", "prepare")
    assert report(imported, "prepare")["given"] != used["given"]
    assert "up to date" in call(imported, "labelfactory", "run", "prepare")

    call(imported, "labelfactory", "profile", "--set", "prepare.shard_size=8")
    call(imported, "dvc", "commit", "--force", "prepare")
    with chdir(imported), open_line() as line:
        assert line.bring_up_to_date("prepare")
        assert not line.bring_up_to_date("prepare")


def test_one_image_costs_one_image(finished):
    """Times mean nothing; other tags are a row per stage; a removed image is none; status says so beforehand."""
    for path in [*finished.glob("data/raw/demo/*/*"), *finished.glob("data/import/*"), *finished.glob("stages/*.py")]:
        os.utime(path, (1, 1))
    assert "everything is up to date" in call(finished, "labelfactory", "run")

    before = states_of(finished)
    entries = read_manifest(finished / "data/import/manifest.parquet").entries
    one = next(e for e in entries if "train" in e.lists and len(e.tags) > 1)
    edit_manifest(finished, lambda all_: tuple(replace(e, tags=e.tags[:1]) if e == one else e for e in all_))
    assert "--no-retrain: at most 6 rows, 0 stages that learn" in call(finished, "labelfactory", "status")
    call(finished, "labelfactory", "run", "--no-retrain", "label_affinity", "refine_crf")
    assert counts(finished) == {(1, 17)}
    after = states_of(finished)
    assert {name.split("/")[1] for name, state in after.items() if state != before[name]} == {one.image_id}

    other = next(e for e in entries if "train" in e.lists and e.tags and e != one)
    edit_manifest(finished, lambda all_: tuple(e for e in all_ if e.image_id != other.image_id))
    said = call(finished, "labelfactory", "status")
    assert (
        "--no-retrain: at most 2 rows, 0 stages that learn" in said
    )  # prediction and quality of the first, not asked for yet
    assert "labelfactory run: at most 108 rows" in said
    call(finished, "labelfactory", "run", "--no-retrain", "label_affinity", "refine_crf")
    assert counts(finished) == {(0, 17)}
    left = states_of(finished)
    assert left == {name: state for name, state in after.items() if not name.endswith(f"/{other.image_id}")}

    call(finished, "labelfactory", "run", "train_classifier")
    learnt = report(finished, "train_classifier")
    assert (learnt["trained"], learnt["training_rows"]) == (True, 17)


def test_a_comment_in_a_stage_computes_nothing(finished):
    """DVC asks the stage, which copies all rows: no byte changes, so no later stage is asked."""
    before = contents(finished / "data/affinity_labels")
    with (finished / "stages/label_affinity.py").open("a") as code:
        code.write("# a word\n")
    status = call(finished, "labelfactory", "status")
    assert [line.split()[1] for line in status.splitlines() if "asked again" in line] == ["label_affinity"]
    assert "stale" not in status
    assert ran(call(finished, "dvc", "repro"), finished) == ["label_affinity"]
    assert contents(finished / "data/affinity_labels") == before


def test_an_edit_of_a_stage_makes_it_stale_and_nothing_else(finished):
    """Its rows are computed again to the same digests; who reads them is asked, and has nothing to do."""
    before = digests(finished)
    with (finished / "stages/label_affinity.py").open("a") as code:
        code.write("UNUSED = 1\n")
    status = call(finished, "labelfactory", "status")
    assert [line.split()[1] for line in status.splitlines() if "stale" in line] == ["label_affinity"]
    first, *asked = ran(call(finished, "dvc", "repro"), finished)
    assert first == "label_affinity"
    assert digests(finished) == before
    made = report(finished, "label_affinity")
    assert (made["rows_computed"], made["rows_copied"]) == (18, 0)
    assert report(finished, "train_affinity")["trained"] is False
    for name in asked:
        assert report(finished, name).get("rows_computed", 0) == 0, name
        assert not report(finished, name).get("trained", False), name
