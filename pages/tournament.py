"""The report of the last tournament of methods, as it is, under links to the other pages."""

from labelfactory.errors import MissingError
from pages.links import PAGES
from pages.project import Project
from reporting.tournament_file import POLICY, REPORT, photographs_on

HEADERS = {"content-security-policy": f"{POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
"""The script that may run is the one that this version writes, whatever the file has."""
LINKS = "".join(f'<a href="{href}">{name}</a>' for name, href in PAGES)


def tournament_page(project: Project) -> str:
    """The report, if no withdrawn image can be in it: nothing was withdrawn, or the data set holds all images that it lists.

    Raises:
        MissingError: there is none, or it may show what is withdrawn.
    """
    try:
        report = REPORT.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise MissingError("there is no report of a tournament yet", "Type `labelfactory tournament`.") from None
    if not project.holds_all(photographs_on(report)):
        raise MissingError(
            "the report of the tournament shows images that are withdrawn, or may show them",
            "Type the same `labelfactory tournament …` again: it makes another one.",
        )
    return report.replace("<body>", f'<body>\n<nav aria-label="Pages">{LINKS}</nav>', 1)
