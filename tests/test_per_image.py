"""The shard engine: what is computed, what is copied, what survives a kill, and how damage is found."""

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Workspace
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from strategies import json_values

from labelfactory import per_image, shard_plan
from labelfactory.columns import ArrayColumn, MaskColumn, NumberColumn
from labelfactory.dataset import ImageRecord
from labelfactory.errors import DataError, MissingError
from labelfactory.params import Section
from labelfactory.per_image import PerImageStage, Tally, update_shards
from labelfactory.pool import process_pool
from labelfactory.shard_header import shard_schema
from labelfactory.shard_plan import KeyMaker, plan_shards
from labelfactory.shards import FinishedRow, Row, Sample, ShardFolder, finish, row_key, rows_table
from labelfactory.thresholds import Threshold, read_thresholds, write_thresholds
from models.refinement.dense_crf import CrfConfig
from stages.refine_crf import RefineCrf, RefineCrfConfig

WALK_COLUMNS = {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}


class Inner(Section):
    power: int = 1


class BrightnessConfig(Section):
    speed_only = frozenset({"batch"})

    factor: int = 1
    inner: Inner = Inner()
    batch: int = 1


class Brightness(PerImageStage[BrightnessConfig]):
    """A stage whose science is trivial. It notes what it was asked to do, and fails where it is told to."""

    writes = "brightness"
    columns = {"level": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8"), "mean": NumberColumn()}
    uses_gpu = False
    processed: ClassVar[list[str]] = []
    failing: ClassVar[dict[str, BaseException]] = {}
    weights: ClassVar[str] = "w1"
    name: ClassVar[str] = "brightness"

    @classmethod
    def stage_name(cls) -> str:
        return cls.name

    def fixed(self) -> dict[str, str]:
        return {"net": self.weights}

    def group(self, record: object) -> str:
        return "all"

    @property
    def batch_size(self) -> int:
        return self.cfg.batch

    def process_batch(self, samples: Sequence[Sample]) -> list[Row]:
        for sample in samples:
            if sample.record.image_id in self.failing:
                raise self.failing[sample.record.image_id]
        return [self.process(sample) for sample in samples]

    def process(self, sample: Sample) -> Row:
        self.processed.append(sample.record.image_id)
        level = sample.photograph().mean(axis=2) * self.cfg.factor / 4096**self.cfg.inner.power
        ids = self.dataset.classes.ids(sample.record.tags)
        return {"level": level.astype(np.float16), "class_ids": ids, "mean": level.mean()}


class Outline(PerImageStage[Section]):
    """A stage after it: dark or bright, so that a slightly other level often gives the same mask."""

    reads = ("dataset", "brightness")
    reads_rows = ("brightness",)
    writes = "outline"
    columns = {"mask": MaskColumn()}
    uses_gpu = False
    processed: ClassVar[list[str]] = []
    failing: ClassVar[dict[str, BaseException]] = {}

    @classmethod
    def stage_name(cls) -> str:
        return "outline"

    def process(self, sample: Sample) -> Row:
        if sample.record.image_id in self.failing:
            raise self.failing[sample.record.image_id]
        self.processed.append(sample.record.image_id)
        return {"mask": (sample["level"] > 0.03).astype(np.uint8)}


@pytest.fixture
def project(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace.wire("brightness", "outline", "brightness2")
    for kind in (Brightness, Outline):
        monkeypatch.setattr(kind, "processed", [])
        monkeypatch.setattr(kind, "failing", {})
    return workspace


def update(kind: type[PerImageStage] = Brightness, cfg: Section | None = None) -> tuple[list[str], Tally]:
    """Run the engine as a new process would; say which images it processed."""
    kind.processed.clear()
    stage = kind(cfg or kind.section())
    stage.output.mkdir(parents=True, exist_ok=True)
    tally = update_shards(stage)
    return sorted(kind.processed), tally


def keys(cfg: Section | None = None, kind: type[PerImageStage] = Brightness) -> dict[str, str]:
    plans = plan_shards(kind(cfg or kind.section()))
    return {image_id: row_key(inputs) for plan in plans for image_id, inputs in plan.inputs.items()}


def files(noun: str = "brightness") -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(Path("data", noun).iterdir())}


def stamps(noun: str = "brightness") -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in Path("data", noun).iterdir()}


def states(noun: str = "brightness") -> dict[str, str]:
    return {s.image_id: s.reason or s.status for s in ShardFolder(Path("data", noun)).all_states()}


def test_a_plan_of_some_shards_opens_no_other(project):
    """One worker of many plans its own shard, at the cost of one shard."""
    update()
    whole = list(plan_shards(Brightness(Brightness.section())))
    damaged = Path("data/brightness/shard-00000.parquet")
    damaged.write_bytes(b"not to be read")
    others = {plan.shard for plan in whole} - {0}
    assert others
    assert list(plan_shards(Brightness(Brightness.section()), only=others)) == [
        plan for plan in whole if plan.shard != 0
    ]


# --- what is in a key


def change_code(project: Workspace) -> None:
    (project.root / "code" / "science.py").write_text("answer = 43\n")


def change_classes(project: Workspace) -> None:
    project.classes = ("ape", "cat", "dog")
    project.save()


SEEN = {
    "the stage's name": lambda p: setattr(Brightness, "name", "brightness2"),
    "the format": lambda p: setattr(shard_plan, "ROW_FORMAT", 99),
    "a byte of the code": change_code,
    "a new code file": lambda p: (p.root / "code" / "more.py").write_text(""),
    "the network's digest": lambda p: setattr(Brightness, "weights", "w2"),
    "the photograph": lambda p: [p.repaint(r.image_id, seed=999) for r in p.records],
    "the tags": lambda p: [p.change(r.image_id, tags=(*r.tags, "ape")) for r in p.records],
    "the classes": change_classes,
}


@pytest.mark.parametrize("what", list(SEEN))
def test_a_key_changes_with(project, monkeypatch, what):
    """Each thing that a row depends on is in its key."""
    for owner, name in ((Brightness, "name"), (shard_plan, "ROW_FORMAT"), (Brightness, "weights")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    before = keys()
    SEEN[what](project)
    after = keys()
    assert before.keys() == after.keys() == set("abcde")
    assert not set(before.values()) & set(after.values())


@pytest.mark.parametrize("cfg", [BrightnessConfig(factor=2), BrightnessConfig(inner=Inner(power=2))])
def test_a_key_changes_with_a_parameter(project, cfg):
    """Also with one inside a mapping."""
    assert not set(keys().values()) & set(keys(cfg).values())


def move_photographs(project: Workspace) -> None:
    (project.root / "photographs").rename(project.root / "elsewhere")
    for record in project.records:
        project.change(record.image_id, path=record.path.replace("photographs", "elsewhere"))


def touch_everything(project: Workspace) -> None:
    for path in project.root.rglob("*.*"):
        os.utime(path, (1, 1))


UNSEEN = {
    "the photograph's path": move_photographs,
    "the time of files": touch_everything,
    "the lists": lambda p: [p.change(r.image_id, lists=("train", "train_aug")) for r in p.records],
    "the true mask": lambda p: [p.change(r.image_id, mask_path="m.png", mask_sha256="1" * 64) for r in p.records],
    "a note beside the code": lambda p: (p.root / "code" / "notes.txt").write_text("x"),
    "the order in dvc.yaml": lambda p: p.wire("outline", "brightness"),
}


@pytest.mark.parametrize("what", list(UNSEEN))
def test_a_key_does_not_change_with(project, what):
    """Content decides, not where or when, nor what the stage must not see."""
    before = keys()
    UNSEEN[what](project)
    assert keys() == before


def test_a_key_does_not_change_with_what_changes_only_the_speed(project):
    """speed_only fields are in no key."""
    assert keys(BrightnessConfig(batch=4)) == keys()


def test_one_images_key_is_its_own(project):
    """Another photograph or tag of one image changes no other key."""
    before = keys()
    project.repaint("b", seed=5)
    project.change("d", tags=("cat",))
    assert {i for i, key in keys().items() if key != before[i]} == {"b", "d"}


def test_a_key_follows_the_upstream_digest(project):
    """Other bytes upstream, another key; the upstream key alone does nothing."""
    update()
    before = keys(kind=Outline)
    update(cfg=BrightnessConfig(factor=2))
    assert not set(before.values()) & set(keys(kind=Outline).values())


# --- computed, copied, untouched


def test_all_rows_at_first_and_none_the_second_time(project):
    """The second run opens no file for writing."""
    assert update() == (list("abcde"), Tally(5, 0, 0, 3, 0))
    before, content = stamps(), files()
    assert update() == ([], Tally(0, 5, 0, 0, 0))
    assert (stamps(), files()) == (before, content)


def test_rows_hold_what_the_stage_made(project):
    """Values come back by image, in the data set's order."""
    update()
    stage = Brightness(BrightnessConfig())
    row = ShardFolder(Path("data/brightness")).rows(1, ["c"])["c"]
    expected = stage.process(Sample(stage.dataset.records[2], {}))
    assert np.array_equal(row["level"], expected["level"])
    assert row["class_ids"].tolist() == [1, 2]
    assert list(states()) == list("abcde")


def test_one_changed_photograph_is_one_row(project):
    """Its neighbour is copied, the other shards are not touched."""
    update()
    before, content = stamps(), files()
    old = pq.read_table("data/brightness/shard-00001.parquet").to_pylist()
    project.repaint("c", seed=77)
    assert update() == (["c"], Tally(1, 4, 0, 1, 0))
    assert {n for n in content if files()[n] != content[n]} == {"shard-00001.parquet"}
    assert {n for n, stamp in stamps().items() if stamp != before[n]} == {"shard-00001.parquet"}
    new = pq.read_table("data/brightness/shard-00001.parquet").to_pylist()
    assert new[1] == old[1]
    assert new[0]["digest"] != old[0]["digest"]


def test_new_photographs_are_the_only_ones_computed(project):
    """They fill the last shard, then new ones; full shards are not touched."""
    update()
    before = stamps()
    old = pq.read_table("data/brightness/shard-00002.parquet").to_pylist()
    for image_id in "fgh":
        project.add(image_id)
    assert update() == (list("fgh"), Tally(3, 5, 0, 2, 0))
    assert {n for n, stamp in stamps().items() if stamp == before.get(n)} == {
        "shard-00000.parquet",
        "shard-00001.parquet",
    }
    assert pq.read_table("data/brightness/shard-00002.parquet").to_pylist()[:1] == old


def test_rows_that_were_added_later_give_the_same_bytes(project):
    """A line that grew ends where one that saw all at once does."""
    for image_id in "be":
        project.change(image_id, split="rest")
    update()
    for image_id in "be":
        project.change(image_id, split="train")
    assert update()[0] == ["b", "e"]
    grown = files()
    shutil.rmtree("data/brightness")
    update()
    assert files() == grown


def test_a_removed_photograph_takes_its_row_with_it(project):
    """Nothing is computed; the gap stays; a shard without images goes."""
    update()
    before = stamps()
    project.remove("a")
    project.remove("e")
    assert update() == ([], Tally(0, 3, 0, 1, 1))
    assert list(states()) == ["b", "c", "d"]
    assert sorted(files()) == ["shard-00000.parquet", "shard-00001.parquet"]
    assert stamps()["shard-00001.parquet"] == before["shard-00001.parquet"]


def test_the_wave_stops_at_a_row_of_the_same_bytes(project):
    """Code that changes no level recomputes the first stage and leaves the second alone."""
    (project.root / "dvc.yaml").write_text(
        "stages:\n  brightness: {cmd: x, deps: [code]}\n  outline: {cmd: x, deps: [data/brightness]}\n"
    )
    update()
    update(Outline)
    before = stamps("outline")
    change_code(project)
    assert update()[0] == list("abcde")
    assert update(Outline) == ([], Tally(0, 5, 0, 0, 0))
    assert stamps("outline") == before


def test_only_what_hangs_on_a_changed_row_is_computed(project):
    """One photograph changed: one row in each stage."""
    update()
    update(Outline)
    project.repaint("d", seed=3)
    assert update()[0] == ["d"]
    assert update(Outline)[0] == ["d"]


def test_a_missing_upstream_row_says_what_to_type(project):
    """The stage before has not seen the new image."""
    update()
    project.add("f")
    with pytest.raises(MissingError, match="no row for the image f") as caught:
        update(Outline)
    assert "dvc repro" in caught.value.remedy


def test_shards_are_plain_parquet(project):
    """pyarrow alone reads them: a mask is a PNG in the struct of Hugging Face's images."""
    update()
    update(Outline)
    table = pq.read_table("data/outline/shard-00000.parquet")
    assert table.column_names == ["image_id", "key", "digest", "status", "reason", "inputs", "mask"]
    assert table.column("mask")[0].as_py()["bytes"].startswith(b"\x89PNG")
    stored = pq.read_table("data/brightness/shard-00000.parquet").column("level")[0].as_py()
    level = np.frombuffer(stored["data"], "<f2").reshape(stored["shape"])
    assert level.shape == (5, 6)


# --- kills


@pytest.mark.parametrize("batch", [1, 2])
def test_a_kill_costs_the_shard_in_hand(project, batch):
    """The next run computes only the rest, and the bytes are those of a run that nobody killed."""
    cfg = BrightnessConfig(batch=batch)
    update(cfg=cfg)
    whole = files()
    shutil.rmtree("data/brightness")
    Brightness.failing["d"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        update(cfg=cfg)
    assert list(files()) == ["shard-00000.parquet"]
    Path("data/brightness/.shard-00001.parquet.4711.tmp").write_bytes(b"half a shard")
    Brightness.failing.clear()
    assert update(cfg=cfg) == (list("cde"), Tally(3, 2, 0, 2, 0))
    assert files() == whole


def test_a_kill_while_writing_leaves_the_old_shard(project, monkeypatch):
    """Up to the rename the old file stands, and nothing else is left behind."""
    update()
    before = files()
    project.repaint("a", seed=8)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            update()
    assert files() == before
    assert update()[0] == ["a"]


# --- bad images


def test_a_bad_image_is_quarantined_and_the_others_go_on(project):
    """Its row says why; it holds no payload."""
    Brightness.failing["b"] = ValueError("no light\nat all")
    assert update() == (list("acde"), Tally(4, 0, 1, 3, 0))
    assert states()["b"] == "ValueError: no light at all"
    stored = pq.read_table("data/brightness/shard-00000.parquet").to_pylist()[1]
    assert (stored["status"], stored["digest"], stored["level"]) == ("quarantined", "", None)


def test_a_bad_image_takes_no_other_of_its_batch_with_it(project):
    """The others of the batch are computed, and to the same digests as alone."""
    update()
    alone = {s.image_id: s.digest for s in ShardFolder(Path("data/brightness")).all_states()}
    shutil.rmtree("data/brightness")
    Brightness.failing["c"] = RuntimeError("bad")
    computed, tally = update(cfg=BrightnessConfig(batch=2))
    assert (computed, tally.rows_quarantined) == (list("abde"), 1)
    kept = {s.image_id: s.digest for s in ShardFolder(Path("data/brightness")).all_states() if s.status == "ok"}
    assert kept == {i: alone[i] for i in "abde"}


def test_a_photograph_that_changed_on_disk_is_quarantined(project):
    """The digest of the import guards every stage."""
    Path("photographs/e.png").write_bytes(b"other bytes")
    update()
    assert "changed since it was imported" in states()["e"]


def test_a_row_of_the_wrong_columns_is_quarantined(project, monkeypatch):
    """A stage that forgets a column is said, not written."""
    monkeypatch.setattr(Outline, "process", lambda self, sample: {"msak": 1})
    project.max_bad_fraction = 1.0
    project.save()
    update()
    update(Outline)
    assert "KeyError" in states("outline")["a"]


def test_quarantined_rows_are_tried_again(project):
    """The rest is copied."""
    Brightness.failing["b"] = ValueError("once")
    update()
    Brightness.failing.clear()
    assert update() == (["b"], Tally(1, 4, 0, 1, 0))
    assert set(states().values()) == {"ok"}


def test_too_many_bad_images_stop_the_run_and_all_are_named(project):
    """Over the limit: an error that lists them; what was finished is kept."""
    project.max_bad_fraction = 0.2
    project.save()
    Brightness.failing.update(a=ValueError("dark"), c=ValueError("darker"))
    with pytest.raises(DataError, match="2 of 5 images") as caught:
        update()
    assert "a: ValueError: dark" in caught.value.problem
    assert "c: ValueError: darker" in caught.value.problem
    assert "max_bad_fraction" in caught.value.remedy
    Brightness.failing.clear()
    assert update()[0] == ["a", "c", "e"]


def test_every_bad_image_is_named(project):
    """Thirty bad ones give thirty lines."""
    project.max_bad_fraction = 0.0
    for record in list(project.records):
        project.remove(record.image_id)
    for k in range(30):
        project.add(f"x{k}", position=2 * k)
        project.change(f"x{k}", shard=0)
        Brightness.failing[f"x{k}"] = ValueError("bad")
    with pytest.raises(DataError, match="30 of 30") as caught:
        update()
    assert caught.value.problem.count("ValueError: bad") == 30


def test_the_limit_itself_is_allowed(project):
    """One of five at 0.2 goes on."""
    project.max_bad_fraction = 0.2
    project.save()
    Brightness.failing["a"] = ValueError("dark")
    assert update()[1].rows_quarantined == 1


def test_what_is_quarantined_above_is_quarantined_below(project):
    """Counted once, named with its cause, not processed; within the limit it stops nobody."""
    project.max_bad_fraction = 0.2
    project.save()
    Brightness.failing["b"] = ValueError("dark")
    update()
    assert update(Outline) == (list("acde"), Tally(4, 0, 1, 3, 0))
    assert states("outline")["b"] == "brightness: ValueError: dark"
    before = stamps("outline")
    assert update(Outline) == ([], Tally(0, 4, 1, 0, 0))
    assert stamps("outline") == before
    Brightness.failing.clear()
    update()
    assert update(Outline)[0] == ["b"]


# --- damage


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_truncated_shard_of_our_own_is_made_again(project, cut, capsys):
    """Only this shard, to the same bytes, and it is said."""
    update()
    whole = files()
    path = Path("data/brightness/shard-00000.parquet")
    path.write_bytes(whole[path.name][:cut])
    assert update() == (["a", "b"], Tally(2, 3, 0, 1, 0))
    assert files() == whole
    assert "made again" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_truncated_shard_from_above_is_an_error_with_a_remedy(project, cut):
    """It names the file and what to type; never a crash, never silence."""
    update()
    path = Path("data/brightness/shard-00000.parquet")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"shard-00000.parquet: damaged") as caught:
        update(Outline)
    assert str(path) in caught.value.remedy


DAMAGE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def with_a_flipped_bit(whole: bytes, place: float, bit: int) -> bytes:
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= 1 << bit
    return bytes(damaged)


PLACES = st.floats(0, 1, exclude_max=True)


@DAMAGE
@given(place=PLACES, bit=st.integers(0, 7))
@example(place=0.412109375, bit=0)  # the name of a field inside a column: data became eata
def test_any_flipped_bit_of_our_own_shard_is_mended_or_harmless(project, place, bit):
    """After the next run every value is what it was, wherever the bit stood."""
    path = Path("data/brightness/shard-00000.parquet")
    if not path.exists():
        update()
        shutil.copy(path, "whole.parquet")
    whole = Path("whole.parquet").read_bytes()
    path.write_bytes(with_a_flipped_bit(whole, place, bit))
    update()
    assert pq.read_table(path).equals(pq.read_table("whole.parquet"))
    assert pq.read_table(path, page_checksum_verification=True).schema.metadata == pq.read_schema(path).metadata


@DAMAGE
@given(place=PLACES, bit=st.integers(0, 7))
def test_any_flipped_bit_from_above_is_an_error_or_harmless(project, place, bit):
    """No damaged value reaches a stage: the two ways of reading give the true row or a DataError."""
    path = Path("data/brightness/shard-00000.parquet")
    if not path.exists():
        update()
        shutil.copy(path, "whole.parquet")
    whole = Path("whole.parquet").read_bytes()
    path.write_bytes(whole)
    folder = ShardFolder(path.parent)
    expected = folder.row(0, 1)
    path.write_bytes(with_a_flipped_bit(whole, place, bit))
    for read in (lambda: folder.row(0, 1), lambda: folder.rows(0, ["b"])["b"]):
        row, problem = expected, str(path)
        try:
            row = read()
        except DataError as error:
            problem = error.problem
        assert str(path) in problem
        assert all(np.array_equal(row[name], expected[name]) for name in expected)


def test_a_payload_that_was_swapped_is_found_by_its_digest(project):
    """Well-formed Parquet with another row's values: only the digest can tell."""
    update()
    path = Path("data/brightness/shard-00000.parquet")
    table = pq.read_table(path)
    swapped = table.set_column(6, table.schema.field(6), table.column("level").take([1, 0]))
    pq.write_table(swapped.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(DataError, match="the row b do not fit its digest"):
        ShardFolder(path.parent).row(0, 1)
    with pytest.raises(DataError, match="the row a do not fit its digest"):
        update(Outline)


# --- processes


@pytest.fixture
def walked(workspace: Workspace) -> Workspace:
    """A project in which the real stage refine_crf has everything that it reads."""
    workspace.wire("refine_crf")
    schema = shard_schema("random_walk", WALK_COLUMNS, workspace.classes)
    folder = ShardFolder(Path("data/walks"))
    folder.folder.mkdir(parents=True)
    for shard in range(3):
        rows = []
        for record in (r for r in workspace.records if r.shard == shard):
            ids = workspace.dataset().classes.ids(record.tags)
            scores = np.random.default_rng(record.position).random((len(ids), 3, 3)).astype(np.float16)
            rows.append(finish(record.image_id, {}, {"scores": scores, "class_ids": ids}, WALK_COLUMNS))
        folder.write(shard, rows_table(rows, schema))
    write_thresholds(Path("data/walk_threshold"), {"background": Threshold(0.5, "auto")})
    return workspace


def refine() -> Tally:
    crf = {"steps": 2, "gaussian_sxy": 3, "gaussian_compat": 3}
    crf |= {"bilateral_sxy": 50, "bilateral_srgb": 5, "bilateral_compat": 10}
    cfg = RefineCrfConfig(
        method="dense_crf", unary="labels", scale=1.0, gt_prob=0.7, min_confidence=0.5, crf=CrfConfig(**crf)
    )
    Path("data/masks").mkdir(exist_ok=True)
    return update_shards(RefineCrf(cfg))


@pytest.mark.slow
def test_one_process_and_two_give_the_same_bytes(walked, monkeypatch):
    """One thread in each, rows in the data set's order."""
    assert refine().rows_computed == 5
    alone = files("masks")
    shutil.rmtree("data/masks")
    monkeypatch.setenv("LABELFACTORY_WORKERS", "2")
    assert refine().rows_computed == 5
    assert files("masks") == alone


@pytest.mark.slow
def test_what_stops_a_process_at_its_start_is_said(workspace):
    """A damaged checkpoint is found in `setup`: the user sees that error, not a broken pool."""
    with (
        pytest.raises(MissingError, match=r"thresholds\.json: no such file"),
        process_pool(1, read_thresholds, (Path("data/nowhere"),)) as submit,
    ):
        list(submit(abs, [(1,)]))


def no_setup(name: str, cfg: Section) -> None:
    """In the place of the engine's own start of a worker: these stages live in no file that a worker could load."""


def dying_over_b(samples: Sequence[Sample], inputs: Sequence[dict[str, Any]]) -> list[FinishedRow]:
    """A worker's work, which no process survives when b is among the samples."""
    if any(sample.record.image_id == "b" for sample in samples):
        os.kill(os.getpid(), signal.SIGKILL)
    columns = Brightness.columns
    row = {"level": np.ones((2, 2), np.float16), "class_ids": np.ones(1, np.uint8), "mean": 0.5}
    return [finish(s.record.image_id, i, row, columns) for s, i in zip(samples, inputs, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_an_image_over_which_workers_die_is_quarantined_and_the_others_go_on(project, monkeypatch, batch, capsys):
    """Its batch is tried again, then each image alone; what does not kill the worker is computed. Later it is tried anew."""
    monkeypatch.setenv("LABELFACTORY_WORKERS", "2")
    with monkeypatch.context() as patched:
        patched.setattr(per_image, "_start_worker", no_setup)
        patched.setattr(per_image, "_work", dying_over_b)
        tally = update(cfg=BrightnessConfig(batch=batch))[1]
    assert tally == Tally(4, 0, 1, 3, 0)
    assert states()["b"] == "the worker process died (SIGKILL), 2 times"
    assert {i for i, state in states().items() if state == "ok"} == set("acde")
    assert "what it had in hand is tried again" in capsys.readouterr().err
    monkeypatch.setenv("LABELFACTORY_WORKERS", "1")
    assert update(cfg=BrightnessConfig(batch=batch)) == (["b"], Tally(1, 4, 0, 1, 0))


TEXTS = st.text(max_size=20)


@settings(deadline=None)
@given(
    fixed=st.dictionaries(TEXTS, json_values, max_size=5),
    sha=TEXTS,
    tags=st.lists(TEXTS, max_size=3),
    digests=st.dictionaries(st.sampled_from(["cams", "walks", "a", "zebra"]), TEXTS, max_size=3),
)
def test_a_key_is_that_of_its_inputs(fixed, sha, tags, digests):
    """The short way to a key and the long one meet, whatever the names and values."""
    record = ImageRecord("i", "p", sha, (), tuple(tags), None, None, 0, 1, 1, "train", 0, "ok", "")
    keys = KeyMaker(fixed, digests)
    assert keys.key(record, digests) == row_key(keys.inputs(record, digests))
