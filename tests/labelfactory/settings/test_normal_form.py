"""What a file's normal form sees and what it does not; the same under every Python that is supported."""

import hashlib

import pytest

from labelfactory.settings.normal_form import normal_form

SOURCE = '''
"""Grow."""
import math
from typing import TYPE_CHECKING, Any

from labelfactory.console import say

if TYPE_CHECKING:
    from torch import Tensor

RATE = 2
"""Per step."""


class Config:
    steps: int = 3


def grow(start: Any, *, by=RATE):
    # one step
    if start < 0:
        raise ValueError(f"{start} is negative", start)
    assert by > 0, "no growth"
    say(f"grown from {start}")
    return start + math.ceil(by)
'''

UNSEEN = {
    "a comment": ("# one step", "# one small step"),
    "a docstring": ('"""Grow."""', '"""Let it grow."""\n'),
    "a docstring more": ("    # one step", '    """Grow once."""'),
    "the text below a constant": ("Per step.", "Each step."),
    "layout": ("start + math.ceil(by)", "(\n        start\n        + math.ceil(by)\n    )"),
    "annotations of a function": ("(start: Any, *, by=RATE):", '(start: "Any", *, by: int = RATE) -> str:'),
    "the annotation of a variable": ("RATE = 2", "RATE: Any = 2"),
    "where an annotation comes from": ("TYPE_CHECKING, Any", "TYPE_CHECKING\nfrom typing_extensions import Any"),
    "an import below TYPE_CHECKING": ("from torch import Tensor", "from numpy import ndarray"),
    "the text of an error": ("is negative", "is below zero"),
    "the cause of an error": ('negative", start)', 'negative", start) from None'),
    "the text of an assertion": ("no growth", "it does not grow"),
    "a message": ("grown from", "it grew from"),
    "a message that counts": ('{start}")', '{len(str(start))}")'),
    "quotes": ("'''", '"""'),
}

SEEN = {
    "a number": ("RATE = 2", "RATE = 3"),
    "a type of number": ("RATE = 2", "RATE = 2.0"),
    "an operator": ("start + ", "start - "),
    "a name": ("by", "per"),
    "a default": ("by=RATE", "by=1"),
    "the kind of an argument": ("Any, *, by", "Any, by"),
    "a condition": ("start < 0", "start <= 0"),
    "what an error is": ("raise ValueError", "raise KeyError"),
    "what an error carries beside text": ('negative", start)', 'negative", by)'),
    "an assertion": ("assert by > 0", "assert by >= 0"),
    "an annotation in a class, which pydantic reads": ("steps: int", "steps: float"),
    "a message that assigns": ('say(f"grown from {start}")', 'say(f"grown from {(start := 1)}")'),
    "a message that takes something away": ('say(f"grown from {start}")', 'say(f"grown from {by.pop()}")'),
    "where a function comes from": ("import math", "import cmath as math"),
    "a statement": ("    return", "    by = 2\n    return"),
}


@pytest.mark.parametrize("what", list(UNSEEN))
def test_a_normal_form_does_not_see(what):
    """What changes no value."""
    old, new = UNSEEN[what]
    assert old in SOURCE or what == "quotes"
    assert normal_form(SOURCE.replace(old, new)) == normal_form(SOURCE)


def test_a_message_may_come_and_go_with_its_import():
    """And annotations with theirs."""
    silent = SOURCE.replace('    say(f"grown from {start}")\n', "").replace(
        "from labelfactory.console import say\n", ""
    )
    bare = silent.replace("from typing import TYPE_CHECKING, Any\n", "").replace("start: Any", "start")
    bare = bare.replace("if TYPE_CHECKING:\n    from torch import Tensor\n", "")
    assert normal_form(bare) == normal_form(SOURCE)


@pytest.mark.parametrize("what", list(SEEN))
def test_a_normal_form_sees(what):
    """What may change one."""
    old, new = SEEN[what]
    assert old in SOURCE
    assert normal_form(SOURCE.replace(old, new)) != normal_form(SOURCE)


@pytest.mark.parametrize(
    "source",
    [
        "@functools.singledispatch\ndef f(x: {}): ...",
        "@validate_call\ndef f(x: {}): return x",
        "class A:\n    def f(self):\n        class B:\n            x: {} = 1\n",
    ],
)
def test_annotations_that_a_program_may_read_are_seen(source):
    """Under a decorator, and in a class inside a function."""
    assert normal_form(source.format("int")) != normal_form(source.format("str"))


def test_a_method_under_a_plain_decorator_has_no_annotations():
    """A property reads none."""
    source = "class A:\n    @property\n    def f(self) -> {}:\n        return 1\n"
    assert normal_form(source.format("int")) == normal_form(source.format("float"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "import a, b\n__all__ = ['b']\ndef f(x: b): return a",
            "import a, c as b\n__all__ = ['b']\ndef f(x: b): return a",
        ),
        ("from a import b", "from c import b"),
        ("import b\ndef f(x: b): return b.x", "import c as b\ndef f(x: b): return b.x"),
    ],
)
def test_an_import_that_something_may_use_is_seen(one, other):
    """By `__all__`, by those who import it from here, or by the rest of the file."""
    assert normal_form(one) != normal_form(other)


@pytest.mark.parametrize("source", ["", '"""Text."""', "# nothing\n", "from typing import Any\nx: Any\n", "pass"])
def test_a_file_that_computes_nothing_has_an_empty_one(source):
    """An `__init__.py` that holds a docstring is as good as none."""
    assert normal_form(source) == ""


EVERY_KIND = '''
from __future__ import annotations
import a.b as c
async def f(x, /, y=1, *z, k=None, **kw):
    async with x as q, y:
        await q
    async for i in z: yield i
    return [j async for j in x if j]
def g(*, a): return (yield from a)
class K(A, metaclass=M):
    x: int
    y: "str" = """a
b"""
match p:
    case {"k": [1, *rest], **more} | None: pass
    case K(x=1) as k if k: ...
    case -1j | "s": del k
try:
    global u
    u = (v := 3)
except* (E, F) as e: raise
else: nonlocal_ = lambda q, *r: q if r else not q
finally: w[1:2, ::3, ...] += ~5 ** -6
while True:
    if a < b <= c is not d not in e: continue
    elif a and b or c: break
else: x = {1: 2, **h}, {3, 4}, [*l], {i: j for i, j in k for l in m}, (n for n in o)
s = f"a{b!r:>{w}}c" "d" f"{e:}{{}}{g=}" rf"\\d{h:%Y}" "\\u00e9\\U0001f600\\x00"
n = 1_000, 0x1F, 1e400, 1e-7, 3.0, True, None, ..., 10**30
@d.e(1)
def h(): assert x
'''


def test_the_normal_form_is_the_same_under_every_python():
    """Every kind of node, f-strings above all, which 3.12 parses in another way: one stored digest."""
    digest = hashlib.sha256(normal_form(EVERY_KIND).encode()).hexdigest()
    assert digest == "3e220092e0bcd8d5066a5ec2e48a119eede30225e740b93c28af819690a5da4d"
