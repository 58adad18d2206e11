"""A network meets a data set with other classes: no stage runs it or starts from it, and nothing is written."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from made_line import ROOT, MadeLine
from voc_folders import two_parts

from flows import label_new_images
from flows.run.checks import check_run
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.errors import DataError
from labelfactory.learning.checkpoints import read_passport
from labelfactory.learning.learnt_classes import refuse_other_classes
from labelfactory.schema import Classes
from labelfactory.settings.params import read_yaml
from labelfactory.settings.wiring import DATA, read_wiring
from labelfactory.stage.calibration import CalibrationStage
from labelfactory.stage.runner import build_stage, read_sections
from lineage.verify import verify

OTHERS = [("dog", "cat"), ("cat",), ("cat", "dog", "fox")]
"""Another order, one less, one more."""
WIRING = read_wiring(ROOT / "dvc.yaml")
READERS = [name for name, stage in WIRING.items() if set(WIRING.networks) & set(stage.inputs)]


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A line in which everything was made, with every optional network switched on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = MadeLine()
    for package in ("labelfactory", "models", "reporting", "stages"):  # the code is in the keys
        Path(package).symlink_to(ROOT / package)
    params = read_yaml(Path("params.yaml"))
    params["train_teacher"]["enabled"] = params["train_upper_bound"]["enabled"] = True
    params["train_segmenter"]["weights"] = "classifier"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    return made


def prepare_with(*names: str) -> None:
    """The data set with other classes; photographs have no tags, which may not be classes any more, and something to learn from."""
    dataset = read_dataset()
    records = tuple(dataclasses.replace(r, tags=(), mask_path=r.path, mask_sha256=r.sha256) for r in dataset.records)
    write_dataset(dataclasses.replace(dataset, classes=Classes(names), records=records))


def import_with(*names: str) -> None:
    """An import with other classes that nothing has prepared."""
    manifest = read_manifest()
    entries = tuple(dataclasses.replace(e, tags=(), mask_path=e.path) for e in manifest.entries)
    write_manifest(dataclasses.replace(manifest, classes=Classes(names), entries=entries))


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in DATA.rglob("*") if path.is_file()}


@pytest.mark.parametrize("now", OTHERS, ids="-".join)
@pytest.mark.parametrize("name", READERS)
def test_no_stage_takes_it(line, name, now):
    """Rows, thresholds, scores, and networks that would start from it or learn from its masks."""
    prepare_with(*now)
    before = contents()
    stage = build_stage(name, read_sections())
    with pytest.raises(
        DataError, match=f"trained for the classes cat, dog; the data set has the classes {', '.join(now)}"
    ) as caught:
        stage.run()
    assert "`labelfactory run`" in caught.value.remedy
    assert contents() == before


def test_thresholds_are_not_chosen_by_it_without_a_store(line, monkeypatch):
    """A key, which names the classifier, is needed for the store alone."""
    monkeypatch.setattr("labelfactory.stage.calibration.is_on", lambda: False)
    prepare_with("dog", "cat")
    stage = build_stage("calibrate_seeds", read_sections())
    assert isinstance(stage, CalibrationStage)
    with pytest.raises(DataError, match="trained for the classes cat, dog"):
        stage.run()


def test_the_code_of_a_stage_is_known_all_the_same(line):
    """`status` asks for it, before a run that trains the networks anew."""
    prepare_with("dog", "cat")
    stages = read_sections()
    for name in READERS:
        assert build_stage(name, stages).code_digest


@pytest.mark.parametrize("now", OTHERS, ids="-".join)
def test_without_retraining_it_is_refused_before_the_data_set_is_replaced(line, now):
    """By the classes of the import, which `prepare` has not seen; those of the present data set still fit."""
    import_with(*now)
    before = contents()
    with pytest.raises(DataError, match="the import has the classes") as caught:
        check_run(retrain=False)
    assert "`labelfactory run`" in caught.value.remedy
    assert contents() == before
    check_run()
    check_run(["prepare"], retrain=False)
    with pytest.raises(DataError, match="the import has the classes"):
        check_run(["extract_cams"], retrain=False)


def test_a_difference_beyond_the_names_that_are_shown_is_named(line):
    """Twenty classes of which two have changed places look alike."""
    names = tuple("abcdefgh")
    with pytest.raises(DataError, match="class 7 is g there, h here"):
        refuse_other_classes(Path("x"), names, (*names[:6], "h", "g"))
    with pytest.raises(DataError, match="class 9 is none there, i here"):
        refuse_other_classes(Path("x"), names, (*names, "i"))


def where(text: str) -> set[str]:
    return {finding.where for finding in verify() if text in finding.what}


def test_verify_names_networks_and_rows_of_other_classes(line):
    """Those that are only older than the data set, and rows that an older version made with networks of other classes."""
    assert verify() == []
    prepare_with("dog", "cat")
    networks = {f"data/{noun}/checkpoint.safetensors" for noun in ("classifier", "affinity", "segmenter")}
    assert (
        where("trained for the classes cat, dog; the data set has the classes dog, cat; `labelfactory run`") == networks
    )
    rows = {"data/cams", "data/affinity_labels", "data/walks", "data/masks"}
    assert where("4 rows are of other classes than the data set's") == rows
    assert where("they are wrong") == set()
    line.names = ("dog", "cat")
    line.rows(
        "extract_cams", {"classifier": read_passport(Path("data/classifier/checkpoint.safetensors")).weights_digest}, ""
    )
    assert where("4 rows are of other classes") == rows - {"data/cams"}
    assert where("4 rows were made with data/classifier, which was trained for the classes cat, dog") == {"data/cams"}


def test_commands_that_train_nothing_say_so_first(line, labelfactory):
    """Two lines and exit 2; no sample is released and nothing is recorded."""
    import_with("dog", "cat")
    before = contents()
    for words in (["run", "--no-retrain"], ["quarantine", "retry", "--stage", "all", "--no-retrain"]):
        problem, remedy = two_parts(labelfactory(*words, code=2))
        assert problem.endswith("trained for the classes cat, dog; the import has the classes dog, cat")
        assert "`labelfactory run`" in remedy
    assert contents() == before


def test_the_flow_of_new_images_asks_for_networks_of_the_same_classes(line, monkeypatch):
    """It never trains; its import may have added a class."""
    monkeypatch.setattr(label_new_images, "check_tree", lambda strict: None)
    monkeypatch.setattr(label_new_images, "import_new", lambda source: import_with("cat", "dog", "fox"))
    monkeypatch.setattr(label_new_images, "heartbeat", nullcontext)
    before = Path("data/dataset/images.parquet").read_bytes()
    state = label_new_images.label_new_images.fn()
    assert state.name == "User error"
    assert "the import has the classes cat, dog, fox" in state.message
    assert Path("data/dataset/images.parquet").read_bytes() == before
