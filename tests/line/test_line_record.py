"""A line that ran, and a person: record, withdraw, correct."""

import json
import re
import shutil

import numpy as np
import pytest
from line_outputs import digests, report, stages
from workspace import call

from labelfactory.dataset.images import encode_mask
from labelfactory.learning.checkpoints import CHECKPOINT, read_passport
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder
from labelfactory.schema import VOID

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_bare_repro_is_recorded_and_an_image_can_be_withdrawn(finished):
    """Two repros without a record between them, found by the next; then an image leaves no trace, and all of it fits."""
    shutil.rmtree(finished / "data/ledger", ignore_errors=True)  # other tests may have typed `labelfactory run`
    assert f"{len(stages(finished))} stages, 18 new masks" in call(finished, "labelfactory", "record")
    assert "nothing new" in call(finished, "labelfactory", "record")
    for value in (1, 2):
        call(finished, "labelfactory", "profile", "--set", f"refine_crf.method.crf.gaussian_compat={value}")
        call(finished, "dvc", "repro", "refine_crf")
    assert "36 new masks" in call(finished, "labelfactory", "record")
    assert "everything fits" in call(finished, "labelfactory", "audit", "verify", "--deep")
    image_id = ShardFolder(finished / "data/masks").all_states()[3].image_id
    pixel = json.loads(call(finished, "labelfactory", "audit", "pixel", image_id, "3", "4", "--json"))
    assert "bit for bit" in pixel["steps"][2]["note"]
    asked = call(finished, "labelfactory", "withdraw", image_id, "--by", "tester", "--dry-run")
    assert "--dry-run: nothing was changed" in asked
    assert "3 versions of masks" in asked
    assert "segmenter 1" in asked
    assert "contain nothing of these images" in call(finished, "labelfactory", "withdraw", image_id, "--by", "tester")
    assert image_id not in {state.image_id for state in ShardFolder(finished / "data/masks").all_states()}
    assert "everything fits" in call(finished, "labelfactory", "audit", "verify")
    assert "1 withdrawn photographs are left out" in call(finished, "labelfactory", "import", "demo", "--count", "24")


def test_a_correction_runs_what_depends_on_it_and_nothing_else(finished):
    """One row of masks, the segmenter, the scores; a second run does nothing, and taking it back gives the old digests."""
    before = digests(finished)
    image_id = next(key.removeprefix("masks/") for key in before if key.startswith("masks/"))
    mask = RowReader(finished / "data/masks")[image_id]["mask"]
    (finished / "edited").mkdir()
    (finished / f"edited/{image_id}.png").write_bytes(encode_mask(np.where(mask == 0, VOID, mask).astype(np.uint8)))
    assert f"1 mask ({image_id}) corrected" in call(finished, "labelfactory", "corrections", "add", "edited")
    output = call(finished, "labelfactory", "run")
    done = re.findall(r"^(\w+): done in", output, re.MULTILINE)
    rated = ("segment_images", "rate_masks")
    assert done == ["refine_crf", "train_segmenter", *rated, "train_upper_bound", "evaluate"]
    assert "Running stage" not in output  # a line a stage is enough
    assert (report(finished, "refine_crf")["rows_computed"], report(finished, "refine_crf")["corrected"]) == (1, 1)
    assert {k for k, v in digests(finished).items() if v != before[k]} == {f"masks/{image_id}", "segmenter"}
    assert read_passport(finished / f"data/segmenter/{CHECKPOINT}").supervision == ["masks", "tags"]
    assert f"1 masks were corrected by a person and count in every score of masks: {image_id}" in (
        finished / "data/evaluation/report.html"
    ).read_text(encoding="utf-8")
    assert '"learnt_from": "human"' in call(finished, "labelfactory", "audit", "mask", image_id, "--json")
    assert "everything is up to date" in call(finished, "labelfactory", "run")
    call(finished, "labelfactory", "corrections", "remove", image_id)
    call(finished, "dvc", "repro")
    assert digests(finished) == before
