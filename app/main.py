"""The command `labelfactory`: one file per command, errors in two lines, exit codes 0, 2 and 1."""

import sys

import typer

from app import (
    audit,
    corrections,
    deploy,
    doctor,
    export,
    export_lineage,
    import_,
    package,
    predict,
    profile,
    promote,
    quarantine,
    record,
    report,
    run,
    status,
    storage,
    sweep,
    up,
    withdraw,
)
from flows.line import StageFailedError
from labelfactory.errors import UserError
from labelfactory.progress import say

cli = typer.Typer(
    name="labelfactory",
    help="From photographs with tags to pixel masks and a segmentation model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli.add_typer(import_.cli, name="import")
cli.command("run")(run.run)
cli.command("sweep")(sweep.sweep)
cli.command("status")(status.status)
cli.command("report")(report.report)
cli.command("export")(export.export)
cli.add_typer(corrections.cli, name="corrections")
cli.command("predict")(predict.predict)
cli.command("package")(package.package)
cli.command("profile")(profile.profile)
cli.command("record")(record.record)
cli.add_typer(audit.cli, name="audit")
cli.add_typer(quarantine.cli, name="quarantine")
cli.command("promote")(promote.promote)
cli.command("withdraw")(withdraw.withdraw)
cli.command("export-lineage")(export_lineage.export_lineage)
cli.command("doctor")(doctor.doctor)
cli.command("up")(up.start)
cli.command("down")(up.end)
cli.command("deploy")(deploy.deploy)
cli.command("push")(storage.push)
cli.command("pull")(storage.pull)


def main() -> None:
    """Run a command; what its user can mend ends in two lines and exit code 2."""
    try:
        cli()
    except UserError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except StageFailedError as error:
        say(
            f"error: {error}; its last lines above say why\nMend it and type `labelfactory run` again: finished rows are kept."
        )
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted; type the same command again and it goes on from here")
        sys.exit(130)
