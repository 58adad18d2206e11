"""A result is replaced by the command that wrote it, as long as no byte of it was changed."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelfactory.dataset.images import decode_mask
from labelfactory.dataset.sealed_masks import write_mask
from labelfactory.destinations import blank_seal, is_as_written, refuse_folder, seal, write_sealed
from labelfactory.errors import DataError

COMMAND = "labelfactory test"
REMEDY = "Name another one."
MASK = np.random.default_rng(0).integers(0, 3, (9, 11), dtype=np.uint8)


def as_json(path: Path) -> None:
    path.write_text(json.dumps({"a": "labelfactory", "seal": blank_seal(COMMAND), "z": 1}))


def as_jpeg(path: Path) -> None:
    Image.new("RGB", (9, 9), (9, 99, 9)).save(path, format="JPEG", comment=blank_seal(COMMAND))


def as_onnx(path: Path) -> None:
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    entry = model.metadata_props.add()
    entry.key, entry.value = "seal", blank_seal(COMMAND)
    path.write_bytes(model.SerializeToString())


FORMS: dict[str, Callable[[Path], object]] = {
    "json": as_json,
    "jpg": as_jpeg,
    "onnx": as_onnx,
    "png": lambda path: write_mask(path, MASK, COMMAND, REMEDY),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, bytes]:
    """One result of each form."""
    files = {}
    for form, write in FORMS.items():
        path = tmp_path_factory.mktemp("results") / f"x.{form}"
        write(path)
        if form != "png":
            seal(path, COMMAND)
        files[form] = path.read_bytes()
    return files


@pytest.mark.parametrize("form", FORMS)
def test_a_sealed_file_is_read_as_before(results, form, tmp_path):
    """By programs that know nothing of seals; the checksum of a PNG's text is right."""
    path = tmp_path / f"x.{form}"
    path.write_bytes(results[form])
    if form == "json":
        assert json.loads(path.read_text())["z"] == 1
    elif form == "onnx":
        onnx.checker.check_model(onnx.load(path))
    else:
        with Image.open(path) as image:
            image.load()
    if form == "png":
        assert np.array_equal(decode_mask(results[form]), MASK)
        at = results[form].index(b"tEXt")
        length = int.from_bytes(results[form][at - 4 : at])
        text = results[form][at : at + 4 + length]
        assert zlib.crc32(text).to_bytes(4) == results[form][at + 4 + length : at + 8 + length]


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(deadline=None)
def test_any_changed_byte_breaks_the_seal(results, form, data, tmp_path_factory):
    """Also one more or less at the end; only the checksum of a PNG's text follows from the rest."""
    path, whole = tmp_path_factory.mktemp("any") / "x", results[form]
    path.write_bytes(whole)
    assert is_as_written(path, COMMAND)
    assert not is_as_written(path, "labelfactory other")
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    for changed in (whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :], whole + b"\n", whole[:-1], whole[at:]):
        path.write_bytes(changed)
        end = whole.index(COMMAND.encode()) + len(blank_seal(COMMAND))
        if changed != whole and not (
            form == "png" and changed[:end] + changed[end + 4 :] == whole[:end] + whole[end + 4 :]
        ):
            assert not is_as_written(path, COMMAND)


def test_what_is_put_there_meanwhile_stays(tmp_path):
    """It is looked at again when the new one is complete."""
    path = tmp_path / "x.json"
    path.touch()  # an empty file is nothing to lose
    for _ in range(2):
        with write_sealed(path, COMMAND, REMEDY) as temporary:
            as_json(temporary)
        assert is_as_written(path, COMMAND)
    writer = write_sealed(path, COMMAND, REMEDY)
    as_json(writer.__enter__())
    path.write_text("mine")
    with pytest.raises(DataError, match="was not written by `labelfactory test`"):
        writer.__exit__(None, None, None)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("other", ["file", "link", "folder", "dangling"])
def test_what_is_no_result_is_refused(tmp_path, other):
    """A link is not followed, whatever it leads to."""
    path, result = tmp_path / "out/x.json", tmp_path / "result.json"
    path.parent.mkdir()
    as_json(result)
    seal(result, COMMAND)
    if other == "file":
        path.write_text("mine")
    elif other == "folder":
        path.mkdir()
    else:
        path.symlink_to(result if other == "link" else "nowhere")
    with pytest.raises(DataError, match="was not written by"):
        refuse_folder(path.parent, ["y.json", "x.json"], COMMAND, REMEDY)
    refuse_folder(path.parent, ["y.json"], COMMAND, REMEDY)
    with pytest.raises(DataError, match="is not a folder"):
        refuse_folder(result, ["y.json"], COMMAND, REMEDY)
