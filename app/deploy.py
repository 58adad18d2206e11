"""`labelfactory deploy`: register the flows with the server, with or without a schedule."""

from typing import Annotated

import typer

from flows.server.api import find_api


def deploy(
    cron: Annotated[str, typer.Option(help='Schedule on which new images are labelled, such as "0 3 * * *".')] = "",
    pool: Annotated[str, typer.Option(help="Pool of all flows. Default: those in prefect.yaml.")] = "",
    source: Annotated[
        str, typer.Option(help="Folder of new images for the scheduled run. Default: that of the import.")
    ] = "",
) -> None:
    """Register the deployments of prefect.yaml; --cron turns the schedule of `nightly` on."""
    api = find_api()
    from flows.server.deployments import (
        deploy as register,  # loads Prefect and torch: only once the server has answered
    )

    names, left_out = register(api, cron=cron, pool=pool, source=source)
    for name in names:
        typer.echo(name)
    for name in left_out:
        typer.echo(
            f"{name}: no worker, so no deployments; after `labelfactory up --pool {name}` type `labelfactory deploy` again"
        )
    if cron:
        typer.echo(
            "The schedule runs while `labelfactory up` does; docs/deployment.md has a unit that starts it at boot."
        )
    typer.echo(f"Type `labelfactory run --on {pool or 'cpu'}`, or open {api.page}")
