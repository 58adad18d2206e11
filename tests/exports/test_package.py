"""The ONNX file of a segmenter: what torch says, from the file alone, at any size."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from passports import passport
from PIL import Image
from typer.testing import CliRunner

from app.main import COMMANDS, command_line
from exports._package import CLOSE, COMMAND, PhotographToMask, aligned_side, check_package, write_package
from labelfactory.destinations import blank_seal, is_as_written, seal
from labelfactory.errors import DataError, LabelfactoryError, MissingError
from labelfactory.learning.checkpoints import load_checkpoint, save_checkpoint
from models.backbones import build_backbone
from models.grids import aligned_size
from models.segmenters import build_segmenter, predict, segmenter_from
from sources.demo import render_image

SIZES = ((97, 131), (41, 57), (24, 200))


def architecture(net: str) -> dict:
    tiny = {"backbone": "tiny", "output_stride": 16, "folded": False}
    return {**tiny, "net": net, "width": 16, "rates": [1, 2], "classes": 3}


def checkpoint(path: Path, net: str) -> Path:
    """A segmenter that sees something: weights of its head are large enough to tell places apart."""
    torch.manual_seed(0)
    model = build_segmenter(build_backbone("tiny", output_stride=16, state=None, pretrained=False), architecture(net))
    for name, weight in model.named_parameters():
        if name.startswith(("classifier", "branches")):
            torch.nn.init.normal_(weight, std=0.5)
    stated = passport(architecture=architecture(net), classes=["cat", "dog"], stage="train_segmenter")
    save_checkpoint(path, model.state_dict(), stated)
    return path


NETS = [pytest.param(name, marks=pytest.mark.slow) for name in ("deeplab_v3", "deeplab_v2", "deeplab_v3plus")]


@pytest.fixture(scope="module", params=NETS)
def packaged(request, tmp_path_factory) -> tuple[Path, Path]:
    """Checkpoint and file of each net, checked with three drawn pictures."""
    folder = tmp_path_factory.mktemp("package")
    made = checkpoint(folder / "checkpoint.safetensors", request.param)
    checked = write_package(made, folder / "net.onnx", (render_image(k, 0)[0] for k in range(3)))
    assert (checked.images, checked.same_pixels) == (3, 1.0)
    assert checked.worst_confidence < 1e-5
    return made, folder / "net.onnx"


@given(side=st.integers(4, 20_000), stride=st.sampled_from([8, 16, 32]))
def test_sides_are_those_of_the_line(side, stride):
    """The graph has whole numbers alone; the line rounds. Halves included, they agree."""
    assert (aligned_side(side, stride),) * 2 == aligned_size(side, side, stride=stride)


def test_the_file_says_what_torch_says_at_any_size(packaged):
    """Classes and probabilities of every pixel, at sizes that it was not exported with."""
    made, path = packaged
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state, stated = load_checkpoint(made)
    net = segmenter_from(stated.architecture, state)
    for size in SIZES:
        coarse = np.random.default_rng(size[0]).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        image = np.array(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BILINEAR))
        mask, confidence = session.run(None, {"image": image})
        tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float()
        ours = predict(net, tensor, scales=(1.0,), flip=False)[0]
        assert (mask.dtype, mask.shape) == (np.uint8, size)
        assert np.array_equal(mask, ours.argmax(dim=0).numpy())
        assert np.allclose(confidence, ours.max(dim=0).values.numpy(), atol=1e-5)
        assert np.ptp(confidence) > 1e-3  # the places differ, so that a shift would be seen


def test_the_file_knows_its_classes_and_where_it_comes_from(packaged):
    """Names, normalisation and passport stand in its metadata."""
    made, path = packaged
    said = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert json.loads(said["classes"]) == ["background", "cat", "dog"]
    assert (json.loads(said["mean"]), json.loads(said["std"])) == ([127.0] * 3, [64.0] * 3)
    assert (
        json.loads(said["passport"])["weights_digest"]
        == said["weights_digest"]
        == load_checkpoint(made)[1].weights_digest
    )
    assert json.loads(said["level"]) == "± unknown"


def test_the_file_needs_nothing_of_ours(packaged, tmp_path):
    """A process that can import neither torch nor this project runs it."""
    program = (
        "import sys; sys.modules['torch'] = sys.modules['labelfactory'] = None\n"
        "import numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "print(session.run(None, {'image': numpy.zeros((30, 50, 3), numpy.uint8)})[0].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, packaged[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "(30, 50)"


@pytest.mark.parametrize("packaged", NETS[:1], indirect=True)
def test_a_file_of_other_weights_is_refused(packaged, tmp_path, monkeypatch):
    """The check can fail: a graph that takes the mirror image is found, and nothing is written. Of one net: it is one check."""
    made, path = packaged
    state, stated = load_checkpoint(made)
    net = segmenter_from(stated.architecture, state)
    for weight in net.parameters():
        weight.data += 0.05
    checked = check_package(path, net, [render_image(0, 0)[0]])
    assert checked.worst_confidence > CLOSE
    whole = PhotographToMask.forward
    monkeypatch.setattr(PhotographToMask, "forward", lambda self, image: whole(self, image.flip(1)))
    with pytest.raises(LabelfactoryError, match="onnxruntime and torch differ"):
        write_package(made, tmp_path / "net.onnx", [render_image(0, 0)[0]])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", "other.onnx", "edited.onnx", "folder", "link.onnx", "notes.json"])
def test_a_package_replaces_no_file_of_another_kind(name, tmp_path, monkeypatch):
    """A text, another program's network, one of ours that somebody edited, a folder, a link: each stays as it is."""
    monkeypatch.chdir(tmp_path)
    made = checkpoint(tmp_path / "segmenter.safetensors", "deeplab_v3")
    Path("notes.txt").write_text("years")
    Path("notes.json").write_text("{}")
    graph = onnx.helper.make_graph([], "g", [], [])
    onnx.save(onnx.helper.make_model(graph, producer_name="pytorch"), "other.onnx")
    ours = onnx.helper.make_model(graph, producer_name="labelfactory")
    for key, value in {"weights_digest": "0" * 64, "seal": blank_seal(COMMAND)}.items():
        entry = ours.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(ours, "edited.onnx")
    seal(Path("edited.onnx"), COMMAND)
    assert is_as_written(Path("edited.onnx"), COMMAND)
    ours = onnx.load("edited.onnx")
    ours.doc_string = "our third try"
    onnx.save(ours, "edited.onnx")
    Path("folder").mkdir()
    Path("link.onnx").symlink_to("other.onnx")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with pytest.raises(DataError, match="was not written by `labelfactory package`"):
        write_package(made, Path(name), [render_image(0, 0)[0]])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


def test_what_cannot_be_packaged_is_said(tmp_path, monkeypatch):
    """No photograph, another network's weights, a package that is not installed."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "classifier.safetensors"
    save_checkpoint(other, {"w": torch.zeros(1)}, passport(architecture={"backbone": "tiny"}, stage="train_classifier"))
    with pytest.raises(DataError, match="train_classifier, not of a segmenter"):
        write_package(other, Path("net.onnx"), [])
    made = checkpoint(tmp_path / "segmenter.safetensors", "deeplab_v3")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingError, match="onnxscript is not installed"):
        write_package(made, Path("net.onnx"), [])
    assert not Path("net.onnx").exists()


@pytest.mark.slow
def test_the_command_writes_it_and_says_how_near_it_is(tmp_path, monkeypatch):
    """From a checkpoint and a picture alone; without either the error says what to name."""
    monkeypatch.chdir(tmp_path)
    checkpoint(Path("net.safetensors"), "deeplab_v3")
    Image.fromarray(render_image(0, 0)[0]).save("a.png")
    words = ["package", "--checkpoint", "net.safetensors", "--out", "deep/net.onnx"]
    refused = CliRunner().invoke(command_line(*COMMANDS), words)
    assert "there is no data set to check the file with" in str(refused.exception)
    for _ in range(2):  # the second one replaces the file of the first
        done = CliRunner().invoke(command_line(*COMMANDS), [*words, "--check", "a.png"])
        assert done.exit_code == 0, done.output
    assert "on 1 photographs 100.000 % of the pixels equal torch's" in done.stderr
    assert (
        onnxruntime.InferenceSession("deep/net.onnx", providers=["CPUExecutionProvider"]).get_inputs()[0].name
        == "image"
    )
