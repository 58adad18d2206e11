"""The command `labelfactory`: one file per command, errors in two lines, exit codes 0, 2, 1, and 130 when interrupted."""

import importlib
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from app._mixed_code import mixed_code, mixed_remedy
from app._turns import in_turn
from flows.line.failure import StageFailedError
from labelfactory.console import say
from labelfactory.environment import without_foreign_git
from labelfactory.errors import UserError
from labelfactory.files import disk_error
from labelfactory.interrupt import interruptible
from labelfactory.masking import masked


class Command(NamedTuple):
    """Where a command's code is. Only the typed command's file is loaded: others load torch, DVC or MLflow."""

    module: str
    attribute: str
    does: str


COMMANDS = {
    "import": Command("import_", "cli", "Import photographs, tags and true masks; `labelfactory run` does the rest."),
    "run": Command("run", "run", "Run what is stale: `dvc repro` with checks before and a table after."),
    "sweep": Command(
        "sweep",
        "sweep",
        "Run the line once for each combination of values, as DVC experiments; params.yaml and data/ stay as they are.",
    ),
    "tournament": Command(
        "tournament",
        "tournament",
        "Hold methods against params.yaml as it stands, on the same photographs: gains with intervals, costs, one report.",
    ),
    "status": Command(
        "status",
        "status",
        "Show whether each stage is up to date, and if not, why; while a run is under way, how far it is.",
    ),
    "report": Command("report", "report", "Print the line's table and the path of the HTML report."),
    "quality": Command(
        "quality", "quality", "Show how good the masks probably are, by class and worst first; no true mask is needed."
    ),
    "export": Command("export", "export", "Write masks and photographs for other tools, with provenance.json."),
    "predict": Command(
        "predict", "predict", "Segment new pictures: a mask of class ids and a picture with the mask over it."
    ),
    "package": Command(
        "package", "package", "Write an ONNX file of the segmenter with its classes and normalisation inside."
    ),
    "parameters": Command(
        "parameters",
        "parameters",
        "Print every parameter and every knob of a method: meaning, range, value or default, and what it does (Markdown).",
    ),
    "profile": Command(
        "profile", "profile", "Apply a profile from profiles/ to params.yaml; comments and other values stay."
    ),
    "corrections": Command("corrections", "cli", "Masks edited by hand, which replace the line's."),
    "review": Command("review", "cli", "How good the masks are, from a few that a person audits."),
    "quarantine": Command("quarantine", "cli", "Samples that could not be processed: list, retry, release."),
    "record": Command(
        "record",
        "record",
        "Record what is on the disk: masks, models, runs. Recording the same state again adds nothing.",
    ),
    "audit": Command(
        "audit", "cli", "Show where a model, mask or pixel comes from, what changed, and what does not match."
    ),
    "compare": Command(
        "compare", "compare", "Show parameters that differ, scores by class, and seconds of two states side by side."
    ),
    "serve": Command("serve", "serve", "Show images, masks, models and the line as pages, at http://127.0.0.1:8600."),
    "promote": Command(
        "promote", "promote", "Give a segmenter the alias `champion`, in the ledger and in MLflow's registry."
    ),
    "withdraw": Command(
        "withdraw",
        "withdraw",
        "Remove images, mark every model that learnt from them, rerun what is stale, check that nothing is left.",
    ),
    "export-lineage": Command(
        "export_lineage", "export_lineage", "Write the ledger in the formats of OpenLineage and W3C PROV."
    ),
    "new": Command(
        "new",
        "new",
        "Make a project folder for another data set: code and parameters as committed here, DVC, git, and this environment.",
    ),
    "doctor": Command(
        "doctor",
        "doctor",
        "Check Python, the code, torch, weights, DVC, disk, GPU, params and the import; exit 2 if a check fails.",
    ),
    "up": Command(
        "up",
        "start",
        "Start Prefect's server, a worker for each pool and a watcher for dead runs; wait until they answer.",
    ),
    "down": Command("up", "end", "End the processes that `labelfactory up` started in this folder."),
    "deploy": Command(
        "deploy", "deploy", "Register the deployments of prefect.yaml; --cron turns the schedule of `nightly` on."
    ),
    "gc": Command(
        "gc",
        "gc",
        "Show what is kept of earlier outputs, and remove what was used longest ago until the rest is below a limit.",
    ),
    "push": Command(
        "storage",
        "push",
        "Send photographs, the import and the line's outputs to DVC's remote; only what it does not have.",
    ),
    "pull": Command("storage", "pull", "Fetch what another machine pushed, so that this clone continues from there."),
}


def command_line(*typed: str) -> typer.Typer:
    """All commands with their help; only those in `typed` can be run."""
    cli = typer.Typer(
        name="labelfactory",
        help="From photographs with tags to pixel masks and a segmentation model.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    cli.callback()(_options)
    for name, command in COMMANDS.items():
        if name not in typed:
            cli.command(name, help=command.does)(_not_loaded)
            continue
        loaded = getattr(importlib.import_module(f"app.{command.module}"), command.attribute)
        if isinstance(loaded, typer.Typer):
            cli.add_typer(loaded, name=name)
        else:
            cli.command(name)(loaded)
    return cli


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"labelfactory {version('labelfactory')}")
        raise typer.Exit


def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options without a command."""


def _not_loaded() -> None:
    """Placeholder of a command that was not typed."""
    raise LookupError("only the command that was typed can be run")


def main() -> None:
    """Run a command; an error that the user can mend prints two lines and exits with 2."""
    without_foreign_git()
    with interruptible(masked(shlex.join(["labelfactory", *sys.argv[1:]]))):
        _run([word for word in sys.argv[1:] if not word.startswith("-")])


def _run(words: list[str]) -> None:
    if (mixed := mixed_code()) and words[:1] != ["doctor"]:  # which says it as a finding
        say(f"warning: {mixed}. {mixed_remedy()}")
    try:
        in_turn(typer.main.get_command(command_line(*words[:1])))()
    except UserError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except StageFailedError as error:
        say(
            f"error: {error}; its last lines above say why\nMend it and type `labelfactory run` again: finished rows are kept."
        )
        sys.exit(error.exit_code)
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):  # `| head` has closed the pipe; Typer would exit with 1
            sys.exit(0)
        raise
    except OSError as error:
        problem = disk_error(Path(error.filename or "a file"), error)
        if problem is None:
            raise
        say(f"error: {problem}")
        sys.exit(problem.exit_code)
