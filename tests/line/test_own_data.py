"""The way of a new user: a folder of photographs and a CSV become masks, a report and a COCO file with five commands."""

import csv
import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO
from small_line import small
from workspace import call, make_workspace

from sources.demo import render_demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

COUNT = 24


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A fresh project; beside it photographs of other people, their table, and one file that is broken."""
    folder = make_workspace(tmp_path_factory.mktemp("own") / "project", git=True)
    manifest = render_demo(folder / "photos", count=COUNT, seed=3)
    with (folder / "photos" / "tags.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "tags"])
        for entry in manifest.entries:
            writer.writerow([f"images/{Path(entry.path).name}", "|".join(entry.tags)])
        writer.writerow(["images/broken.jpg", "fox"])
    (folder / "photos/images/broken.jpg").write_bytes(b"not a picture")
    return folder


def test_five_commands_from_photographs_to_coco(project):
    """import, profile, run, report, export; the broken file is named at each step, and no mask is lost."""
    imported = call(project, "labelfactory", "import", "table", "photos/tags.csv")
    assert f"tags.csv, row {COUNT + 2}: photos/images/broken.jpg: not an image" in imported
    call(project, "labelfactory", "profile", "photographs-cpu", *small())
    call(project, "labelfactory", "run", timeout=1500)
    report = call(project, "labelfactory", "report")
    assert "There are no true masks, so nothing was scored." in report
    assert "broken.jpg: not an image" in call(project, "labelfactory", "status")
    assert "broken.jpg: not an image" in (project / "data/evaluation/report.html").read_text(encoding="utf-8")
    call(project, "labelfactory", "export", "coco", "--out", "coco")
    coco = COCO(str(project / "coco/semantic.json"))
    training = json.loads((project / "data/reports/prepare.json").read_text())["training_images"]
    assert len(coco.getImgIds()) == training == round(0.8 * COUNT)
    stated = json.loads((project / "coco/provenance.json").read_text())
    assert set(stated["checkpoints"]) == {"classifier", "affinity"}
    assert stated["commit"]
    call(project, "labelfactory", "predict", "photos/images", "--out", "seen", code=2)  # names the broken one
    assert len(list((project / "seen").glob("*_overlay.jpg"))) == COUNT
