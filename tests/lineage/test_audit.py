"""What an auditor is told: models, masks, differences and their causes."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_line import COLUMNS, MadeLine, recorded_line
from typer.testing import CliRunner

from app.audit import cli, plain
from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.errors import DataError, MissingError
from labelfactory.files import write_json
from labelfactory.rows.header import shard_schema
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.schema import Classes
from lineage.audit import audit_file, audit_model, rows_of_model
from lineage.diff import diff, learner
from lineage.lookup import Lookup
from lineage.mask_audit import audit_mask
from lineage.mask_set import mask_set
from lineage.pixel import _because, audit_pixel
from lineage.record import record
from lineage.scores import IOU, SCORE, scores_of
from lineage.settings_diff import parameters


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded."""
    return recorded_line(tmp_path, monkeypatch)


def again(line: MadeLine, **changes: str) -> Lookup:
    """Run with other inputs, and record."""
    line.run(**changes)
    record()
    return Lookup()


# --- model and mask ---------------------------------------------------------------------------------------------------


def test_a_score_of_fewer_images_than_another_of_the_same_digests_is_not_a_models_score(line):
    """As earlier versions recorded it while true masks were away: the evaluation of all of them counts, before it or after."""
    few = {"miou/val/model": 0.9, "iou/val/model/cat": 0.8, "miou/train/walks_at_best_threshold": 0.9}
    few |= {"images/val/model": 2, "images/train/walks": 2}
    whole = {"miou/val/model": 0.25, "iou/val/model/cat": 0.125, "miou/train/walks_at_best_threshold": 0.5}
    whole |= {"images/val/model": 4, "images/train/walks": 4}
    line.train("segmenter", {}, seed=5)
    for figures in (few, whole, {**few, "miou/val/model": 0.8}, {**whole, "miou/val/model": 0.375}):
        line.evaluate(figures)
        line.report("evaluate", figures=figures)
        line.commit()
        record()
    lookup = Lookup()
    assert [e.figures["miou/val/model"] for e in lookup.evaluations[-4:]] == [0.9, 0.25, 0.8, 0.375]
    assert audit_model(lookup, "latest")["scores"] == {
        "miou/val/model": 0.25,
        "miou/train/walks_at_best_threshold": 0.5,
    }
    assert {key: score.value for key, score in scores_of(lookup, lookup.on_disk(), kind=IOU).items()} == {
        "iou/val/model/cat": 0.125
    }


def test_a_score_of_a_list_that_has_grown_replaces_none(line):
    """A later run scores more photographs, which the model's list did not have: the first score stands, and keeps its list."""
    line.train("segmenter", {}, seed=5)
    few = {"miou/val/model": 0.25, "iou/val/model/cat": 0.5, "miou/train/walks_at_best_threshold": 0.125}
    many = dict.fromkeys(few, 0.75)
    for figures, count in ((few, 4), (many, 6)):
        if count > 4:
            manifest = read_manifest()
            more = tuple(line._photograph(f"image-{k}", k) for k in (4, 5))
            write_manifest(replace(manifest, entries=(*manifest.entries, *more)))
            line.prepare()
        line.evaluate(figures | {"images/val/model": count, "images/train/walks": count})
        line.report("evaluate", figures=figures)
        line.commit()
        record()
    lookup = Lookup()
    first, second = lookup.evaluations[-2:]
    assert first.measured["list val"] != second.measured["list val"]
    for kind in (SCORE, IOU):
        scores = scores_of(lookup, lookup.on_disk(), kind=kind)
        assert {key: score.value for key, score in scores.items()} == {
            k: v for k, v in few.items() if k.startswith(kind)
        }
        assert {score.measured_with[0] for score in scores.values()} <= {
            first.measured[f"list {n}"] for n in ("train", "val")
        }


def test_a_model_names_its_masks_parents_and_supervision(line):
    """By name, number, alias and digest the same model; an unknown one is refused with what is near."""
    lookup = again(line, refine_crf="changed")
    answer = audit_model(lookup, "2")
    assert answer["model"] == "segmenter 2"
    assert answer["aliases"] == ["latest"]
    assert [(t["source"], t["rows"]) for t in answer["training"]] == [("refine_crf", 4)]
    assert {p["model"] for p in answer["parents"]} == {"classifier 1", "affinity 1"}
    assert next(p for p in answer["parents"] if p["name"] == "affinity")["parents"][0]["model"] == "classifier 1"
    assert answer["supervision"] == ["tags"]
    assert answer["problems"] == []
    for name in ("segmenter", "segmenter@2", "latest", answer["weights"][:8]):
        assert audit_model(lookup, name) == answer
    with pytest.raises(MissingError, match="did you mean `segmenter@2`"):
        lookup.model("segmentr@2")
    with pytest.raises(MissingError) as missing:
        lookup.model("3")
    assert "segmenter@2" in missing.value.remedy  # the newest that there is
    shutil.rmtree("data/segmenter")
    with pytest.raises(MissingError, match="data/segmenter holds none that is recorded") as missing:
        lookup.model("segmenter")
    assert "segmenter@2" in missing.value.remedy


def test_a_checkpoint_alone_can_be_audited(line, tmp_path_factory, monkeypatch):
    """With nothing but its own folder; and a list of rows that is not its own is seen."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("checkpoint.safetensors", "training_rows.parquet"):
        shutil.copy(f"data/segmenter/{name}", folder)
    monkeypatch.chdir(folder)
    answer = audit_file(folder)
    assert (answer["training"], answer["problems"]) == ([{"source": "refine_crf", "rows": 4}], [])
    shutil.copy(line.root / "data/affinity/training_rows.parquet", folder)
    assert "not those that the passport names" in audit_file(folder)["problems"][0]


def test_a_section_that_two_stages_read_is_shown_once():
    """With the stage of its name; with the others only where that stage did not run."""
    both = {"train_segmenter": {"epochs": 4}}
    teacher = {"params": both | {"train_teacher": {"enabled": True}}}
    alone = {"train_teacher": {"train_segmenter.epochs": "4", "train_teacher.enabled": "true"}}
    assert parameters({"train_teacher": teacher}) == alone
    assert parameters({"train_teacher": teacher, "train_segmenter": {"params": both}}) == {
        "train_teacher": {"train_teacher.enabled": "true"},
        "train_segmenter": {"train_segmenter.epochs": "4"},
    }


def test_causes_that_overlap_are_said_to(line):
    """Under one cause nothing is added; JSON stays JSON."""
    again(line, refine_crf="changed")
    line.run(refine_crf="again", random_walk="changed")
    told, note = (
        (CliRunner().invoke(cli, ["diff", "2", side]).stdout for side in ("2", "3")),
        "counts under each of them",
    )
    same, both = told
    assert note not in same
    assert note in both
    assert len(json.loads(CliRunner().invoke(cli, ["diff", "2", "3", "--json"]).stdout)["causes"]) > 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456789, "0.1235"),
        (0.5, "0.5"),
        (0.0000771234, "7.712e-05"),
        (65432.1, "65432"),
        (3, "3"),
        ("ab" * 32, "ab" * 6),
        ("ab" * 31 + "zz", "ab" * 31 + "zz"),
    ],
)
def test_figures_and_digests_are_short_for_people(value, text):
    """What is no figure and no digest stays whole."""
    assert plain(value) == text


def test_json_of_a_model_lists_every_row(line):
    """From the ledger and from the checkpoint's folder alike: which image, which mask, whose."""
    lookup = again(line)
    listed = json.loads(CliRunner().invoke(cli, ["model", "segmenter@1", "--json"]).stdout)["rows"]
    assert listed == rows_of_model(lookup, "segmenter@1")
    assert [row["image_id"] for row in listed] == [f"image-{k}" for k in range(4)]
    assert {row["source"] for row in listed} == {"refine_crf"}
    beside = json.loads(CliRunner().invoke(cli, ["model", "data/segmenter", "--json"]).stdout)["rows"]
    assert beside == listed
    states = ShardFolder(Path("data/masks")).states(0)
    assert all(row["digest"] == states[row["image_id"]].digest for row in listed)
    shown = CliRunner().invoke(cli, ["model", "segmenter@1"]).stdout
    assert "labelfactory audit model segmenter@1 --json" in shown
    assert [f"image-{k}" in shown for k in range(4)] == [True, True, True, False], "a few as examples"
    assert shown.index("image-0") < shown.index("params")


def test_the_chain_of_a_mask_cites_the_rows_on_disk(line):
    """Every digest in it is that of the row or the weights that lie there."""
    lookup = again(line, refine_crf="changed")
    answer = audit_mask(lookup, "image-3")
    steps = {step["step"]: step for step in answer["chain"]}
    for noun, step in (("cams", "CAM"), ("walks", "walk"), ("masks", "mask (refine_crf)")):
        assert steps[step]["digest"] == RowReader(Path("data") / noun).states["image-3"].digest
    record_of = next(r for r in line.dataset.records if r.image_id == "image-3")
    assert (steps["photograph"]["digest"], steps["tags"]["tags"]) == (record_of.sha256, list(record_of.tags))
    assert (steps["classifier"]["model"], steps["affinity net"]["model"]) == ("classifier 1", "affinity 1")
    used = {(u["model"], u["this_version"]) for u in answer["models"]}
    assert {("segmenter 1", False), ("segmenter 2", True)} <= used
    assert audit_mask(lookup, "image-3", 1)["version"] == 1
    with pytest.raises(MissingError, match="no version 9"):
        audit_mask(lookup, "image-3", 9)
    with pytest.raises(MissingError, match="did you mean `image-3`"):
        audit_mask(lookup, "imge-3")


def test_an_image_that_never_had_a_mask_is_not_taken_for_a_slip_of_the_pen(line):
    """As one of the validation list."""
    dataset = read_dataset()
    fresh = replace(dataset.records[0], image_id="fresh")
    write_dataset(replace(dataset, records=(*dataset.records, fresh)))
    with pytest.raises(MissingError, match="no image 'fresh', which the data set has: it has had no mask"):
        audit_mask(Lookup(), "fresh")


def test_a_mask_that_came_out_the_same_again_says_so(line):
    """Another parameter, another key, the same bytes: a version of its own that names the first with them."""
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["refine_crf"]["min_confidence"] = 0.25
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    first, second = audit_mask(again(line), "image-1")["versions"]
    assert first["digest"] == second["digest"]
    assert "same_as_version" not in first
    assert second["same_as_version"] == 1


def test_a_mask_is_the_one_in_data_though_a_newer_one_is_recorded(line):
    """Back at earlier settings: the first version, what learnt from it, and which one lies in data/ where another is asked for."""
    again(line, refine_crf="changed")
    answer = audit_mask(again(line), "image-3")
    assert (answer["version"], answer["in_data"]) == (1, 1)
    assert answer["chain"][-1]["digest"] == RowReader(Path("data/masks")).states["image-3"].digest
    assert [version.get("in_data", False) for version in answer["versions"]] == [True, False]
    used = {u["model"]: (u["version"], u["this_version"]) for u in answer["models"] if "segmenter" in u["model"]}
    assert used == {"segmenter 1": (1, True), "segmenter 2": (2, False)}
    assert "note" not in answer
    second = audit_mask(Lookup(), "image-3", 2)
    assert (second["version"], second["in_data"]) == (2, 1)
    assert "in data True" in CliRunner().invoke(cli, ["mask", "image-3"]).stdout
    with pytest.raises(MissingError, match="no version 0"):
        audit_mask(Lookup(), "image-3", 0)


def test_of_masks_with_the_same_bytes_the_one_in_data_has_its_key(line):
    """Another parameter gave the same mask: back at the first one, its chain names the first parameter."""
    settings = yaml.safe_load(Path("params.yaml").read_text())
    before = Path("params.yaml").read_text()
    settings["refine_crf"]["min_confidence"] = 0.25
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    assert audit_mask(again(line), "image-1")["in_data"] == 2
    Path("params.yaml").write_text(before)
    answer = audit_mask(again(line), "image-1")
    assert (answer["version"], answer["in_data"]) == (1, 1)
    assert answer["chain"][-1]["key"] == RowReader(Path("data/masks")).states["image-1"].key
    line.run(seed=7)  # a segmenter that learns from these masks
    record()
    used = {u["model"]: u["this_version"] for u in audit_mask(Lookup(), "image-1")["models"]}
    assert used["segmenter 2"] is True


def test_the_newest_mask_is_answered_with_a_reason_where_data_holds_no_recorded_one(line):
    """None, one that is not recorded, one that cannot be read: the newest recorded version, and why."""
    lookup = again(line, refine_crf="changed")
    line.run(refine_crf="fresh")
    answer = audit_mask(lookup, "image-1")
    assert (answer["version"], answer["in_data"]) == (2, None)
    assert answer["note"] == "the mask in data/masks is not recorded: this is the newest recorded mask"
    assert "note" not in audit_mask(lookup, "image-1", 1)
    path = Path("data/masks/shard-00000.parquet")
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    answer = audit_mask(lookup, "image-1")
    assert (answer["version"], answer["in_data"]) == (2, None)
    assert answer["note"].startswith("which mask data/masks holds is not known (data/masks/shard-00000.parquet")
    path.unlink()
    assert audit_mask(lookup, "image-1")["note"].startswith("data/masks holds no mask of this image: ")


# --- diff -------------------------------------------------------------------------------------------------------------


def test_of_models_with_the_same_masks_a_state_is_that_of_its_own(line):
    """`now` and a commit mean the model that lies or lay beside the masks, not the newest that learnt from them."""
    for words in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *words], check=True, capture_output=True)
    line.train("segmenter", {}, seed=5)
    line.commit()
    record()
    lookup = Lookup()
    assert [learner(lookup, mask_set(lookup, text)).version for text in ("now", "HEAD")] == [2, 1]
    line.run()
    assert [learner(lookup, mask_set(lookup, text)).version for text in ("now", "HEAD")] == [1, 1]
    shutil.rmtree("data/segmenter")
    assert learner(lookup, mask_set(lookup, "now")).version == 2


@pytest.mark.parametrize(
    ("changes", "causes", "changed"),
    [
        ({"refine_crf": "x"}, {"code of masks"}, 4),
        ({"random_walk": "x"}, {"code of walks"}, 3),  # an image without tags has no walk that could change
        ({"extract_cams": "x"}, {"code of cams", "checkpoint: affinity"}, 3),
    ],
)
def test_a_changed_step_is_named_as_the_cause(line, changes, causes, changed):
    """That step alone, and the network that learnt from it: rows that follow changed by consequence."""
    answer = diff(again(line, **changes), "1", "now")
    assert set(answer["causes"]) == causes
    assert all(counts["masks"] == answer["masks"]["changed"] == changed for counts in answer["causes"].values())
    assert {counts["alone"] for counts in answer["causes"].values()} == {changed if len(causes) == 1 else 0}


def test_a_changed_parameter_and_a_new_network_are_causes(line):
    """Parameters of the CRF; a classifier of another seed, and the affinity net that follows it."""
    text = Path("params.yaml").read_text().replace("gt_prob: 0.7", "gt_prob: 0.6")
    Path("params.yaml").write_text(text)
    line.run(refine_crf="y")
    record()
    assert {"parameters of masks", "code of masks"} == set(diff(Lookup(), "1", "2")["causes"])
    line.run(refine_crf="z", seed=5)
    record()
    answer = diff(Lookup(), "2", "3")
    assert {"checkpoint: classifier", "checkpoint: affinity", "code of masks"} == set(answer["causes"])
    assert answer["scores"] == [{"name": "miou/val/model", "first": 0.5, "second": 0.55}]
    assert diff(Lookup(), "2", "now")["scores"] == [], "only models were scored"


def test_pixels_are_counted_by_class_and_the_worst_is_drawn_first(line, tmp_path):
    """Against the masks themselves; an image that joined and one that left are named."""
    old = {i: np.array(row["mask"]) for i, row in masks().items()}
    manifest = read_manifest()
    newcomer = line._photograph("image-9", 9)
    write_manifest(replace(manifest, entries=(*manifest.entries[1:], newcomer)))
    answer = diff(again(line, refine_crf="changed"), "segmenter@1", "segmenter@2", tmp_path / "pictures")
    assert (answer["added"], answer["removed"]) == (["image-9"], ["image-0"])
    new = {i: np.array(row["mask"]) for i, row in masks().items()}
    moved = sum(int((old[i] != new[i]).sum()) for i in ("image-1", "image-2", "image-3"))
    assert sum(c["lost"] for c in answer["classes"].values()) == moved > 0
    cat = sum(int(((old[i] == 1) & (new[i] != 1)).sum()) for i in ("image-1", "image-2", "image-3"))
    assert answer["classes"]["cat"]["lost"] == cat
    shares = [item["share"] for item in answer["worst"]]
    assert shares == sorted(shares, reverse=True)
    assert all(Path(item["picture"]).stat().st_size for item in answer["worst"])
    assert answer["changed_but_no_longer_on_disk"] == 0


def other_classes() -> None:
    """The data set with its classes in another order."""
    write_dataset(replace(read_dataset(), classes=Classes(("dog", "cat"))))


def test_pixels_are_counted_under_the_names_that_they_had(line):
    """Both sets are of before the classes were imported in another order; an export says its own."""
    lookup = again(line, refine_crf="changed")
    Path("export/SegmentationClass").mkdir(parents=True)
    for image_id, row in masks().items():
        Path(f"export/SegmentationClass/{image_id}.png").write_bytes(encode_mask(row["mask"]))
    write_json(Path("export/provenance.json"), {"classes": ["background", "cat", "dog"]})
    before = diff(lookup, "1", "2")["classes"]
    other_classes()
    for second in ("2", "now", "export"):
        assert diff(lookup, "1", second)["classes"] == before


def test_masks_in_another_order_of_classes_are_compared_by_name(line, tmp_path):
    """The line has made the same masks under other numbers: the classes are the cause, and no pixel has changed."""
    lookup, folder, columns = Lookup(), ShardFolder(Path("data/masks")), COLUMNS["refine_crf"]
    other_classes()
    states, inputs = folder.states_and_inputs(0)
    rows = []
    for image_id, row in folder.rows(0, list(states)).items():
        made = json.loads(inputs[image_id]) | {"classes": ["dog", "cat"]}
        mask = np.array([0, 2, 1], np.uint8)[row["mask"]]
        rows.append(finish(image_id, made, {**row, "mask": mask}, columns))
    folder.write(0, rows_table(rows, shard_schema("refine_crf", columns, ("dog", "cat"))))
    answer = diff(lookup, "1", "now", tmp_path / "pictures")
    assert (answer["masks"]["changed"], answer["masks"]["with_other_pixels"], answer["classes"]) == (4, 0, {})
    assert answer["causes"] == {"classes": {"masks": 4, "alone": 4, "pixels": 0}}


def masks() -> dict:
    reader = RowReader(Path("data/masks"))
    return {image_id: reader[image_id] for image_id in reader.states}


def test_a_commit_and_an_export_are_sides_too(line):
    """The masks that a commit's dvc.lock names; PNG masks in a folder; a folder without masks is refused."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    for image_id, row in masks().items():
        Path("export/SegmentationClass").mkdir(parents=True, exist_ok=True)
        Path(f"export/SegmentationClass/{image_id}.png").write_bytes(encode_mask(row["mask"]))
    lookup = again(line, refine_crf="changed")
    by_commit, by_model = diff(lookup, "HEAD", "now"), diff(lookup, "segmenter@1", "now")
    by_export = diff(lookup, "export", "now")
    assert by_commit["classes"] == by_model["classes"] == by_export["classes"]
    assert by_commit["causes"] == by_model["causes"]
    Path("export/provenance.json").write_text(json.dumps({"classes": ["background", "dog", "cat"]}))
    swapped = diff(lookup, "export", "now")["classes"]
    assert swapped != by_export["classes"]
    assert diff(lookup, "export/SegmentationClass", "now")["classes"] == swapped  # of the same provenance
    Path("nothing").mkdir()
    with pytest.raises(MissingError, match="neither shards"):
        diff(lookup, "nothing", "now")
    with pytest.raises(MissingError):
        diff(lookup, "--upload-pack=x", "now")


# --- pixel ------------------------------------------------------------------------------------------------------------


def test_a_pixel_names_each_step_and_refuses_a_place_outside(line):
    """Scores and thresholds of each step; made-up masks are not what the CRF gives, and the answer says so."""
    answer = audit_pixel("image-3", 5, 7)
    names = [step["step"] for step in answer["steps"]]
    assert names == ["CAM", "walk", "CRF"]
    assert (answer["width"], answer["height"]) == (16, 12)
    assert set(answer["steps"][0]["scores"]) == {"cat", "dog"}
    assert answer["class_id"] == int(masks()["image-3"]["mask"][7, 5])
    assert "another mask" in answer["steps"][2]["note"]
    for step in answer["steps"][:2]:
        best = max(step["scores"], key=step["scores"].get)
        assert step["winner"] == (best if step["scores"][best] >= step["background_threshold"] else "background")
    with pytest.raises(DataError, match="lies outside"):
        audit_pixel("image-3", 16, 0)
    with pytest.raises(MissingError, match="did you mean `image-3`"):
        audit_pixel("imge-3", 0, 0)


@pytest.mark.parametrize(
    ("winners", "sentence"),
    [
        ("cat cat cat", "CAM, walk and CRF agree on cat."),
        ("dog cat cat", "The walk changed dog to cat, and the CRF kept it."),
        ("dog dog cat", "CAM and walk said dog; the CRF changed it to cat."),
        ("dog void cat", "The CAM said dog, the walk void, and the CRF decided cat."),
    ],
)
def test_the_sentence_of_a_pixel(winners, sentence):
    """Each way in which three steps agree or not; a person's mask has no steps before it."""
    steps = list(zip(("CAM", "walk", "CRF"), winners.split(), strict=True))
    assert _because(steps, "refine_crf") == sentence
    assert _because(steps, "human") == f"A human decided: {winners.split()[-1]}."
    assert _because([("blur", "cat"), *steps], "refine_crf").endswith(("cat.", "kept it."))
