"""`labelfactory audit …`: the origin of a model, a mask or a pixel, differences, and a check of all digests."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from flows.line.kept_answers import kept
from labelfactory.console import printable, show
from labelfactory.errors import UserError
from reporting.phrases import NOT_MEASURED

if TYPE_CHECKING:
    from lineage.lookup import Lookup

CHANGING = re.compile(r"@\{|:/|\^\{/")
"""In a name of a commit that means another one later: by a time, the reflog, or a message."""
cli = typer.Typer(
    help="Show where a model, mask or pixel comes from, what changed, and what does not match.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SHORT = 12
"""Digits of a digest in printed output; --json has all."""
FEW = 3
"""Rows of a model that are printed as examples."""
SHOWN = 20
"""Images that are listed; --json has all."""
SEVERAL_CAUSES = (
    "A mask with several causes counts under each of them; `alone` counts those with no other cause. The effect of each of several "
    "is not recorded: reset one of the settings, run again, and ask for that difference."
)


@cli.command()
def model(
    name: Annotated[
        str,
        typer.Argument(help="segmenter, segmenter@3, 3, latest, champion, a digest's digits, or a checkpoint's file."),
    ],
    as_json: Json = False,
) -> None:
    """Show a model: its masks, parents, parameters, commit, supervision and scores."""
    path = Path(name)
    if path.is_file() or (path.is_dir() and (path / "checkpoint.safetensors").exists()):
        from lineage.audit import audit_file, rows_of_file

        answer, rows = audit_file(path), rows_of_file(path)
    else:
        answer, rows = _asked(_of_model, name)
    _print(answer | {"rows": rows} if as_json else _with_a_few_rows(answer, rows, name), as_json)
    if answer["problems"]:
        raise typer.Exit(2)


def _with_a_few_rows(answer: dict[str, Any], rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The answer with the first training rows of the model and the command for all, below `training`."""
    if "scores" in answer:
        answer = answer | {"scores": answer["scores"] or NOT_MEASURED}
    few = {f"first {FEW} rows": rows[:FEW], "every_row": f"labelfactory audit model {name} --json"}
    shown: dict[str, Any] = {}
    for part, value in answer.items():
        shown |= {part: value} | (few if part == "training" else {})
    return shown


@cli.command()
def mask(
    image_id: Annotated[str, typer.Argument(help="The image's id in the import.")],
    version: Annotated[int | None, typer.Option(help="Number of the mask, from 1. Default: the one in data/.")] = None,
    as_json: Json = False,
) -> None:
    """Show the chain behind a mask, and every model that ever learnt from the image."""
    _print(_asked(_of_mask, image_id, version), as_json)


@cli.command()
def pixel(
    image_id: Annotated[str, typer.Argument(help="The image's id in the import.")],
    x: Annotated[int, typer.Argument(help="Column, from 0 at the left.")],
    y: Annotated[int, typer.Argument(help="Row, from 0 at the top.")],
    as_json: Json = False,
) -> None:
    """Say why a pixel has its class: each class's score in the CAM, the walk and the CRF."""
    from lineage.pixel import audit_pixel  # torch, which takes seconds to load

    _print(audit_pixel(image_id, x, y), as_json)


@cli.command()
def diff(
    first: Annotated[
        str, typer.Argument(help="A model, a run, a commit, `now`, or a folder of shards or of an export.")
    ],
    second: Annotated[str, typer.Argument(help="The other.")],
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for pictures of the 20 masks that changed most.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which masks were added, removed and changed between two sides, and why."""
    answer = _asked(_between, first, second, pictures)
    words = {"scores": NOT_MEASURED, "settings": "not there"}
    shown = {part: [_with(word, item) for item in answer[part]] for part, word in words.items()}
    _print(answer if as_json else answer | shown, as_json)
    if not as_json and len(answer["causes"]) > 1:
        typer.echo(SEVERAL_CAUSES)


@cli.command()
def verify(
    deep: Annotated[bool, typer.Option("--deep", help="Every payload, photograph and kept checkpoint too.")] = False,
    as_json: Json = False,
) -> None:
    """Recompute the digests and name everything that does not fit; exit 2 if anything does not.

    Only looks, except that a withdrawal which was interrupted, or of which something came back, is finished first.
    """
    from flows.line.unfinished import finishing_withdrawals
    from lineage.verify import verify as find_misfits

    with finishing_withdrawals("labelfactory audit verify", thorough=True):
        pass
    findings = find_misfits(deep=deep)
    if as_json:
        typer.echo(json.dumps({"fits": not findings, "findings": [f.__dict__ for f in findings]}, indent=2))
    else:
        for finding in findings:
            show(f"{finding.where}: {finding.what}")
        typer.echo(f"{len(findings)} finding{'s' * (len(findings) > 1)}" if findings else "everything fits")
    if findings:
        raise typer.Exit(2)


def _with(word: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with a word in place of each None."""
    return {name: word if value is None else value for name, value in item.items()}


def _of_model(ledger: "Lookup", name: str) -> list[Any]:
    from lineage.audit import audit_model, rows_of_model

    return [audit_model(ledger, name), rows_of_model(ledger, name)]


def _of_mask(ledger: "Lookup", image_id: str, version: int | None) -> dict[str, Any]:
    from lineage.mask_audit import audit_mask

    return audit_mask(ledger, image_id, version)


def _between(ledger: "Lookup", first: str, second: str, pictures: Path | None) -> dict[str, Any]:
    from lineage.diff import diff

    return diff(ledger, first, second, pictures)


def _asked(question: Callable[..., Any], *words: Any) -> Any:
    """The ledger's answer after recording what is on the disk; its last one where nothing has changed since.

    Args:
        question: gets the ledger and the words.
        words: what was typed. A path may lead out of the project, pictures are drawn each time, and a commit may be named by a
            time: such a question is asked anew.
    """

    def ask() -> dict[str, Any]:
        ledger, problem = _recorded()
        return {"problem": problem, "answer": question(ledger, *words)}

    if any(isinstance(word, Path) or CHANGING.search(str(word)) or os.path.exists(str(word)) for word in words):  # noqa: PTH110  # of any word, without errors
        found = ask()
    else:
        found = kept([question.__name__, *(str(word) for word in words)], ask, lambda new: not new["problem"])
    _say(found["problem"])
    return found["answer"]


def recorded_ledger() -> "Lookup":
    """The ledger after recording what is on the disk; as it is if that cannot be recorded."""
    ledger, problem = _recorded()
    _say(problem)
    return ledger


def _recorded() -> "tuple[Lookup, str]":
    """The ledger, and why it could not be recorded what is on the disk; empty where it could."""
    from lineage.lookup import open_ledger  # DuckDB and Arrow, which take a second to load
    from lineage.record import record

    try:
        record()
    except UserError as error:
        return open_ledger(), error.problem
    return open_ledger(), ""


def _say(problem: str) -> None:
    if problem:
        typer.echo(f"the files on the disk could not be recorded: {problem}", err=True)


def _print(answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2, default=str))
        return
    console = Console(soft_wrap=True)
    for name, value in answer.items():
        if value not in ([], {}, None, ""):
            _show(console, name, value, "")


def _show(console: Console, name: str, value: Any, indent: str) -> None:
    """Print one value under its name: nested values below it, one line per mapping of a list."""
    title = f"{indent}[bold]{escape(printable(name.replace('_', ' ')))}[/]"
    if isinstance(value, Mapping):
        console.print(title)
        for key, inner in value.items():
            _show(console, str(key), inner, indent + "  ")
    elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(v, Mapping) for v in value):
        console.print(title)
        for item in value[:SHOWN]:
            console.print(escape(f"{indent}  {_one_line(item)}"))
        _more(console, value, indent)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        console.print(f"{title}  {escape(', '.join(plain(v) for v in value[:SHOWN]))}")
        _more(console, value, indent)
    else:
        console.print(f"{title}  {escape(plain(value))}")


def _more(console: Console, value: Sequence[Any], indent: str) -> None:
    if len(value) > SHOWN:
        console.print(f"{indent}  and {len(value) - SHOWN} more")


def _one_line(item: Any) -> str:
    if not isinstance(item, Mapping):
        return plain(item)
    parts = []
    for name, value in item.items():
        if isinstance(value, Mapping):
            value = f"({_one_line(value)})"
        elif isinstance(value, list):
            value = f"[{'; '.join(_one_line(v) for v in value)}]" if value else None
        if value not in (None, "", "()"):
            parts.append(f"{name.replace('_', ' ')} {plain(value)}")
    return ", ".join(parts)


def plain(value: Any) -> str:
    """A digest by its first digits, a number with four digits, anything else unchanged; --json has all."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    text = printable(str(value))
    if len(text) == 64 and all(c in "0123456789abcdef" for c in text):
        return text[:SHORT]
    return text
