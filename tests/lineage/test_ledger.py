"""The ledger: a chain that shows every change, rows that cost little, and a record that adds nothing twice."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from made_line import MadeLine

from benchmarks.ledger import LIMIT_BYTES, ask, make
from labelfactory.digests import digest_file
from lineage.ledger import SCHEMAS, Ledger, events_table
from lineage.lookup import Lookup
from lineage.record import record
from lineage.verify_ledger import check_chain, check_ledger
from lineage.withdraw import models_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    return MadeLine()


def filled(folder: Path, files: int) -> Ledger:
    """A ledger of some files with one event each."""
    ledger = Ledger(folder)
    with ledger.locked():
        for number in range(files):
            ledger.append("events", events_table([("test", str(number), {"number": number}, NOW)]))
    return ledger


def contents(folder: Path) -> dict[str, str]:
    return {path.name: digest_file(path) for path in folder.glob("0*.parquet")}


def test_each_file_names_the_one_before(tmp_path):
    """Written out by hand: number, previous digest, HEAD."""
    ledger = filled(tmp_path, 3)
    paths = [file.path for file in ledger.files()]
    assert [path.name for path in paths] == [f"0000000{n}-events.parquet" for n in (1, 2, 3)]
    assert [file.previous() for file in ledger.files()] == ["", digest_file(paths[0]), digest_file(paths[1])]
    assert ledger.head() == {"sequence": 3, "digest": digest_file(paths[2])}
    assert [event["detail"]["number"] for event in ledger.events("test")] == [0, 1, 2]
    assert list(check_chain(ledger)) == []


def test_an_empty_table_adds_no_file(tmp_path):
    """Nothing new, nothing written."""
    ledger = filled(tmp_path, 1)
    with ledger.locked():
        assert ledger.append("masks", SCHEMAS["masks"].empty_table()) is None
    assert len(ledger.files()) == 1


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 2), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(which=1, place=0.25, bit=7)  # the name of a column is no UTF-8 any more
def test_every_flipped_bit_is_named(tmp_path_factory, which, place, bit):
    """Whichever bit of whichever file is turned, the check names that file or the one behind it; turned back, nothing."""
    ledger = filled(tmp_path_factory.mktemp("chain"), 3)
    path = ledger.files()[which].path
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    named = {finding.where for finding in check_chain(ledger)}
    assert named & {str(file.path) for file in ledger.files()[which : which + 2]}
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    assert list(check_chain(ledger)) == []


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_file_is_named_and_the_chain_goes_on_behind_it(tmp_path, gone):
    """At the start, in the middle, at the end; a later file does not close the gap."""
    ledger = filled(tmp_path, 3)
    ledger.files()[gone].path.unlink()
    assert any(f"files {gone + 1} to {gone + 1} are missing" in finding.what for finding in check_chain(ledger))
    with ledger.locked():
        ledger.append("events", events_table([("test", "later", {}, NOW)]))
    assert ledger.files()[-1].sequence == 4
    assert any(f"files {gone + 1} to {gone + 1} are missing" in finding.what for finding in check_chain(ledger))


def test_a_rewritten_file_breaks_the_chain(tmp_path):
    """Readable, of the right form, with another content: what a forger would write."""
    ledger, other = filled(tmp_path / "a", 3), filled(tmp_path / "b", 1)
    with other.locked():
        other.append("events", events_table([("test", "1", {"number": 99}, NOW)]))
    shutil.copyfile(other.files()[1].path, ledger.files()[1].path)
    found = list(check_chain(ledger))
    assert [finding.where for finding in found] == [str(ledger.files()[2].path)]
    assert "the chain breaks" in found[0].what


def test_a_writer_killed_before_head_is_forgiven(tmp_path):
    """The file is whole, HEAD is one behind: the next file goes behind it."""
    ledger = filled(tmp_path, 1)
    head = ledger.head_path.read_bytes()
    with ledger.locked():
        ledger.append("events", events_table([("test", "1", {}, NOW)]))
        ledger.head_path.write_bytes(head)
        ledger.append("events", events_table([("test", "2", {}, NOW)]))
    assert [file.sequence for file in ledger.files()] == [1, 2, 3]
    assert list(check_chain(ledger)) == []


def test_the_same_state_adds_nothing(line):
    """One record takes all; a second, a third after touching every file, and one without the list of seen files add none."""
    first = record()
    assert (first.masks, first.models, len(first.executions)) == (4, ["classifier 1", "affinity 1", "segmenter 1"], 11)
    assert first.training_rows == 12
    before = contents(Path("data/ledger"))
    record()
    for path in Path("data").rglob("shard-*.parquet"):
        path.touch()
    record()
    Path("data/ledger/seen.json").unlink()
    again = record()
    assert (again.masks, again.models, again.executions, again.training_rows) == (0, [], [], 0)
    assert contents(Path("data/ledger")) == before


def test_only_what_changed_is_added(line):
    """Other masks and another segmenter; the nets before them stay as they are, and their stages are not executed again."""
    record()
    line.run(refine_crf="changed")
    new = record()
    assert (new.masks, new.models, new.training_rows) == (4, ["segmenter 2"], 4)
    assert new.executions == ["refine_crf", "train_segmenter", "evaluate"]
    lines = Ledger().events("line")
    linked = [e["detail"]["stages"] for e in lines]
    assert linked[0]["train_classifier"] == linked[1]["train_classifier"]
    assert linked[0]["refine_crf"] != linked[1]["refine_crf"]
    masks = Ledger().read("masks").to_pylist()
    assert {row["run"] for row in masks} == {linked[0]["refine_crf"], linked[1]["refine_crf"]}


@pytest.mark.parametrize("between", [True, False], ids=["recorded one by one", "recorded at once"])
def test_a_training_that_ends_with_known_weights_is_a_model_of_its_own(line, between):
    """It learnt from other rows: they are kept, asked for, verified, withdrawn and promoted as those of any other model."""
    record()
    line.ends_alike = True
    line.run(refine_crf="first")
    if between:
        record()
    line.run(refine_crf="second")
    record()
    assert record().models == []
    lookup = Lookup()
    first, second = lookup.model("segmenter@2"), lookup.model("latest")
    assert (second.label, first.weights) == ("segmenter 3", second.weights)
    assert first.digest != second.digest
    rows = [set(lookup.training(m.digest).column("digest").to_pylist()) for m in (first, second)]
    assert [len(r) for r in rows] == [4, 4]
    assert not rows[0] & rows[1]
    assert list(check_ledger(Lookup(fresh=True))) == []
    executions = {e["subject"]: e["detail"] for e in lookup.events if e["event"] == "execution"}
    assert {executions[m.run]["model"] for m in (first, second) if m.run} <= {first.digest, second.digest}
    if between:
        assert executions[second.run]["model"] == second.digest
    learnt = {row["digest"]: row["model"] for row in lookup.users(["image-1"]) if row["source"] == "refine_crf"}
    assert set(learnt.values()) >= {first.digest, second.digest}
    models, _ = models_of(lookup, [row for row in lookup.users(["image-1"]) if row["model"] == second.digest])
    assert models == [second.digest]


def test_what_was_overwritten_before_a_record_is_found_in_the_cache(line):
    """Three runs, one record: masks and models of all three, each model with its rows; the run of the lost ones is unknown."""
    line.run(refine_crf="second")
    line.run(refine_crf="third", seed=3)
    new = record()
    assert new.masks == 12
    assert sorted(new.models) == sorted(
        ["classifier 1", "classifier 2", "affinity 1", "affinity 2"] + [f"segmenter {n}" for n in (1, 2, 3)]
    )
    lookup = Lookup()
    for digest, model in lookup.models.items():
        assert lookup.training(digest).num_rows == model.passport.training_rows == 4
    versions = lookup.masks("image-1")
    assert len(versions) == 3
    assert sum(mask["run"] == "" for mask in versions) == 2
    recipes = [json.loads(mask["recipe"]) for mask in versions]
    assert {r["masks"]["code"] for r in recipes} == {"code", "codesecond", "codethird"}
    assert all(r["walks"] and r["cams"]["classifier"] for r in recipes)
    assert record().masks == 0


def test_a_stage_run_by_hand_is_recorded_once(line):
    """DVC has not committed it; when it does, nothing is added."""
    record()
    line.run(refine_crf="by hand", commit=False)
    assert record().executions == ["refine_crf", "train_segmenter", "evaluate"]
    line.commit()
    assert record().executions == []


def test_a_state_that_comes_back_is_no_new_run(line):
    """`git checkout` and `dvc checkout` bring an old state: known executions, no new row."""
    shutil.copytree("data", "old")
    lock = Path("dvc.lock").read_bytes()
    record()
    line.run(refine_crf="changed")
    record()
    for name in ("masks", "segmenter", "reports", "evaluation"):
        shutil.rmtree(f"data/{name}")
        shutil.copytree(f"old/{name}", f"data/{name}")
    Path("dvc.lock").write_bytes(lock)
    back = record()
    assert (back.masks, back.models, back.executions) == (0, [], [])


def test_look_ups_answer_what_was_put_in(line):
    """An image's masks and models, and a model's rows, against the line's own files."""
    record()
    line.run(refine_crf="changed")
    record()
    lookup = Lookup()
    assert [m["version"] for m in lookup.masks("image-2")] == [1, 2]
    users = [lookup.models[u["model"]].label for u in lookup.users(["image-2"])]
    assert sorted(users) == ["affinity 1", "classifier 1", "segmenter 1", "segmenter 2"]
    summary = lookup.training_summary(lookup.model("segmenter").digest)
    assert [(row["source"], row["rows"]) for row in summary] == [("refine_crf", 4)]
    wanted = [m["mean_confidence"] for i in range(4) for m in lookup.masks(f"image-{i}")[1:]]
    assert summary[0]["mean_confidence"] == pytest.approx(sum(wanted) / 4)
    assert lookup.model("segmenter@1").version == lookup.model("1").version == 1
    assert lookup.model("latest").version == lookup.model("2").version == 2


def test_the_index_follows_the_chain_and_can_be_thrown_away(line):
    """Extended, and made anew, it gives the same answers; there is never more than one."""
    record()
    Lookup().masks("image-0")
    line.run(refine_crf="changed")
    record()
    extended = Lookup()
    answer = extended.masks("image-0"), extended.users(["image-0"])
    found = list(Path("data/ledger").glob("index-*"))
    assert len(found) == 1
    extended.connection.close()
    found[0].unlink()
    anew, fresh = Lookup(), Lookup(fresh=True)
    for lookup in (anew, fresh):
        assert (lookup.masks("image-0"), lookup.users(["image-0"])) == answer


def test_a_row_costs_at_most_200_bytes(tmp_path, capsys):
    """Random digests, as the benchmark makes them; the benchmark's questions have answers."""
    ledger = Ledger(tmp_path / "ledger")
    size = make(ledger, images=7000, models=2)
    assert 100 < size["masks"] <= LIMIT_BYTES
    assert size["training"] <= LIMIT_BYTES
    ask(ledger, 7000, 2)
    assert "14,000 masks, 2 models" in capsys.readouterr().out


def test_digests_are_stored_as_32_bytes():
    """Hex would take twice as much."""
    kinds = {field.name: field.type for field in SCHEMAS["masks"]}
    assert all(kinds[name] == pa.binary(32) for name in ("image", "digest", "key", "walk", "cam"))
