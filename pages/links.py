"""Addresses: of this site's own pages, and of runs in MLflow and Prefect, if those are known."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from pages.project import Project

PAGES = (("Line", "/"), ("Images", "/images"), ("Models", "/models"), ("Diff", "/diff"))
"""Name and address of the pages that every project has."""
FLOW_RUN = "prefect.flow_run_id"
"""The tag under which the record names the flow run that a line belongs to."""


def image_link(image_id: str, **more: object) -> str:
    """The page of an image. Its id stands in the query: no part of a path, whatever it holds."""
    return "/image?" + urlencode({"id": image_id, **{k: v for k, v in more.items() if v not in (None, "")}})


def picture_link(name: str, image_id: str, version: str) -> str:
    """A layer of an image."""
    return f"/picture/{name}?" + urlencode({"id": image_id, "v": version})


def model_link(name: str, version: int) -> str:
    """The page of a model."""
    return f"/models/{quote(name, safe='')}/{version}"


def run_links(project: Project, run: str, tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name, address) of the pages that other programs have of an execution or a line.

    Args:
        project: has the addresses of those programs.
        run: the execution's or line's id in the ledger.
        tags: of the line that it belongs to.
    """
    links = []
    known = (project.runs.answer or {}).get(run)
    if known and project.addresses.mlflow:
        address = f"{project.addresses.mlflow}/#/experiments/{quote(known['experiment'])}/runs/{quote(known['run'])}"
        links.append(("MLflow", address))
    if tags.get(FLOW_RUN) and project.addresses.prefect:
        links.append(("Prefect", f"{project.addresses.prefect}/runs/flow-run/{quote(tags[FLOW_RUN], safe='')}"))
    return links
