"""Digests tell apart what differs and nothing else."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays, json_mappings

from labelfactory.digests import digest_bytes, digest_code, digest_file, digest_json, digest_payload, digest_rows


def test_bytes_and_files_are_plain_sha256(tmp_path):
    """Anyone can check them with sha256sum."""
    (tmp_path / "x").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_bytes(b"abc") == digest_file(tmp_path / "x") == expected


@given(value=json_mappings, other=json_mappings, data=st.data())
def test_json_differs_exactly_when_the_values_do(value, other, data):
    """The order of keys is not seen; 1, 1.0, true and "1" are told apart."""
    shuffled = dict(data.draw(st.permutations(list(value.items()))))
    assert digest_json(shuffled) == digest_json(value)
    same = json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest_json(value) == digest_json(other)) == same


def test_nan_has_no_digest():
    """It would not equal itself."""
    with pytest.raises(ValueError, match="JSON"):
        digest_json({"x": float("nan")})


PAYLOAD = {"cam": np.arange(6, dtype=np.float16).reshape(2, 3), "png": b"abc", "name": "x", "score": np.float32(0.5)}

OTHERS = {
    "a value": {**PAYLOAD, "cam": PAYLOAD["cam"] + np.float16(1)},
    "a shape": {**PAYLOAD, "cam": PAYLOAD["cam"].reshape(3, 2)},
    "a dtype of the same bytes": {**PAYLOAD, "cam": PAYLOAD["cam"].view(np.uint16)},
    "a name": {**{k: v for k, v in PAYLOAD.items() if k != "cam"}, "kam": PAYLOAD["cam"]},
    "a byte": {**PAYLOAD, "png": b"abd"},
    "bytes or text": {**PAYLOAD, "png": "abc"},
    "a number's precision": {**PAYLOAD, "score": np.float64(0.5)},
    "a column less": {k: v for k, v in PAYLOAD.items() if k != "score"},
}


@pytest.mark.parametrize("what", list(OTHERS))
def test_a_payloads_digest_sees(what):
    """Names, dtypes, shapes and every byte."""
    assert digest_payload(OTHERS[what]) != digest_payload(PAYLOAD)


@given(array=arrays("float32"))
def test_a_payloads_digest_does_not_see_how_it_lies_in_memory(array):
    """Order of names, strides and byte layout are no content."""
    wide = np.zeros((*array.shape, 2), dtype=np.float32)
    wide[..., 0] = array
    first = digest_payload({"x": array, "y": b""})
    assert (
        first
        == digest_payload({"y": b"", "x": wide[..., 0]})
        == digest_payload({"x": np.array(array, order="F"), "y": b""})
    )


ROWS = st.dictionaries(st.text("abc/0.", min_size=1), st.text("0123456789abcdef", min_size=2, max_size=2), max_size=5)


@given(rows=ROWS, other=ROWS, data=st.data())
def test_rows_are_a_set_of_pairs(rows, other, data):
    """In any order; an id, a digest or a row more changes it."""
    shuffled = data.draw(st.permutations(list(rows.items())))
    assert digest_rows(shuffled) == digest_rows(rows.items())
    assert (digest_rows(rows.items()) == digest_rows(other.items())) == (rows == other)


def test_rows_by_hand():
    """The format is written down: id, zero byte, digest, newline, sorted."""
    assert digest_rows([("b", "2"), ("a", "1")]) == hashlib.sha256(b"a\x001\nb\x002\n").hexdigest()


def test_code_is_the_py_files_by_relative_name(tmp_path):
    """Content and name of each .py file count; other files, where the folder stands and double listing do not."""
    for root in ("one", "two"):
        (tmp_path / root / "pkg" / "sub").mkdir(parents=True)
        (tmp_path / root / "pkg" / "a.py").write_text("a")
        (tmp_path / root / "pkg" / "sub" / "b.py").write_text("b")
        (tmp_path / root / "single.py").write_text("c")
    one, two = tmp_path / "one", tmp_path / "two"

    def digest(root):
        return digest_code([root / "pkg", root / "single.py", root / "pkg" / "a.py"], root)

    before = digest(one)
    assert digest(two) == before
    (one / "pkg" / "readme.md").write_text("x")
    assert digest(one) == before
    (one / "pkg" / "sub" / "b.py").rename(one / "pkg" / "sub" / "c.py")
    assert digest(one) != before
    (two / "single.py").write_text("d")
    assert digest(two) != before
