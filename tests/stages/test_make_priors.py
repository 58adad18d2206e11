"""The stage of priors: off without rows, rows that follow their own file alone, files that are refused, labels that show."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from small_line import SMALL
from workspace import ROOT, call, make_workspace

from flows.line import cost
from flows.line.stage_states import StageState
from labelfactory.dataset.manifest import Entry, Manifest, write_manifest
from labelfactory.errors import ParamsError, SupervisionError
from labelfactory.learning.checkpoints import read_passport
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder
from labelfactory.schema import Classes
from labelfactory.settings.overlay import lay_over as overlay
from labelfactory.settings.params import check_sections, read_yaml
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage import runner
from labelfactory.stage.preflight import check_line
from labelfactory.stage.runner import stage_class
from stages.make_priors import MakePriors, MakePriorsConfig
from stages.prepare import Prepare, PrepareConfig
from stages.train_classifier import TrainClassifier

PREPARE = PrepareConfig(train_list="train", val_list="train", max_bad_fraction=0, shard_size=2, compression="zstd")
FILES = {"name": "files", "folder": "net", "supervision": ["saliency", "masks"]}


@pytest.fixture
def photographs(workspace):
    """Five photographs of 6×5 pixels: a, b | c, d | e in three shards."""
    workspace.wire("make_priors")
    (workspace.root / "data/import/maps/net").mkdir(parents=True)
    return workspace


def stage(method) -> MakePriors:
    made = MakePriors(MakePriorsConfig(method=method))
    made.output.mkdir(parents=True, exist_ok=True)
    return made


def rows() -> dict[str, dict]:
    reader = RowReader(stage("none").output)
    return {image_id: reader[image_id] for image_id in reader.states}


def reasons() -> dict[str, str]:
    return {s.image_id: s.reason for s in ShardFolder(stage("none").output).all_states() if s.status != "ok"}


def rename(workspace, image_id, other):
    """Import a photograph under another id."""
    workspace.records = [replace(r, image_id=other) if r.image_id == image_id else r for r in workspace.records]
    workspace.save()


def give(workspace, image_id, value, mode="L", suffix=".png"):
    """A map of one value and 3×2 pixels."""
    path = workspace.root / f"data/import/maps/net/{image_id}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (3, 2), value).save(path)
    return path


# --- off --------------------------------------------------------------------------------------------------------------


def test_off_makes_nothing_and_says_so(photographs, capsys):
    """No row, no plan; what an earlier run made goes."""
    stage("spectral_residual").run()
    assert len(ShardFolder(stage("none").output).shards()) == 3
    off = stage("none")
    metrics = off.run()
    assert metrics == {"enabled": False}
    assert off.units(metrics) == 0
    assert "make_priors: off (make_priors.method is none)" in capsys.readouterr().err
    assert list(off.output.iterdir()) == []
    assert list(off.plan()) == []
    assert off.update().rows_computed == 0
    assert list(off.output.iterdir()) == []


def test_another_class_makes_no_map_anew(photographs):
    """`import --append --classes` adds one at the end: rows that know the photograph alone are kept, byte for byte."""
    stage("spectral_residual").run()
    before = {state.image_id: (state.key, state.digest) for state in ShardFolder(stage("none").output).all_states()}
    photographs.classes = (*photographs.classes, "owl")
    photographs.add("z", "owl")
    assert stage("spectral_residual").run()["rows_computed"] == 1
    after = {state.image_id: (state.key, state.digest) for state in ShardFolder(stage("none").output).all_states()}
    assert {image_id: after[image_id] for image_id in before} == before
    wired = read_wiring(ROOT / "dvc.yaml").of_kind("rows")
    assert {each.name for each in wired if not stage_class(each.name).knows_classes} == {"make_priors"}


@pytest.mark.parametrize(("method", "rows_of_a_run"), [("none", 0), ("spectral_residual", 6)])
def test_off_costs_nothing(photographs, monkeypatch, method, rows_of_a_run):
    """What a run is said to cost beforehand, with a photograph that is new."""
    photographs.wire("prepare", "make_priors")
    sections = {"prepare": PREPARE, "make_priors": MakePriorsConfig(method=method)}
    monkeypatch.setattr(runner, "stage_class", {"prepare": Prepare, "make_priors": MakePriors}.__getitem__)
    monkeypatch.setattr(cost, "read_sections", lambda: sections)
    records = [*photographs.records, replace(photographs.records[0], image_id="f", position=5)]
    entries = tuple(Entry(r.image_id, r.path, r.sha256, r.lists, r.tags, position=r.position) for r in records)
    write_manifest(Manifest(Classes(("cat", "dog")), {0: 0, 1: 1, 2: 2}, "test", entries))
    states = [StageState(name, "stale", ()) for name in sections]
    assert cost.costs(states)[1].rows == rows_of_a_run


def test_switching_off_is_a_run_while_maps_are_left(photographs, monkeypatch):
    """The stage runs to remove its rows, and what reads them moves; once they are gone, nothing is left to do."""
    photographs.wire("prepare", "make_priors")
    stage("spectral_residual").run()
    sections = {"prepare": PREPARE, "make_priors": MakePriorsConfig(method="none")}
    monkeypatch.setattr(cost, "read_sections", lambda: sections)
    states = [StageState("prepare", "up to date", ()), StageState("make_priors", "stale", ())]
    monkeypatch.setattr(runner, "stage_class", {"prepare": Prepare, "make_priors": MakePriors}.__getitem__)
    assert [c.runs for c in cost.costs(states)] == [False, True]
    stage("none").run()
    assert [c.runs for c in cost.costs(states)] == [False, False]


# --- rows -------------------------------------------------------------------------------------------------------------


def test_saliency_needs_no_label(photographs):
    """A map for each photograph; nothing is made twice; another knob makes all of them again."""
    assert stage("spectral_residual").run()["rows_computed"] == 5
    made = rows()
    assert list(made) == list("abcde")
    assert all(row["map"].shape == (5, 6) and row["map"].max() == 255 for row in made.values())
    assert {row["supervision"] for row in made.values()} == {""}
    assert stage("spectral_residual").run()["rows_computed"] == 0
    assert stage({"name": "spectral_residual", "sigma": 1.0}).run()["rows_computed"] == 5


def test_a_changed_file_makes_its_own_row_again_and_no_other(photographs):
    """By its bytes, whatever its time says; each row names the labels that touched the map."""
    for value, image_id in enumerate("abcde"):
        give(photographs, image_id, value)
    assert stage(FILES).run()["rows_computed"] == 5
    assert [int(row["map"].max()) for row in rows().values()] == [0, 1, 2, 3, 4]
    assert {row["supervision"] for row in rows().values()} == {"masks saliency"}
    os.utime(give(photographs, "c", 2), (0, 0))
    assert stage(FILES).run()["rows_computed"] == 0
    give(photographs, "c", 200)
    metrics = stage(FILES).run()
    assert (metrics["rows_computed"], metrics["rows_copied"]) == (1, 4)
    assert rows()["c"]["map"].tolist() == [[200, 200]] * 2
    assert stage({**FILES, "supervision": ["saliency"]}).run()["rows_computed"] == 5, "the row says what touched it"


def test_a_photograph_without_a_file_is_set_aside_or_has_zeros(photographs):
    """A file that is added, changed or taken away later counts; zeros have seen no label."""
    for image_id in "abde":
        give(photographs, image_id, 9)
    assert stage(FILES).run()["rows_quarantined"] == 1
    assert "there is no map for it" in reasons()["c"]
    zeros = {**FILES, "missing": "zeros"}
    assert stage(zeros).run()["rows_quarantined"] == 0
    assert (rows()["c"]["map"].max(), rows()["c"]["supervision"]) == (0, "")
    give(photographs, "c", 50)
    assert stage(zeros).run()["rows_computed"] == 1
    assert (rows()["c"]["map"].max(), rows()["c"]["supervision"]) == (50, "masks saliency")
    (photographs.root / "data/import/maps/net/c.png").unlink()
    assert stage(zeros).run()["rows_computed"] == 1
    assert rows()["c"]["map"].max() == 0


def test_16_bits_of_grey_are_read_as_8_and_an_id_with_slashes_lies_in_a_folder(photographs):
    """65535 is the highest value; 1 bit is 0 and 255."""
    photographs.max_bad_fraction = 1.0
    for image_id in "abcde":
        rename(photographs, image_id, f"pets/{image_id}")
    give(photographs, "pets/a", 65535, mode="I;16")
    give(photographs, "pets/b", 32768, mode="I;16")
    give(photographs, "pets/c", 1, mode="1")
    stage(FILES).run()
    assert {i: int(row["map"].max()) for i, row in rows().items()} == {"pets/a": 255, "pets/b": 128, "pets/c": 255}


def test_what_leads_out_links_and_what_is_no_grey_image_are_refused(photographs, tmp_path):
    """Each is set aside with its reason, and nothing outside the folder is read."""
    photographs.max_bad_fraction = 1.0
    secret = photographs.root / "data/secret.png"
    Image.new("L", (3, 2), 77).save(secret)
    rename(photographs, "a", "../../../secret")
    rename(photographs, "b", str(secret.with_suffix("")))
    (photographs.root / "data/import/maps/net/c.png").symlink_to(secret)
    give(photographs, "d", (10, 20, 30), mode="RGB")
    (photographs.root / "data/import/maps/net/e.png").write_text("no image")
    stage(FILES).run()
    assert rows() == {}
    said = reasons()
    assert "leads out of data/import/maps" in said["../../../secret"]
    assert "leads out of data/import/maps" in said[str(secret.with_suffix(""))]
    assert "is a link" in said["c"]
    assert "must be a grey image, this one is RGB" in said["d"]
    assert "not an image" in said["e"]


def test_a_folder_that_is_a_link_or_stands_for_a_file_is_refused(photographs):
    """Also where the link stands in the middle of a name."""
    photographs.max_bad_fraction = 1.0
    photographs.save()
    elsewhere = photographs.root / "elsewhere"
    elsewhere.mkdir()
    Image.new("L", (3, 2), 77).save(elsewhere / "a.png")
    (photographs.root / "data/import/maps/linked").symlink_to(elsewhere)
    stage({**FILES, "folder": "linked"}).run()
    assert "data/import/maps/linked: is a link" in reasons()["a"]
    (photographs.root / "data/import/maps/net/a.png").mkdir()
    stage(FILES).run()
    assert "a.png: is not a file" in reasons()["a"]


# --- supervision ------------------------------------------------------------------------------------------------------


def check(**sections):
    """What is asked before anything runs, of the shipped params.yaml with these changes."""
    values = read_yaml(ROOT / "params.yaml")
    overlay(values, sections, [])
    kinds = {name: stage_class(name).section for name in read_wiring(ROOT / "dvc.yaml")}
    check_line(check_sections(values, kinds, "params.yaml"))


def test_an_objective_that_reads_priors_needs_the_stage(tmp_path, monkeypatch):
    """Said before anything runs, with what to type; with a prior without labels it may run."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match=r"eps learns from data/priors, and make_priors\.method is none") as caught:
        check(train_classifier={"objective": "eps"})
    assert "--set make_priors.method=spectral_residual" in caught.value.remedy
    check(train_classifier={"objective": "eps"}, make_priors={"method": "spectral_residual"})
    check()


def test_labels_behind_a_prior_are_refused_unless_they_are_allowed_by_name(tmp_path, monkeypatch):
    """Each kind, and only where the objective learns from the maps."""
    monkeypatch.chdir(tmp_path)
    priors = {"method": FILES}
    with pytest.raises(SupervisionError, match="files: its maps have seen masks, saliency, which is more") as caught:
        check(train_classifier={"objective": "eps"}, make_priors=priors)
    assert "train_classifier.allow_supervision: [masks, saliency]" in caught.value.remedy
    with pytest.raises(SupervisionError, match="have seen masks, which"):
        check(train_classifier={"objective": "eps", "allow_supervision": ["saliency"]}, make_priors=priors)
    check(train_classifier={"objective": "eps", "allow_supervision": ["saliency", "masks"]}, make_priors=priors)
    check(train_classifier={"objective": "tags"}, make_priors=priors)


def test_labels_that_an_objective_needs_are_refused_unless_they_are_allowed_by_name(tmp_path, monkeypatch):
    """An objective that says so, whatever it reads."""
    monkeypatch.chdir(tmp_path)
    from models.objectives.tags import Tags

    monkeypatch.setattr(Tags, "supervision", frozenset({"boxes"}))
    with pytest.raises(SupervisionError, match=r"train_classifier.objective: tags: its sources have seen boxes"):
        check()
    check(train_classifier={"allow_supervision": ["boxes"]})


def test_rows_that_have_seen_more_than_params_say_are_refused_by_the_training(photographs):
    """Maps on the disk may be older than params.yaml: the rows themselves are asked."""
    for image_id in "abcde":
        give(photographs, image_id, 9)
    stage(FILES).run()
    values = read_yaml(ROOT / "params.yaml")["train_classifier"] | {"objective": "eps"}
    refused = TrainClassifier(TrainClassifier.section.model_validate(values))
    with pytest.raises(SupervisionError, match="data/priors: its maps have seen masks, saliency"):
        refused.label_kinds()
    allowed = values | {"allow_supervision": ["masks", "saliency"]}
    learner = TrainClassifier(TrainClassifier.section.model_validate(allowed))
    assert learner.label_kinds() == {"tags", "masks", "saliency"}
    before = learner.training_rows()
    give(photographs, "c", 200)
    stage(FILES).run()
    after = TrainClassifier(TrainClassifier.section.model_validate(allowed)).training_rows()
    assert [i for i in before if before[i] != after[i]] == ["c"]


# --- the line ---------------------------------------------------------------------------------------------------------


def digest(folder, noun="classifier"):
    return read_passport(folder / f"data/{noun}/checkpoint.safetensors").weights_digest


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_line_learns_from_a_prior_and_its_passports_say_from_what(tmp_path):
    """Off: the weights of a line that knows no priors. On: the line runs through; labels behind the maps show to the end."""
    folder = make_workspace(tmp_path / "project", git=True)
    call(folder, "labelfactory", "import", "demo", "--count", "24")
    settings = [f"--set={name}.{key}={value}" for name, keys in SMALL.items() for key, value in keys.items()]
    call(folder, "labelfactory", "profile", "demo", *settings)
    said = call(folder, "dvc", "repro", "train_classifier")
    assert "make_priors: off" in said
    assert list((folder / "data/priors").iterdir()) == []
    tags = digest(folder)
    assert "didn't change" in call(folder, "dvc", "repro", "train_classifier")

    call(folder, "labelfactory", "profile", "--set=make_priors.method=spectral_residual")
    said = call(folder, "dvc", "repro", "train_classifier")
    assert "make_priors: off" not in said
    assert digest(folder) == tags, "an objective that reads no prior learns the same"

    call(
        folder,
        "labelfactory",
        "profile",
        "--set=train_classifier.objective=eps",
        "--set=extract_cams.method=own_maps",
    )
    call(folder, "labelfactory", "run")
    assert digest(folder) != tags
    passport = read_passport(folder / "data/segmenter/checkpoint.safetensors")
    assert passport.supervision == ["tags"]
    head = (folder / "data/classifier/curve.csv").read_text().splitlines()[0]
    assert head == "epoch,loss,learning_rate,tags,saliency"
    report = json.loads((folder / "data/reports/make_priors.json").read_text())
    assert report["rows_computed"] + report["rows_copied"] == 18

    spectral = RowReader(folder / "data/priors")
    for image_id in spectral.states:
        path = folder / f"data/import/maps/{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(spectral[image_id]["map"])).save(path)
    given = '--set=make_priors.method={"name": "files", "supervision": ["boxes"]}'
    call(folder, "labelfactory", "profile", given)
    assert "its maps have seen boxes" in call(folder, "labelfactory", "run", code=2)
    call(folder, "labelfactory", "profile", "--set=train_classifier.allow_supervision=[boxes]")
    call(folder, "labelfactory", "run")
    for noun in ("classifier", "affinity", "segmenter"):
        passport = read_passport(folder / f"data/{noun}/checkpoint.safetensors")
        assert passport.supervision == ["boxes", "tags"], noun
        assert passport.allowed_supervision == ["boxes"], noun
    rows_of_files = RowReader(folder / "data/priors")
    assert set(rows_of_files.values("supervision").values()) == {"boxes"}
    first = next(iter(rows_of_files.states))
    Image.new("L", (9, 7), 3).save(folder / f"data/import/maps/{first}.png")
    call(folder, "dvc", "repro", "make_priors")
    report = json.loads((folder / "data/reports/make_priors.json").read_text())
    assert report["rows_computed"] == 1
