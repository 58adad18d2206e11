"""What is in the key of a row: all that it depends on, and nothing else."""

import os

import pytest
from brightness import Brightness, BrightnessConfig, Inner, Outline, change_code, keys, update
from conftest import Workspace
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import json_values

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.rows.keys import KeyMaker
from labelfactory.rows.shards import row_key
from labelfactory.settings import closure
from labelfactory.stage import per_image


def change_classes(project: Workspace) -> None:
    project.classes = ("ape", "cat", "dog")
    project.save()


SEEN = {
    "the stage's name": lambda p: setattr(Brightness, "name", "brightness2"),
    "the format": lambda p: setattr(per_image, "ROW_FORMAT", 99),
    "the engine's format": lambda p: setattr(closure, "ENGINE_FORMAT", 99),
    "the code": change_code,
    "the network's digest": lambda p: setattr(Brightness, "weights", "w2"),
    "the photograph": lambda p: [p.repaint(r.image_id, seed=999) for r in p.records],
    "the tags": lambda p: [p.change(r.image_id, tags=(*r.tags, "ape")) for r in p.records],
    "the classes": change_classes,
}


@pytest.mark.parametrize("what", list(SEEN))
def test_a_key_changes_with(project, monkeypatch, what):
    """Each thing that a row depends on is in its key."""
    owners = ((Brightness, "name"), (per_image, "ROW_FORMAT"), (Brightness, "weights"), (closure, "ENGINE_FORMAT"))
    for owner, name in owners:
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
    "a new file beside the code": lambda p: (p.root / "code" / "more.py").write_text("more = 1\n"),
    "a comment in the code": lambda p: (p.root / "code" / "science.py").write_text("# why\nanswer = 42\n"),
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
