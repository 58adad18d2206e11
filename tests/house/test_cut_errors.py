"""Texts of errors are cut by `in_short` and `cut` alone, which mask secrets first: the part of one is not found any more."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "exports", "flows", "labelfactory", "lineage", "models", "pages", "reporting", "sources", "stages")
WITHOUT = {
    "labelfactory/errors.py": "where these are",
    "flows/line/warm_parent.py": "runs without this project; what it sends is far shorter than a message may be",
}
"""File → why it may cut an error's text."""


def is_error(annotation: ast.expr | None) -> bool:
    """Whether a parameter is an error, by its annotation."""
    return annotation is not None and ast.unparse(annotation).endswith(("Error", "Exception"))


def names_in(node: ast.AST) -> Iterator[str]:
    """Names in an expression, but what those two get, and places in a text, such as a row that an error names."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("in_short", "cut"):
        return
    if isinstance(node, ast.Name):
        yield node.id
    for child in [node.value] if isinstance(node, ast.Subscript) else ast.iter_child_nodes(node):
        yield from names_in(child)


def errors_of(tree: ast.AST) -> set[str]:
    """Names of errors in a module, and of texts that are made from them."""
    errors = {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    errors |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg) and is_error(node.annotation)}
    texts = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and not errors.isdisjoint(names_in(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return errors | texts


def is_cut(node: ast.AST) -> bool:
    """Whether an expression cuts a text: `x[:80]`, `shorten(x, 80)`, or `.80` in an f-string. `x[:1]` is of a word's case."""
    if isinstance(node, ast.Subscript):
        slice_ = node.slice
        return isinstance(slice_, ast.Slice) and slice_.upper is not None and ast.unparse(slice_.upper) != "1"
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).rpartition(".")[2] == "shorten"
    return isinstance(node, ast.FormattedValue) and "." in ast.unparse(node.format_spec or ast.Constant(""))


def cuts(source: str) -> list[str]:
    """Expressions of a module that cut an error's text."""
    tree = ast.parse(source)
    errors = errors_of(tree)
    found = (node for node in ast.walk(tree) if is_cut(node) and not errors.isdisjoint(names_in(node)))
    return [f"{node.lineno}: {ast.unparse(node)}" for node in found]


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_else_cuts_the_text_of_an_error(package):
    """In every package."""
    files = {path: path.relative_to(ROOT).as_posix() for path in sorted((ROOT / package).rglob("*.py"))}
    found = {name: cuts(path.read_text(encoding="utf-8")) for path, name in files.items() if name not in WITHOUT}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "str(error)[:80]",
        "masked(' '.join(str(error).split())[:80])",
        "first_line(error)[:LONGEST]",
        "textwrap.shorten(str(error), 80)",
        "f'{error!s:.80}'",
        "repr(error.args)[:80]",
    ],
)
def test_a_cut_is_found(line):
    """Where the error is caught, and where a function gets it."""
    assert cuts(f"try:\n    work()\nexcept OSError as error:\n    say({line})")
    assert cuts(f"def say_it(error: OSError) -> str:\n    return {line}")
    assert cuts("try:\n    work()\nexcept OSError as e:\n    text = str(e)\n    say(text[:80])")


@pytest.mark.parametrize(
    "line",
    [
        "in_short(error, 80)",
        "cut(error.msg, 80)",
        "names[:80]",
        "f'{in_short(error)}: {share:.1f}'",
        "str(error)",
        "error.msg[:1].lower()",
        "lines[error.row][:80]",
    ],
)
def test_other_lines_are_none(line):
    """What these two cut, and other texts."""
    assert cuts(f"try:\n    work()\nexcept OSError as error:\n    say({line})") == []
