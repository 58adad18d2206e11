"""`labelfactory predict`: new pictures from a checkpoint alone, and no file of anybody else replaced."""

import os
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from exportable import picture, tiny_segmenter
from hostile_files import EPS, fake_ghostscript, fifo
from passports import passport
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

from app.main import COMMANDS, command_line
from exports._predictor import Predictor
from labelfactory.dataset.images import decode_mask, encode_mask
from labelfactory.errors import DataError
from labelfactory.files import temporary_path
from labelfactory.learning.checkpoints import load_checkpoint, save_checkpoint
from models.distance import TEXT, features_of, measure
from sources.demo import render_image


@pytest.fixture
def segmenter(tmp_path) -> Path:
    """The checkpoint of a tiny net with random weights."""
    return tiny_segmenter(tmp_path)


def test_predict_needs_a_checkpoint_and_nothing_else(segmenter, tmp_path, monkeypatch):
    """In an empty folder: a mask and an overlay of each picture, at its size; bad ones are named, the others done."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    home = tmp_path / "empty"
    (home / "more").mkdir(parents=True)
    monkeypatch.chdir(home)
    for k, path in enumerate(("a.jpg", "more/a.png", "more/b.webp")):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (30 + k, 40, 3), dtype=np.uint8)).save(path)
    Path("bad.jpg").write_bytes(b"no")
    words = ["predict", "a.jpg", "bad.jpg", "more", "--out", "out", "--checkpoint", str(segmenter), "--scales", "1"]
    done = CliRunner().invoke(command_line(*COMMANDS), words)
    assert isinstance(done.exception, DataError)
    assert "bad.jpg: not an image" in done.exception.problem
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        f"{name}{suffix}" for name in ("a", "a~2", "b") for suffix in (".png", "_overlay.jpg")
    )
    assert decode_mask(Path("out/a~2.png").read_bytes()).shape == (31, 40)
    assert picture("out/a_overlay.jpg").size == (40, 30)
    first = Path("out/a.png").read_bytes()
    assert CliRunner().invoke(command_line(*COMMANDS), [*words[:2], *words[4:]]).exit_code == 0
    assert Path("out/a.png").read_bytes() == first


@pytest.mark.timeout(120)
def test_predict_names_what_is_no_picture(segmenter, tmp_path, monkeypatch):
    """A FIFO and an EPS among the pictures of a folder: the others are done, nothing waits and no program starts."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Image.new("RGB", (20, 20)).save("in/a.png")
    fifo(Path("in/b.jpg"))
    Path("in/c.jpg").write_bytes(EPS)
    words = ["predict", "in", "--out", "out", "--checkpoint", str(segmenter), "--scales", "1", "--no-flip"]
    with fake_ghostscript(tmp_path / "bin") as started:
        done = CliRunner().invoke(command_line(*COMMANDS), words)
        assert not started.exists()
    assert isinstance(done.exception, DataError)
    assert "passed over, as no pictures: no regular files 1" in done.output
    assert "in/c.jpg: not an image" in done.exception.problem
    assert decode_mask(Path("out/a.png").read_bytes()).shape == (20, 20)


def annotate(path: Path) -> None:
    """Say something in the file; its pixels stay."""
    path.write_bytes(path.read_bytes() + b"seen by A.")


def edit(path: Path) -> None:
    """Change pixels as an editor does that keeps what a file says of itself."""
    with Image.open(path) as image:
        image.load()
        image.paste(1 if image.mode == "P" else (255, 0, 255), (0, 0, 10, 10))
        text = PngInfo()
        text.add_text("Software", image.info.get("Software", ""))
        kept = {"pnginfo": text} if path.suffix == ".png" else {"comment": image.info["comment"]}
        image.save(path, **kept)


def test_predict_replaces_its_own_results_and_nothing_else(segmenter, tmp_path, monkeypatch):
    """No photograph, no true mask in the same colours, no link: it refuses before the first write, whoever is the second one."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    home = tmp_path / "home"
    (home / "photos").mkdir(parents=True)
    (home / "truth").mkdir()
    (home / "links").mkdir()
    monkeypatch.chdir(home)
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((20, 24, 3), 99, np.uint8)).save(f"photos/{name}")
    Path("truth/b.png").write_bytes(encode_mask(np.ones((20, 24), np.uint8)))
    Path("links/b_overlay.jpg").symlink_to("nowhere")
    Path("file").write_text("mine")

    def predict(*pictures: str, out: str) -> object:
        words = ["predict", *pictures, "--out", out, "--checkpoint", str(segmenter), "--scales", "1", "--no-flip"]
        return CliRunner().invoke(command_line(*COMMANDS), words)

    def found() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(Path().rglob("*")) if p.is_file()}

    assert predict("photos", out="results").exit_code == 0
    assert (decode_mask(Path("results/a.png").read_bytes()) <= 2).all()
    before = found()
    Path("results/.notes.20241129.tmp").mkdir()
    for own in ("results/.notes.20241129.tmp/n", "results/.session.1999.tmp"):
        Path(own).write_text("mine")
        before[own] = b"mine"
    half = temporary_path(Path("results/a.png"))
    half.write_text("half")
    assert predict("photos", out="results").exit_code == 0
    assert found() == before
    for pictures, out, message in (
        ("photos", "photos", "photos/a.png: is one of the pictures"),
        ("photos", "photos/../photos", "is one of the pictures"),
        ("results", "results", "results/a.png: is one of the pictures"),
        ("photos/b.png", "truth", "truth/b.png: was not written by `labelfactory predict`"),
        ("photos", "links", "links/b_overlay.jpg: was not written"),
        ("photos", "file", "file: is not a folder"),
    ):
        assert message in str(predict(pictures, out=out).exception)
        assert found() == before
    for edited, change in product(("results/b.png", "results/b_overlay.jpg"), (edit, annotate)):
        whole = Path(edited).read_bytes()
        change(Path(edited))
        assert f"{edited}: was not written by `labelfactory predict`, or was changed" in str(
            predict("photos", out="results").exception
        )
        Path(edited).write_bytes(whole)
        assert found() == before
    Path("truth/b.png").unlink()
    os.link("photos/a.png", "truth/b.png")
    assert "truth/b.png: is one of the pictures" in str(predict("photos", out="truth").exception)


def test_predict_replaces_no_result_that_is_edited_meanwhile(segmenter, tmp_path, monkeypatch):
    """After its look at the folder: the edit stays and is named, every other result is made."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for k, name in enumerate(("a", "b", "c")):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(f"in/{name}.png")
    words = ["predict", "in", "--out", "out", "--checkpoint", str(segmenter), "--scales", "1", "--no-flip"]
    assert CliRunner().invoke(command_line(*COMMANDS), words).exit_code == 0
    before = {path: path.read_bytes() for path in sorted(Path("out").iterdir())}
    first, predicted = Path("out/a.png"), Predictor.predict

    def slowly(self: Predictor, photograph: np.ndarray) -> object:
        if not edited:
            for path in (Path("out/b.png"), Path("out/c_overlay.jpg")):
                edit(path)
                edited[path] = path.read_bytes()
            first.unlink()
        return predicted(self, photograph)

    edited: dict[Path, bytes] = {}
    monkeypatch.setattr(Predictor, "predict", slowly)
    done = CliRunner().invoke(command_line(*COMMANDS), words)
    assert isinstance(done.exception, DataError)
    assert done.exception.problem.splitlines()[0] == "2 results stay as they are"
    assert all(str(path) in done.exception.problem for path in edited)
    assert {path: path.read_bytes() for path in sorted(Path("out").iterdir())} == before | edited


def knowing(segmenter: Path, photographs: list[np.ndarray]) -> None:
    """Write what the checkpoint's net would have learnt from these into its header."""
    state, stamped = load_checkpoint(segmenter)
    net = Predictor(segmenter).net
    distance = measure(features_of(net.backbone, photographs, torch.device("cpu")))
    save_checkpoint(segmenter, state, stamped, {TEXT: distance.to_text()})


def test_predict_notes_what_is_far_from_what_was_learnt(segmenter, tmp_path, monkeypatch):
    """After drawn pictures: noise is far, new drawn ones are not. The figure stands in every line, the same each time."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    knowing(segmenter, [render_image(k, 0)[0] for k in range(40)])
    noise = np.random.default_rng(0)
    pictures = {f"same{k}": render_image(500 + k, 0)[0] for k in range(4)}
    pictures |= {f"noise{k}": noise.integers(0, 256, (60, 80, 3), dtype=np.uint8) for k in range(4)}
    Path("in").mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(f"in/{name}.png")

    def predict(*names: str) -> str:
        words = ["predict", *names, "--out", "out", "--checkpoint", str(segmenter), "--scales", "0.5", "--no-flip"]
        done = CliRunner().invoke(command_line(*COMMANDS), words)
        assert done.exit_code == 0
        return done.output

    def figures(output: str) -> dict[str, float]:
        lines = re.findall(r"in/(\w+)\.png: .*; confidence [\d.]+; distance ([\d.]+)$", output, re.MULTILINE)
        return {name: float(figure) for name, figure in lines}

    output = predict("in")
    distances = figures(output)
    assert distances.keys() == pictures.keys()
    assert {name for name, figure in distances.items() if figure > 1} == {f"noise{k}" for k in range(4)}
    note = "4 of 8 pictures are far from the photographs that the network learnt from"
    assert note in output
    assert "in/noise0.png, in/noise1.png, in/noise2.png, …" in output
    assert figures(predict("in")) == distances
    assert "1 of 2 pictures are far" in predict("in/noise3.png", "in/same0.png")
    assert "far" not in predict("in/same1.png")


def test_predict_with_a_checkpoint_that_does_not_know(segmenter, tmp_path, monkeypatch):
    """An older one, or one of few photographs: no figure and no note. One whose figure is damaged is named."""
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save("a.png")
    words = ["predict", "a.png", "--out", "out", "--checkpoint", str(segmenter), "--scales", "1", "--no-flip"]
    done = CliRunner().invoke(command_line(*COMMANDS), words)
    assert done.exit_code == 0
    assert "confidence" in done.output
    assert "distance" not in done.output
    state, stamped = load_checkpoint(segmenter)
    save_checkpoint(segmenter, state, stamped, {TEXT: "{}"})
    error = CliRunner().invoke(command_line(*COMMANDS), words).exception
    assert isinstance(error, DataError)
    assert f"{segmenter}: damaged: the distance is not readable" in error.problem
    assert "dvc repro" in error.remedy


def test_predict_refuses_other_weights(tmp_path, monkeypatch):
    """A classifier's checkpoint, a missing one, scales that are none."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 20)).save("a.png")
    save_checkpoint(tmp_path / "c.safetensors", {"w": torch.zeros(1)}, passport())
    for words, message in (
        (["--checkpoint", "c.safetensors"], "the weights of train_classifier, not of a segmenter"),
        (["--checkpoint", "no.safetensors"], "no such checkpoint"),
        (["--checkpoint", "c.safetensors", "--scales", "x"], "--scales 'x': each must be a number"),
    ):
        done = CliRunner().invoke(command_line(*COMMANDS), ["predict", "a.png", "--out", "out", *words])
        assert message in str(done.exception)
    assert not Path("out").exists()
