"""One more stage costs its file and its lines in dvc.yaml and params.yaml: line, ledger, pages and report show it.

The copy of the project gets two stages of rows and an optional stage that trains a network; no other file is touched.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest
from small_line import SMALL, ran
from visiting import project, read, visit
from workspace import ROOT, call, make_workspace

from labelfactory.rows.reader import RowReader
from labelfactory.settings.params import read_yaml
from lineage.lookup import Lookup

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning"),  # Starlette's own, about its test client
]

BLUR_CAMS = '''"""Blur each CAM.

Reads   data/cams      cam [K, h, w] float16 in [0, 1], class_ids [K] uint8
Writes  data/blurred   scores [K, h, w] float16 in [0, 1], class_ids [K] uint8
"""

import numpy as np

from labelfactory.rows.columns import ArrayColumn
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main


class BlurCamsConfig(Section):
    """Section `blur_cams` of params.yaml."""

    share: float


class BlurCams(PerImageStage[BlurCamsConfig]):
    """Mixes each CAM with its mean."""

    reads = ("dataset", "cams")
    writes = "blurred"
    reads_rows = ("cams",)
    columns = {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}
    uses_gpu = False

    def process(self, sample):
        """Blur one image's CAMs."""
        cam = sample.of("cams")["cam"].astype(np.float32)
        mean = cam.mean(axis=(1, 2), keepdims=True)
        return {"scores": (cam * (1 - self.cfg.share) + mean * self.cfg.share).astype(np.float16),
                "class_ids": sample.of("cams")["class_ids"]}


if __name__ == "__main__":
    main(BlurCams)
'''
DOT_LABELS = '''"""Keep every second label.

Reads   data/affinity_labels   label [h, w] uint8, 255 void
Writes  data/dotted_labels     label [h, w] uint8, 255 void
"""

from labelfactory.rows.columns import MaskColumn
from labelfactory.schema import VOID
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main


class DotLabelsConfig(Section):
    """Section `dot_labels` of params.yaml."""


class DotLabels(PerImageStage[DotLabelsConfig]):
    """Makes every second column void."""

    reads = ("dataset", "affinity_labels")
    writes = "dotted_labels"
    reads_rows = ("affinity_labels",)
    columns = {"label": MaskColumn()}
    uses_gpu = False

    def process(self, sample):
        """Thin out one image's labels."""
        label = sample.of("affinity_labels")["label"].copy()
        label[:, ::2] = VOID
        return {"label": label}


if __name__ == "__main__":
    main(DotLabels)
'''
STUDENT_LABELS = '''    @property
    def labels(self):
        """The dotted labels."""
        from labelfactory.rows.reader import RowReader

        return RowReader(self.folder("dotted_labels"))

    def row_source(self, image_id):
        """Dotted labels."""
        return "dot_labels"

    @staticmethod
    def changed('''
STAGES = """\
  blur_cams:
    cmd: python -m stages.blur_cams
    meta:
      kind: rows
      word: blurred CAM
      gloss: the CAM and its mean
      scores: {name: blurs, column: scores, thresholds: seed_thresholds, cut: blur, gloss: blurred CAMs at their threshold}
    deps: [data/dataset, data/cams, labelfactory, stages/blur_cams.py]
    params: [blur_cams]
    outs: [data/blurred: {persist: true}]
    metrics: [data/reports/blur_cams.json]

  dot_labels:
    cmd: python -m stages.dot_labels
    meta: {kind: rows, scores: {name: dotted_labels, column: label, measure: accuracy}}
    deps: [data/dataset, data/affinity_labels, labelfactory, stages/dot_labels.py]
    params: [dot_labels]
    outs: [data/dotted_labels: {persist: true}]
    metrics: [data/reports/dot_labels.json]

"""
PARAMS = """\
blur_cams:
  share: 0.5

dot_labels: {}

train_student:
  enabled: true
  epochs: 1
  least_steps: 0

"""
NEW = ("blur_cams", "dot_labels", "train_student")


def add_stages(folder: Path) -> None:
    """The files of three stages, and their lines in dvc.yaml and params.yaml; the network is a teacher of another name."""
    (folder / "stages/blur_cams.py").write_text(BLUR_CAMS)
    (folder / "stages/dot_labels.py").write_text(DOT_LABELS)
    teacher = (folder / "stages/train_teacher.py").read_text()
    student = teacher.replace("Teacher", "Student").replace("teacher", "student")
    student = student.replace('"affinity_labels")', '"dotted_labels")').replace(
        "    @staticmethod\n    def changed(", STUDENT_LABELS
    )
    (folder / "stages/train_student.py").write_text(student)
    wired = (folder / "dvc.yaml").read_text()
    block = re.search(r"^  train_teacher:\n.*?\n\n", wired, re.MULTILINE | re.DOTALL)[0]
    block = block.replace("teacher", "student").replace("data/affinity_labels", "data/dotted_labels")
    block = block.replace("replaces: cams, ", "scores: {name: student, gloss: a net that learnt from dots}, ")
    wired = wired.replace("  evaluate:\n", f"{STAGES}{block}  evaluate:\n")
    more = "".join(f"      - data/{noun}\n" for noun in ("blurred", "dotted_labels", "student"))
    (folder / "dvc.yaml").write_text(wired.replace("      - data/upper_bound\n", f"      - data/upper_bound\n{more}"))
    params = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(params.replace("evaluate:\n", f"{PARAMS}evaluate:\n"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A copy of the project with three stages more, its line run once; and what DVC printed."""
    folder = make_workspace(tmp_path_factory.mktemp("more") / "project", git=True)
    add_stages(folder)
    call(folder, "labelfactory", "import", "demo", "--count", "16")
    settings = [f"--set={name}.{key}={value}" for name, keys in SMALL.items() for key, value in keys.items()]
    call(folder, "labelfactory", "profile", "demo", *settings)
    output = call(folder, "dvc", "repro")
    return folder, output


def test_no_other_file_is_touched(finished):
    """Three new files, dvc.yaml and params.yaml."""
    folder, _ = finished
    words = ["git", "status", "--porcelain", "--untracked-files=all", "--", "."]
    lines = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()
    changed = {line[3:] for line in lines if not line[3:].startswith(("data/", ".dvc/", "dvc.lock"))}
    assert changed == {"dvc.yaml", "params.yaml", *(f"stages/{name}.py" for name in NEW)}


def test_the_line_runs_them_and_status_lists_them(finished):
    """Each runs once, in dvc.yaml's order; then `status` calls each up to date."""
    folder, output = finished
    assert set(NEW) <= set(ran(output, folder))
    assert output.index("'train_student'") < output.index("'evaluate'")
    status = call(folder, "labelfactory", "status")
    for name in NEW:
        assert re.search(rf"\b{name} .*up to date", status)
    assert "Everything is up to date." in status


def test_the_ledger_holds_what_they_made(finished, monkeypatch):
    """Executions of all three; the new network with the rows that it learnt from, their tags and keys; all digests fit."""
    folder, _ = finished
    call(folder, "labelfactory", "record")
    answer = json.loads(call(folder, "labelfactory", "audit", "model", "student", "--json"))
    rows = RowReader(folder / "data/dotted_labels")
    assert (answer["model"], answer["stage"], answer["problems"]) == ("student 1", "train_student", [])
    assert [(part["source"], part["rows"]) for part in answer["training"]] == [("dot_labels", len(rows.states))]
    assert "miou/train/student" in answer["scores"]
    monkeypatch.chdir(folder)
    learnt = Lookup().training(Lookup().model("student").digest).to_pylist()
    assert all(row["image"] and row["tags"] and row["key"] for row in learnt)
    assert {row["key"].hex() for row in learnt} == {state.key for state in rows.states.values()}
    assert "everything fits" in call(folder, "labelfactory", "audit", "verify", "--deep")
    shard = rows.folder.path(0)
    intact = shard.read_bytes()
    shard.write_bytes(intact[:-40] + bytes(40))
    try:
        assert "data/dotted_labels/shard-00000.parquet" in call(folder, "labelfactory", "audit", "verify", code=2)
    finally:
        shard.write_bytes(intact)


def test_pages_show_them(finished, monkeypatch):
    """The line draws each stage and lists its scores; an image has its layers; models lists the new network."""
    folder, _ = finished
    call(folder, "labelfactory", "record")
    monkeypatch.chdir(folder)
    with visit(project()) as client:
        line = read(client, "/")
        assert {f"stage-{name}" for name in NEW} <= {row.get("id") for row in line.all("tr")}
        assert {f"#stage-{name}" for name in NEW} <= {link["href"] for link in line.all("a")}
        blurs = json.loads(Path("data/evaluation/metrics.json").read_text())["miou/train/blurs"]
        row = line.words.partition("blur_ cams")[2].partition("dot_ labels")[0]
        assert f" {100 * blurs:.1f} " in row
        tagged = next(state for state in RowReader(Path("data/blurred")).states.values())
        page = read(client, f"/image?id={tagged.image_id}")
        layers = {image["data-layer"]: image["src"] for image in page.all("img") if "data-layer" in image}
        assert {"blurred_cam", "blur"} <= set(layers)
        for kind in ("blurred_cam", "blur"):
            assert client.get(layers[kind]).headers["content-type"].startswith("image/")
        assert "student 1" in read(client, "/models").words
        assert "blurred CAM" in page.words


def test_the_report_shows_them(finished):
    """Stages, ladder with gloss, loss curve, and the metrics of both kinds of score."""
    folder, _ = finished
    report = (folder / "data/evaluation/report.html").read_text()
    for text in (*NEW, "blurred CAMs at their threshold", "a net that learnt from dots", "Loss of the student"):
        assert text in report, text
    metrics = json.loads((folder / "data/evaluation/metrics.json").read_text())
    assert {"miou/train/blurs", "miou/train/student", "threshold/blurs", "dotted_labels/train/accuracy"} <= set(metrics)
    assert metrics["dotted_labels/train/coverage"] < metrics["affinity_labels/train/coverage"]


def test_the_stage_files_are_all_that_the_shipped_project_lacks():
    """The copy is the shipped project: none of the new names is known to it."""
    assert not set(NEW) & set(read_yaml(ROOT / "dvc.yaml")["stages"])
