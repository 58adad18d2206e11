"""A model, a mask or a score belongs to the execution that made it, never to another whose report is still there."""

import json
import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from made_line import MadeLine
from passports import passport

from labelfactory.errors import MissingError
from labelfactory.files import write_json
from labelfactory.settings.params import read_yaml
from labelfactory.settings.wiring import METRICS, REPORTS
from labelfactory.stage.output_state import passport_of
from lineage.compare import compare_states
from lineage.export import openlineage
from lineage.ledger import Ledger, events_table
from lineage.ledger_rows import Labels
from lineage.lookup import Lookup
from lineage.makers import made_model
from lineage.mask_audit import steps
from lineage.record import record
from lineage.scores import IOU, scores_of
from lineage.settings_diff import _remains, executions_behind, settings_between
from lineage.verify_ledger import check_ledger


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A line that was made and recorded once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = MadeLine()
    record()
    return made


def set_parameter(stage: str, name: str, value: object) -> None:
    params = read_yaml(Path("params.yaml"))
    params[stage][name] = value
    Path("params.yaml").write_text(yaml.safe_dump(params))


def train(line: MadeLine, name: str, seed: int) -> None:
    """Train one network again, as `dvc repro` does with its stage alone."""
    parents = {"classifier": (), "affinity": ("classifier",), "segmenter": ("classifier", "affinity")}[name]
    set_parameter(f"train_{name}", "seed", seed)
    line.train(name, {noun: passport_of(noun) for noun in parents}, seed=seed)


def settings(first: str, second: str) -> dict[str, tuple[str, str]]:
    differ = compare_states(Lookup(), first, second)["settings"]
    return {s["what"]: (s["first"], s["second"]) for s in differ}


# --- a stage that was killed before its report ------------------------------------------------------------------------


def test_a_network_without_a_report_has_no_execution_until_its_stage_ends(line):
    """Not the one whose report is still there; then its own, with its own parameters."""
    line.killed = "train_segmenter"
    train(line, "segmenter", seed=7)
    record()
    first, second = Lookup().versions()
    assert (first.run != "", second.run) == (True, "")
    assert settings("1", "2") == {"train_segmenter.seed": ("0", "7")}  # by the passports
    assert executions_behind(Lookup(), second) == {}
    line.killed = ""
    train(line, "segmenter", seed=7)
    record()
    lookup = Lookup()
    second = lookup.model("2")
    assert lookup.executions[second.run]["params"]["train_segmenter"]["seed"] == 7
    assert settings("1", "2") == {"train_segmenter.seed": ("0", "7")}
    assert list(check_ledger(Lookup(fresh=True))) == []


def test_masks_without_a_report_have_no_execution(line):
    """They are recorded, without an execution; masks of a stage that ended have theirs."""
    line.killed = "refine_crf"
    line.rows("refine_crf", {}, "killed")
    assert record().masks == 4
    assert [mask["run"] != "" for mask in Lookup().masks("image-1")] == [True, False]
    line.killed = ""
    line.rows("refine_crf", {}, "ended")
    record()
    lookup = Lookup()
    masks = lookup.masks("image-1")
    assert [mask["run"] != "" for mask in masks] == [True, False, True]
    assert lookup.executions[masks[2]["run"]]["stage"] == "refine_crf"


def test_an_output_that_was_replaced_before_a_record_is_not_that_of_the_last_report(line):
    """The stage ended twice and was killed the third time, all before a record: the report is of the second network."""
    train(line, "segmenter", seed=2)
    line.commit()
    shutil.copytree("data/segmenter", "second")
    line.killed = "train_segmenter"
    train(line, "segmenter", seed=3)
    record()
    lookup = Lookup()
    by_seed = {model.passport.seed: model for model in lookup.versions()}
    assert (by_seed[3].run, lookup.executions[by_seed[2].run]["model"]) == ("", by_seed[2].digest)
    assert lookup.executions[by_seed[2].run]["curve"] == []  # the file on disk is the third one's


def test_scores_without_a_report_have_no_execution(line):
    write_json(METRICS, {"miou/val/model": 0.75, "measured": read_yaml(METRICS)["measured"]})
    (REPORTS / "evaluate.json").unlink()
    record()
    line.evaluate({"miou/val/model": 0.8})
    record()
    runs = [event["detail"]["run"] for event in Ledger().events("evaluation")]
    assert [run != "" for run in runs] == [True, False, True]
    assert Lookup().executions[runs[2]]["stage"] == "evaluate"


@pytest.mark.parametrize("committed", [True, False], ids=["dvc.lock", "times of files"])
def test_a_report_of_an_earlier_version_is_compared_with_its_files(tmp_path, monkeypatch, committed):
    """By dvc.lock, else by time: it names no digests."""
    monkeypatch.chdir(tmp_path)
    line = MadeLine()
    line.older = True
    train(line, "segmenter", seed=1)
    if committed:
        line.commit()
    record()
    assert Lookup().on_disk().run != ""
    line.killed = "train_segmenter"
    train(line, "segmenter", seed=2)
    os.utime("data/segmenter/checkpoint.safetensors", (4e9, 4e9))
    Path("data/ledger/seen.json").unlink()
    shutil.rmtree("data/ledger")
    record()
    lookup = Lookup()
    on_disk = lookup.on_disk()
    assert (on_disk.passport.seed, on_disk.run) == (2, "")


# --- trainings that end in the same weights ---------------------------------------------------------------------------


def test_a_training_with_other_parameters_that_ends_in_the_same_weights_is_a_model_of_its_own(line, labelfactory):
    """`latest` has the parameters of the network that data/ holds, and `compare` says which differ."""
    line.ends_alike = True
    for seed in (1, 2):
        train(line, "segmenter", seed=seed)
        line.commit()
        record()
    lookup = Lookup()
    _, first, second = lookup.versions()
    assert first.weights == second.weights
    assert lookup.model("latest") == second
    assert (second.passport, second.passport.seed) == (passport_of("segmenter"), 2)
    answer = json.loads(labelfactory("audit", "model", "latest", "--json"))
    assert (answer["params"]["seed"], answer["params_digest"]) == (2, passport_of("segmenter").params_digest)
    assert [lookup.executions[m.run]["params"]["train_segmenter"]["seed"] for m in (first, second)] == [1, 2]
    for pair in (("2", "3"), ("2", "now")):
        assert settings(*pair) == {"train_segmenter.seed": ("1", "2")}
    train(line, "segmenter", seed=1)
    line.commit()
    assert record().models == []
    assert Lookup().model("latest") == first
    assert list(check_ledger(Lookup(fresh=True))) == []


def test_a_network_that_was_taken_over_for_other_kinds_of_labels_is_a_model_of_its_own(line):
    """The same weights, of parents that saw others: each model names the parent of its own kinds."""
    line.supervision = ("boxes", "tags")
    for noun in ("classifier", "segmenter"):
        train(line, noun, seed=0)
    line.commit()
    assert record().models == ["classifier 2", "segmenter 2"]
    lookup = Lookup()
    one, two = lookup.versions()
    assert one.weights == two.weights
    assert (lookup.model("latest"), two.passport.supervision) == (two, ["boxes", "tags"])
    parents = [lookup.parents(model)["classifier"] for model in (one, two)]
    assert [(p.label, p.passport.supervision) for p in parents if p] == [
        ("classifier 1", ["tags"]),
        ("classifier 2", ["boxes", "tags"]),
    ]
    assert one.run != two.run != ""


# --- ledgers of earlier versions --------------------------------------------------------------------------------------


def test_a_wrong_execution_in_a_ledger_of_an_earlier_version_is_not_believed(line):
    """`audit` and `compare` say that it is not known, `verify` names the model."""
    line.killed = "train_segmenter"
    train(line, "segmenter", seed=7)
    record()
    one, two = Lookup().versions()
    forged = {**next(e["detail"] for e in Ledger().events("model") if e["subject"] == two.digest), "run": one.run}
    with Ledger().locked():
        Ledger().append("events", events_table([("model", two.digest, forged, two.time)]))
    lookup = Lookup(fresh=True)
    assert lookup.model("2").run == ""
    assert executions_behind(lookup, lookup.model("2")) == {}
    (finding,) = check_ledger(lookup)
    assert "which did not make it; which one did is not known" in finding.what


def as_earlier_version(lookup: Lookup) -> None:
    """Write the ledger again as a version did that told models apart by weights, rows and classes alone."""
    named: dict[tuple[str, str], str] = {}
    events = []
    for event in Ledger().events("model", "execution", "line", "evaluation"):
        detail = dict(event["detail"])
        if event["event"] == "model":
            passport = detail["passport"]
            if (
                named.setdefault((passport["weights_digest"], passport["training_rows_digest"]), event["subject"])
                != (event["subject"])
            ):
                continue
        if event["event"] == "execution":
            detail.pop("training", None)
            if detail["model"]:
                detail["model"] = lookup.models[detail["model"]].weights
        events.append((event["event"], event["subject"], detail, event["time"]))
    known = {bytes.fromhex(name) for name in named.values()}
    files = [(file.kind, pq.read_table(file.path)) for file in Ledger().files() if file.kind != "events"]
    shutil.rmtree("data/ledger")
    with Ledger().locked():
        for kind, table in files:
            if kind in ("masks", "images") or table.column("model")[0].as_py() in known:
                Ledger().append(kind, table)
        Ledger().append("events", events_table(events))


def test_a_ledger_that_took_two_trainings_for_one_model_goes_on(line):
    """Nothing of it is changed. The training that it does not tell of is recorded now, and its execution is not known."""
    line.ends_alike = True
    for seed in (1, 2):
        train(line, "segmenter", seed=seed)
        record()
    as_earlier_version(Lookup())
    before = {path: path.read_bytes() for path in Path("data/ledger").glob("0*.parquet")}
    lookup = Lookup(fresh=True)
    assert [model.label for model in lookup.versions()] == ["segmenter 1", "segmenter 2"]
    assert lookup.on_disk() is None  # what it knows of these weights is another training
    with pytest.raises(MissingError, match="holds none that is recorded"):
        lookup.model("latest")
    assert record().models == ["segmenter 3"]
    assert before.items() <= {path: path.read_bytes() for path in Path("data/ledger").glob("0*.parquet")}.items()
    lookup = Lookup(fresh=True)
    _, first, second = lookup.versions()
    assert (lookup.on_disk(), second.passport.seed, second.run) == (second, 2, "")
    assert settings("2", "now") == {"train_segmenter.seed": ("1", "2")}
    assert first.run != ""
    assert lookup.executions[first.run]["params"]["train_segmenter"]["seed"] == 1
    assert (record().models, list(check_ledger(Lookup(fresh=True)))) == ([], [])
    line.report("train_segmenter", trained=False, training_rows=4, loss=0.25)  # the next run keeps the network
    record()
    run = Lookup().model("latest").run
    assert Lookup().executions[run]["params"]["train_segmenter"]["seed"] == 2


@pytest.mark.parametrize(
    ("own", "made"), [({"epochs": 2}, True), ({"enabled": True}, False), ({"epochs": 2, "seed": 3}, False)]
)
def test_a_section_that_another_one_completes_has_the_parameters_of_a_passport(own, made):
    """As that of the teacher: what it does not name is the segmenter's."""
    known = passport(stage="train_teacher", params={"epochs": 2, "seed": 2})
    sections = {"train_teacher": own, "train_segmenter": {"epochs": 9, "seed": 2}}
    detail = {"stage": "train_teacher", "model": "m", "line": "l", "with_defaults": True, "params": sections}
    told = {"training_rows": known.training_rows_digest, "classes": known.classes}
    assert made_model({**detail, **told}, "m", known) is made
    assert made_model({**detail, "classes": None}, "m", known) is made
    assert not made_model({**detail, **told}, "another", known)


# --- what was made anew by then ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("older", [False, True])
def test_parameters_of_a_network_that_was_trained_later_are_not_behind_a_model(line, older):
    """Two stages by themselves, one record: segmenter 2 has classifier 1 behind it, not the one that is there by then."""
    line.older = older
    train(line, "segmenter", seed=9)
    train(line, "classifier", seed=4)
    line.commit()
    record()
    assert settings("1", "2") == {"train_segmenter.seed": ("0", "9")}
    lookup = Lookup()
    first = lookup.model("classifier@1")
    assert executions_behind(lookup, lookup.model("2"))["train_classifier"]["model"] == first.digest
    execution = next(e for e in openlineage(lookup) if e["run"]["runId"] and e["job"]["name"] == "train_segmenter")
    assert first.weights in str(execution["inputs"])


@pytest.mark.parametrize("older", [False, True])
def test_parameters_of_rows_that_were_made_later_are_not_behind_a_model(line, older):
    """The same of the labels that affinity 2 did not learn from."""
    line.older = older
    train(line, "affinity", seed=9)
    set_parameter("label_affinity", "scale", 0.25)
    line.rows("label_affinity", {}, "later")
    line.commit()
    record()
    lookup = Lookup()
    one, two = lookup.versions("affinity")
    assert {s["what"] for s in settings_between(lookup, one, two)} == {"train_affinity.seed"}
    assert "label_affinity" not in executions_behind(lookup, two)


# --- classes ----------------------------------------------------------------------------------------------------------


NAMES = ("dog", "cat")


def score(line: MadeLine, cat: float, dog: float) -> None:
    line.evaluate({"miou/val/model": 0.5, "iou/val/model/cat": cat, "iou/val/model/dog": dog})
    line.commit()
    record()


@pytest.fixture
def renamed(line) -> MadeLine:
    """The same weights and masks, in which the two classes have each other's name since."""
    score(line, cat=0.2, dog=0.8)
    line.names = NAMES
    line.prepare()
    train(line, "classifier", seed=0)
    train(line, "segmenter", seed=0)
    score(line, cat=0.8, dog=0.2)
    return line


def test_a_network_of_other_classes_is_a_model_of_its_own(renamed, labelfactory):
    """Of the same weights and rows: with its own scores by class, its own parent, and the name `latest`."""
    lookup = Lookup()
    first, second = lookup.versions()
    assert (first.weights, first.passport.training_rows_digest) == (
        second.weights,
        second.passport.training_rows_digest,
    )
    assert [m.passport.classes for m in (first, second)] == [list(reversed(NAMES)), list(NAMES)]
    assert lookup.model("latest") == second
    assert first.run != second.run
    assert lookup.training(second.digest).num_rows == 4
    assert record().models == []
    by_class = {s["name"]: (s["first"], s["second"]) for s in compare_states(lookup, "1", "latest")["classes"]}
    assert by_class == {"iou/val/model/cat": (0.2, 0.8), "iou/val/model/dog": (0.8, 0.2)}
    answer = json.loads(labelfactory("audit", "model", "latest", "--json"))
    assert (answer["model"], answer["classes"]) == ("segmenter 2", list(NAMES))
    assert [p["model"] for p in answer["parents"] if p["name"] == "classifier"] == ["classifier 2"]
    assert [p.label for n, p in lookup.parents(first).items() if n == "classifier"] == ["classifier 1"]
    assert list(check_ledger(Lookup(fresh=True))) == []


def test_a_network_behind_a_model_or_a_mask_is_that_of_its_classes(renamed):
    """Of two with the same weights: not the first that had them, and not the newest."""
    lookup = Lookup()
    one, two = lookup.versions("classifier")
    assert one.weights == two.weights
    lookup.models[two.digest] = replace(two, passport=two.passport.model_copy(update={"params": {"seed": 9}}))
    first, second = lookup.versions()
    seeds = [_remains(lookup, model)["train_classifier"]["train_classifier.seed"] for model in (first, second)]
    assert seeds == ["0", "9"]
    mask = lookup.masks("image-1")[0]
    for time in (mask["time"], mask["time"] + timedelta(days=1)):
        assert {s["model"] for s in steps(lookup, {**mask, "time": time}) if "model" in s} == {
            "classifier 1",
            "affinity 1",
        }


def test_a_report_that_does_not_tell_the_classes_of_a_network_is_recorded(line):
    """The model has this execution by the digest of its weights."""
    train(line, "segmenter", seed=7)
    report = Path("data/reports/train_segmenter.json")
    said = json.loads(report.read_text())
    for state in said["made"]:
        del state["classes"], state["training_rows"]
    write_json(report, said)
    assert record().models == ["segmenter 2"]
    second = Lookup().versions()[1]
    assert Lookup().executions[second.run]["model"] == second.digest


def test_data_tells_of_the_rows_of_its_own_model_alone():
    """Of masks with the same bytes a model that is recorded late has those of the ledger, where there are any."""
    labels = Labels([], pa.table({n: [] for n in ("image_id", "digest", "image", "tags", "key")}))
    there, before, name = (b"i", "cat", b"new"), (b"i", "cat", b"old"), ("image-1", b"digest")
    labels.on_disk, labels.recorded = {name: there, ("image-2", b""): there}, {name: before}
    assert labels.known(*name, live=True) == there
    assert labels.known(*name, live=False) == before
    assert labels.known("image-2", b"", live=False) == there
    assert labels.known("image-3", b"", live=True) == (None, "", None)


def test_scores_of_a_ledger_that_does_not_say_their_classes(line):
    """They belong to the first model of these weights, unless they name classes that it does not have."""
    line.older = True
    score(line, cat=0.2, dog=0.8)
    line.evaluate({"miou/train/model": 0.7, "iou/train/model/vixen": 0.3})
    record()
    line.names = NAMES
    line.prepare()
    train(line, "segmenter", seed=0)
    record()
    first, second = Lookup().versions()
    assert {n: s.value for n, s in scores_of(Lookup(), first, kind=IOU).items()} == {
        "iou/val/model/cat": 0.2,
        "iou/val/model/dog": 0.8,
    }
    assert scores_of(Lookup(), second, kind=IOU) == {}
