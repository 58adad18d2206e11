"""Facts of one Python file: the digest of its normal form, its imports, the families from which it loads a method."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from labelfactory.digests import digest_bytes
from labelfactory.errors import ParamsError
from labelfactory.settings.normal_form import is_type_checking, normal_form

NAMES_A_FAMILY = ("load_method", "method_of", "choose", "Family")
"""Functions whose first argument is a plug-in family, written out: `load_method("models.cams", name)`."""


@dataclass(frozen=True)
class SourceFile:
    """Facts of a project file, from its text alone."""

    digest: str
    """Of its normal form, 64 hex digits; empty for a file that computes nothing."""
    imports: tuple[str, ...]
    """Modules, and imported names that may be modules; with leading dots where the file has them."""
    families: tuple[str, ...]
    """Plug-in families of which it loads a method."""


def read_source(path: Path) -> SourceFile:
    """Read a file.

    Raises:
        ParamsError: it is not Python.
    """
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: is not Python: {error}", f"Mend {path}.") from None


@cache
def _parsed(text: str) -> SourceFile:
    """Cached by content: a process parses each version of a file once."""
    form, nodes = normal_form(text), list(_run_by_a_program(ast.parse(text)))
    imports = dict.fromkeys(name for node in nodes for name in _imported(node))
    families = dict.fromkeys(family for node in nodes for family in _family(node))
    return SourceFile(digest_bytes(form.encode()) if form else "", tuple(imports), tuple(families))


def _run_by_a_program(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    yield node
    for child in node.orelse if is_type_checking(node) else ast.iter_child_nodes(node):  # type: ignore[attr-defined]
        yield from _run_by_a_program(child)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        yield module
        yield from (f"{module}{'' if module.endswith('.') else '.'}{alias.name}" for alias in node.names)


def _family(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
        if name in NAMES_A_FAMILY:
            yield str(node.args[0].value)
