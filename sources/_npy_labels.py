"""Dictionaries of vectors in a .npy file, as psa and IRN write their cls_labels.npy; nothing in the file can run.

Such a file is a pickle, which may name any function. This reader knows the few names that NumPy writes and has its own
stand-ins for them, so a file can make dictionaries, lists, texts and numbers, and nothing else. Python's own unpickler in
Python is used: the one in C takes as much memory as a file asks for.
"""

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from labelfactory.errors import DataError, in_short
from labelfactory.foreign_files import read_file

LARGEST = 64 * 2**20
WANTED = "a dictionary {name: vector of 0 and 1 for each class} is wanted, as numpy.save of psa writes it"


def read_label_vectors(path: Path) -> dict[str, list[float]]:
    """The vectors of a file by name; a name that is a number becomes its text.

    Raises:
        FileRefusedError: the file cannot be read.
        DataError: it holds something else.
    """
    stream = io.BytesIO(read_file(path, largest=LARGEST))
    try:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
        _, _, dtype = read_header(stream)
        if not dtype.hasobject:
            raise DataError(f"an array of numbers; {WANTED}")
        loaded = _plain(_Unpickler(stream, encoding="latin1").load())
    except DataError:
        raise
    except Exception as error:  # whatever a broken or hostile file leads to
        reason = f"{type(error).__name__}: {in_short(error, 80)}"
        raise DataError(f"not a file of NumPy that can be read without running code ({reason}); {WANTED}") from None
    while isinstance(loaded, list) and len(loaded) == 1:  # an array without dimensions
        loaded = loaded[0]
    if not isinstance(loaded, dict) or not all(_is_vector(vector) for vector in loaded.values()):
        raise DataError(f"no dictionary of vectors; {WANTED}")
    if not all(isinstance(name, (str, int)) for name in loaded):
        raise DataError(f"its names are not texts or numbers; {WANTED}")
    return {str(name): vector for name, vector in loaded.items()}


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(number, (bool, int, float)) for number in value)


class _Array:
    """Stands for a NumPy array: what its pickle says about it."""

    def __init__(self, *_: Any) -> None:
        self.values: list[Any] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, data = state[-4], state[-3], state[-1]
        self.values = list(data) if isinstance(data, list) else dtype.numbers(data)
        if len(self.values) != int(np.prod(shape, dtype=np.int64)):
            raise ValueError("an array of another size than it says")


class _Dtype:
    """Stands for the type of an array of numbers."""

    def __init__(self, spec: str, *_: Any) -> None:
        self._spec, self._order = spec, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = state[1] if state[1] in "<>" else "<"

    def numbers(self, data: str | bytes | bytearray) -> list[Any]:
        """The numbers in the bytes of an array; Python 2 wrote them as text."""
        if not re.fullmatch(r"[fiu][1248]|b1", self._spec):
            raise ValueError(f"an array of type {self._spec!r}")
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        values: list[Any] = np.frombuffer(raw, np.dtype(self._order + self._spec)).tolist()
        return values


class _Unpickler(pickle._Unpickler):
    """Knows what NumPy writes of dictionaries of arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name."""
        known: dict[str, Callable[..., Any]] = {
            "numpy.ndarray": _Array,
            "numpy.dtype": lambda *args: _Dtype(*args),
            "multiarray._reconstruct": lambda *_: _Array(),
            "multiarray.scalar": lambda dtype, data: dtype.numbers(data)[0],
            "numeric._frombuffer": _from_buffer,
            "_codecs.encode": lambda text, *_: text.encode("latin1"),
        }
        short = f"{module.removeprefix('numpy.core.').removeprefix('numpy._core.')}.{name}"
        if short not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}"[:80])
        return known[short]


def _from_buffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((shape, dtype, order, data))
    return array


def _plain(value: Any) -> Any:
    """Arrays as lists, in dictionaries too."""
    if isinstance(value, _Array):
        return [_plain(item) for item in value.values]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
