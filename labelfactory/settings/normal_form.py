"""The normal form of a Python file: its syntax tree without the parts that cannot change a value.

Left out are comments, layout, docstrings, descriptions of parameters (`Field(description=…)`), annotations of functions and
variables, `if TYPE_CHECKING` blocks, the texts of errors (`raise X("…")`) and of assertions, messages (`say(…)`, a logger's), and
the imports that only these needed. Names are kept: a renamed variable is another file.

Kept, because they may change a value: annotations in a class (pydantic and dataclasses read them) and of a function
under a decorator that may read them; what a raised error carries beside text; a message that assigns or draws a number.

Uses the standard library alone and writes the tree itself: `ast.dump` differs between versions of Python.
"""

import ast
import re
from collections.abc import Iterator
from typing import Any

MESSAGES = frozenset({"say"})
"""Functions that only show a message; `print` may write a file."""
LOGGERS = frozenset({"log", "logger", "logging", "warnings"})
LEVELS = frozenset({"debug", "info", "warning", "warn", "error", "exception", "critical", "log"})
PURE = frozenset(
    {
        "abs",
        "float",
        "format",
        "int",
        "join",
        "len",
        "list",
        "max",
        "min",
        "repr",
        "round",
        "set",
        "sorted",
        "split",
        "str",
        "sum",
    }
    | {"stage_name"}
)
"""Calls inside a message that change nothing."""
READ_NO_ANNOTATION = frozenset(
    {"property", "cached_property", "staticmethod", "classmethod", "cache", "lru_cache", "contextmanager", "no_grad"}
)
"""Decorators under which a function's annotations change nothing."""
UNWRITTEN = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields of the tree without meaning, or for the spelling of a literal."""


def normal_form(source: str) -> str:
    """The normal form of a file, the same under every supported Python; empty for a file that computes nothing.

    Raises:
        SyntaxError: the source is not Python.
    """
    tree = ast.parse(source)
    bare = _Bare()
    tree = bare.visit(tree)
    used = {word for node in ast.walk(tree) for word in _words(node)}
    tree.body = [s for s in tree.body if _import_left(s, bare.dropped - used)]
    return "".join(_written(tree)) if tree.body else ""


def is_type_checking(node: ast.AST) -> bool:
    """Whether a node is an `if TYPE_CHECKING:` statement, which no program runs."""
    return isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING"


class _Bare(ast.NodeTransformer):
    """Removes what cannot change a value; `dropped` collects the names that the removed parts used."""

    def __init__(self) -> None:
        self.dropped: set[str] = set()
        self._in_class = False

    def _drop(self, *nodes: ast.AST | None) -> None:
        for part in nodes:
            for node in ast.walk(part) if part is not None else ():
                self.dropped.update(_words(node))
                if isinstance(node, ast.Constant) and isinstance(node.value, str):  # an annotation in quotes
                    self.dropped.update(re.findall(r"\w+", node.value))

    def visit_Expr(self, node: ast.Expr) -> Any:
        if isinstance(node.value, ast.Constant):
            return None
        if isinstance(node.value, ast.Call) and _is_message(node.value):
            self._drop(node)
            return None
        return self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        return None

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        if not is_type_checking(node):
            return node
        self._drop(node.test)
        return node.orelse

    def visit_Call(self, node: ast.Call) -> Any:
        if _last_name(node) == "Field":  # what a parameter means, for the page of parameters
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> Any:
        node.cause = None
        if isinstance(node.exc, ast.Call):
            texts = [a for a in node.exc.args if _is_text(a)] + [k for k in node.exc.keywords if _is_text(k.value)]
            self._drop(*texts)
            node.exc.args = [a for a in node.exc.args if a not in texts]
            node.exc.keywords = [k for k in node.exc.keywords if k not in texts]
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> Any:
        self._drop(node.msg)
        node.msg = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        return self._scope(node, in_class=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Any:
        if all(_last_name(decorator) in READ_NO_ANNOTATION for decorator in node.decorator_list):
            listed = node.args
            arguments = [*listed.posonlyargs, *listed.args, *listed.kwonlyargs]
            for argument in [*arguments, *filter(None, (listed.vararg, listed.kwarg))]:
                self._drop(argument.annotation)
                argument.annotation = None
            self._drop(node.returns)
            node.returns = None
        return self._scope(node, in_class=False)

    def _scope(self, node: ast.AST, *, in_class: bool) -> Any:
        before, self._in_class = self._in_class, in_class
        kept = self.generic_visit(node)
        self._in_class = before
        return kept

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if self._in_class:
            return self.generic_visit(node)
        self._drop(node.annotation)
        if node.value is None:
            return None
        return self.generic_visit(ast.Assign(targets=[node.target], value=node.value))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        """Neighbouring texts become one: how an f-string is split into them is the parser's choice."""
        self.generic_visit(node)
        parts: list[Any] = []
        for part in node.values:
            if isinstance(part, ast.Constant) and parts and isinstance(parts[-1], ast.Constant):
                parts[-1] = ast.Constant(str(parts[-1].value) + str(part.value))
            elif not (isinstance(part, ast.Constant) and part.value == ""):
                parts.append(part)
        node.values = parts
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> Any:
        self.generic_visit(node)
        if isinstance(node.format_spec, ast.JoinedStr) and not node.format_spec.values:
            node.format_spec = None
        return node


def _words(node: ast.AST) -> Iterator[str]:
    """Names that a node uses: a name itself, or one in quotes as `__all__` lists it."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _import_left(statement: ast.stmt, needless: set[str]) -> bool:
    """Remove the needless names from an import. Returns whether anything of the statement is left."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True
    statement.names = [a for a in statement.names if (a.asname or a.name.split(".")[0]) not in needless]
    return bool(statement.names)


def _last_name(node: ast.AST) -> str:
    """`c` of the expressions `c`, `a.b.c` and `a.b.c(…)`; empty for others."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_message(call: ast.Call) -> bool:
    """Whether a call only shows a message. One that also assigns, awaits, yields or calls what is not in `PURE` may do more."""
    inside = [node for argument in (*call.args, *call.keywords) for node in ast.walk(argument)]
    if any(isinstance(n, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)) for n in inside):
        return False
    if any(_last_name(node) not in PURE for node in inside if isinstance(node, ast.Call)):
        return False
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in LEVELS and _last_name(call.func.value).strip("_").lower() in LOGGERS
    return _last_name(call.func) in MESSAGES


def _is_text(node: ast.AST) -> bool:
    """Whether an expression is text: a literal, an f-string, or a sum, conditional or method of one."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and _is_text(node.func.value)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _written(value: Any) -> Iterator[str]:
    """A tree as text, ASCII. Fields that are empty are left out: later versions of Python have more of them."""
    if isinstance(value, ast.AST):
        yield f"{type(value).__name__}("
        for name, part in ast.iter_fields(value):
            if name not in UNWRITTEN and part is not None and part != []:
                yield f"{name}="
                yield from _written(part)
                yield ";"
        yield ")"
    elif isinstance(value, list):
        yield "["
        for part in value:
            yield from _written(part)
            yield ","
        yield "]"
    else:
        yield ascii(value)
