"""Compile loops to machine code: those of the CRF, and of gradients of depthwise convolutions.

Machine code is kept in $LABELFACTORY_CACHE or ~/.cache/labelfactory, by what it was made of: the source, numba's version and
the processor. Where that folder cannot be written or a file in it is damaged, a process compiles for itself. numba's own
folders go by the path of a file: each copy of the project would compile anew.

Modules of compiled functions are imported by the functions that run a CRF or train: other commands do not wait for numba. A
compiled function has one signature and calls functions of its own file alone.
"""

import hashlib
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
from llvmlite import binding
from numba.core import caching
from numba.core.serialize import dumps

from labelfactory.environment import own_cache_folder

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _ByContent(caching._CacheLocator):  # type: ignore[misc]
    """A folder for the machine code of one source file on one kind of processor."""

    def __init__(self, source: Path) -> None:
        made_of = [numba.__version__, binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()]
        self._digest = hashlib.sha256("\n".join([*made_of, source.read_text("utf-8")]).encode()).hexdigest()
        self._folder = own_cache_folder("machine-code") / f"{source.stem}-{self._digest[:16]}"

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._digest

    def get_disambiguator(self) -> str:
        return ""

    @classmethod
    def from_function(cls, function: Any, source: str) -> "_ByContent | None":
        try:
            locator = cls(Path(source))
            locator.ensure_cache_path()
        except (OSError, RuntimeError):  # of numba
            return None
        return locator


class _Implementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """Machine code as bytes behind their SHA-256: a processor that runs damaged code ends the process, and raises nothing."""

    _locator_classes = [_ByContent]

    def reduce(self, compiled_result: Any) -> tuple[str, bytes]:
        content = dumps(super().reduce(compiled_result))
        return hashlib.sha256(content).hexdigest(), content

    def rebuild(self, context: Any, kept: tuple[str, bytes]) -> Any:
        digest, content = kept
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("damaged machine code")
        return super().rebuild(context, pickle.loads(content))


class _MachineCode(caching.FunctionCache):  # type: ignore[misc]
    """Files that cannot be read or written count as not there."""

    _impl_class = _Implementation

    def load_overload(self, signature: Any, context: Any) -> Any:
        try:
            return super().load_overload(signature, context)
        except (
            Exception
        ):  # damaged, by its digest or by whatever unpickling raises; or of an earlier version, without one
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(signature, data)


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function as machine code, made or loaded at its first call.

    One thread and IEEE arithmetic in the order of the source: the same input gives the same bytes.
    """
    fast = inlined(function)
    with suppress(RuntimeError):  # no folder
        fast._cache = _MachineCode(function)  # type: ignore[attr-defined]
    return fast


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function as a part of the compiled ones that call it."""
    part: Callable[Parameters, Result] = numba.njit(nogil=True, error_model="numpy")(function)
    return part
