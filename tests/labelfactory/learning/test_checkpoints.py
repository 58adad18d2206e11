"""Checkpoints and their passports."""

import json
import subprocess

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from passports import ARCHITECTURE, passport
from safetensors import safe_open
from safetensors.torch import save_file

from labelfactory.errors import DataError, MissingError, SupervisionError
from labelfactory.learning.checkpoints import (
    TEXTS_DIGEST,
    change_passport,
    load_checkpoint,
    read_passport,
    read_text,
    save_checkpoint,
    weights_digest,
)
from labelfactory.learning.supervision import check_supervision
from labelfactory.versions import git_state

STATE = {"b": torch.arange(4.0), "a.weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(3)}


def test_what_is_saved_is_what_is_loaded(tmp_path):
    """Weights to the bit and each field of the passport; the header can be read alone."""
    path = tmp_path / "deep" / "c.safetensors"
    stamped = save_checkpoint(path, STATE, passport(metrics={"loss": float("inf"), "map": 0.1 + 0.2}))
    state, loaded = load_checkpoint(path)
    assert loaded == stamped == read_passport(path)
    assert loaded.weights_digest == weights_digest(STATE, ARCHITECTURE)
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[k], STATE[k]) and state[k].dtype == STATE[k].dtype for k in STATE)


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path):
    """Whatever the order of the weights."""
    save_checkpoint(tmp_path / "1", STATE, passport())
    save_checkpoint(tmp_path / "2", dict(reversed(STATE.items())), passport())
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("metrics", [{}, {"loss": 0.125}, {f"ap/val/dög {k}": k / 7 for k in range(40)}])
def test_a_changed_passport_leaves_the_weights(tmp_path, metrics):
    """The file is the one that would have been written with it, other texts of the header included."""
    changed = {"metrics": metrics, "measured_on": "of these"}
    save_checkpoint(tmp_path / "made", STATE, passport())
    stamped = change_passport(tmp_path / "made", **changed)
    assert (
        stamped
        == save_checkpoint(tmp_path / "wanted", STATE, passport(**changed))
        == load_checkpoint(tmp_path / "made")[1]
    )
    assert (tmp_path / "made").read_bytes() == (tmp_path / "wanted").read_bytes()
    text = {"passport": stamped.model_dump_json(), "told": "ü"}
    save_file(STATE, tmp_path / "told", metadata=text)
    change_passport(tmp_path / "told", metrics={})
    with safe_open(tmp_path / "told", framework="np") as opened:
        assert opened.metadata()["told"] == "ü"


def test_texts_beside_the_passport(tmp_path):
    """To the letter, in the same bytes each time, and no part of the weights: those of an older checkpoint are equal."""
    texts = {name: f'{name} "ü\\ \n\t\x01 \u2028' for name in "zyxw"}
    stamped = save_checkpoint(tmp_path / "0", STATE, passport(), texts)
    assert {name: read_text(tmp_path / "0", name) for name in texts} == texts
    for k in range(1, 9):  # safetensors shuffles them anew each time
        save_checkpoint(tmp_path / str(k), STATE, passport(), dict(reversed(texts.items())))
        assert (tmp_path / str(k)).read_bytes() == (tmp_path / "0").read_bytes()
    assert load_checkpoint(tmp_path / "0")[1] == stamped == save_checkpoint(tmp_path / "old", STATE, passport())
    assert read_text(tmp_path / "old", "z") is None


def test_weights_that_are_views_are_saved(tmp_path):
    """channels_last and transposed weights are no special case."""
    state = {
        "w": torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "t": torch.ones(2, 3).T,
    }
    save_checkpoint(tmp_path / "c", state, passport())
    assert torch.equal(load_checkpoint(tmp_path / "c")[0]["w"], state["w"])


@given(name=st.sampled_from(sorted(STATE)), place=st.integers(0, 5))
def test_the_weights_digest_sees_every_number(name, place):
    """One number of one tensor more, another digest."""
    changed = {k: v.clone() for k, v in STATE.items()}
    changed[name].view(-1)[place % changed[name].numel()] += 1
    assert weights_digest(changed, ARCHITECTURE) != weights_digest(STATE, ARCHITECTURE)


def test_the_weights_digest_sees_names_types_shapes_and_architecture():
    """The same numbers in another network are other weights."""
    digests = {
        weights_digest(state, architecture)
        for state, architecture in [
            (STATE, ARCHITECTURE),
            (STATE, {**ARCHITECTURE, "output_stride": 8}),
            ({**STATE, "b": STATE["b"].double()}, ARCHITECTURE),
            ({**STATE, "b": STATE["b"].reshape(2, 2)}, ARCHITECTURE),
            ({("c" if k == "b" else k): v for k, v in STATE.items()}, ARCHITECTURE),
            ({**STATE, "b": -STATE["b"] * 0}, ARCHITECTURE),
            ({**STATE, "b": STATE["b"] * 0}, ARCHITECTURE),
        ]
    }
    assert len(digests) == 7


@pytest.mark.parametrize("changes", [{"git_commit": None}, {"git_dirty": True}, {"device": "cuda"}, {"key": "x"}])
def test_the_weights_digest_does_not_see_where_they_were_made(tmp_path, changes):
    """A commit that changed a comment must not send a wave through the line."""
    first = save_checkpoint(tmp_path / "1", STATE, passport())
    assert save_checkpoint(tmp_path / "2", STATE, passport(**changes)).weights_digest == first.weights_digest


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found_or_leaves_the_weights_as_they_are(tmp_path, place, bit):
    """In the weights, in their names, in the header: an error that names the file, or the true weights."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, STATE, passport())
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    state, problem = STATE, str(path)
    try:
        state, _ = load_checkpoint(path)
    except DataError as error:
        problem = error.problem
    assert str(path) in problem
    assert all(torch.equal(state[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize("cut", [0, 4, 200, -1])
def test_a_truncated_checkpoint_is_found(tmp_path, cut):
    """Before any of its weights is used."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, STATE, passport())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="damaged") as caught:
        load_checkpoint(path)
    assert "dvc repro" in caught.value.remedy


def test_a_flipped_bit_of_a_weight_is_found(tmp_path):
    """The last byte of the file is a weight's."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, STATE, passport())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert read_passport(path)
    with pytest.raises(DataError, match="do not match their passport"):
        load_checkpoint(path)


def test_checkpoints_of_others(tmp_path):
    """Missing, without a passport, of a newer program (with fields that this one does not know)."""
    path = tmp_path / "c.safetensors"
    with pytest.raises(MissingError, match="no such checkpoint"):
        read_passport(path)
    save_file({"w": torch.ones(1)}, path)
    with pytest.raises(DataError, match="has no passport"):
        read_passport(path)
    newer = json.loads(passport().model_dump_json()) | {"format": 99, "aura": "blue"}
    for text, message in (
        (json.dumps(newer), "format 99 is newer"),
        ("[1]", "not readable"),
        ('{"format": 1}', "not readable"),
    ):
        save_file({"w": torch.ones(1)}, path, metadata={"passport": text})
        with pytest.raises(DataError, match=message):
            read_passport(path)


def test_the_passport_is_plain_json_in_the_header(tmp_path):
    """Anyone can read it with safetensors alone."""
    save_checkpoint(tmp_path / "c", STATE, passport())
    with safe_open(tmp_path / "c", framework="np") as opened:
        assert json.loads(opened.metadata()["passport"])["supervision"] == ["imagenet-tags", "tags"]


@pytest.mark.parametrize("name", ["passport", "told"])
def test_a_header_that_somebody_edited_is_refused(tmp_path, name):
    """Its classes exchanged, every mask of the network would have another's name. Files of earlier versions have no digest."""
    save_checkpoint(tmp_path / "c", STATE, passport(), {"told": "cat"})
    with safe_open(tmp_path / "c", framework="np") as opened:
        texts = opened.metadata()
    edited = texts | {name: texts[name].replace("cat", "cow")}
    save_file(STATE, tmp_path / "c", metadata=edited)
    for read in (read_passport, load_checkpoint, lambda path: read_text(path, "told")):
        with pytest.raises(DataError, match="damaged: its header was changed since it was written"):
            read(tmp_path / "c")
    del edited[TEXTS_DIGEST]
    save_file(STATE, tmp_path / "c", metadata=edited)
    before = read_passport(tmp_path / "c")
    assert change_passport(tmp_path / "c", metrics=before.metrics) == before
    with safe_open(tmp_path / "c", framework="np") as opened:
        assert TEXTS_DIGEST in opened.metadata()


@pytest.mark.parametrize("seen", [["masks"], ["tags", "boxes"], ["imagenet-tags", "masks", "boxes"]])
def test_stronger_weights_are_refused_unless_named(seen):
    """Each kind by its name; to allow one is not to allow the other."""
    with pytest.raises(SupervisionError) as caught:
        check_supervision("resnet.pth", seen, [])
    strong = sorted({"masks", "boxes"} & set(seen))
    assert ", ".join(strong) in caught.value.problem
    assert f"allow_supervision: [{', '.join(strong)}]" in caught.value.remedy
    check_supervision("resnet.pth", seen, ["masks", "boxes"])
    if len(strong) == 2:
        with pytest.raises(SupervisionError):
            check_supervision("resnet.pth", seen, ["masks"])


@pytest.mark.parametrize("seen", [[], ["tags"], ["imagenet-tags", "tags"]])
def test_weak_weights_need_no_leave(seen):
    """Tags of images, ours or ImageNet's."""
    check_supervision("lite0", seen, [])


def test_the_commit_is_that_of_the_working_folder(tmp_path, monkeypatch):
    """None outside a repository; dirty when a tracked file differs, not for an untracked one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() == (None, None)
    (tmp_path / "x").write_text("1")
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "-q"], ["add", "x"], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], check=True)
    commit, dirty = git_state()
    assert (len(commit or ""), dirty) == (40, False)
    (tmp_path / "y").write_text("1")
    assert git_state() == (commit, False)
    (tmp_path / "x").write_text("2")
    assert git_state() == (commit, True)
    assert git_state(besides="x") == (commit, False)
    assert git_state(besides="y") == (commit, True)
