"""The report of the last tournament of methods, as it is, under links to the other pages."""

from labelfactory.errors import MissingError, UserError
from labelfactory.stage.given import digest_of_all_given
from labelfactory.tournament import REPORT, read_results
from pages.links import PAGES
from pages.project import Project
from reporting.tournament_file import POLICY, photographs_on

HEADERS = {"content-security-policy": f"{POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
"""The script that may run is the one that this version writes, whatever the file has."""
OF_BEFORE = (
    '<div class="notes" role="note" style="margin: 16px"><strong>This tournament is of before.</strong> '
    "Parameters, import or corrections have changed since: its baseline is what they were then.</div>"
)
"""What a report begins with whose baseline is not that of now."""
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
    before = OF_BEFORE if _is_of_before() else ""
    return report.replace("<body>", f'<body>\n<nav aria-label="Pages">{LINKS}</nav>{before}', 1)


def _is_of_before() -> bool:
    """Whether params.yaml, import or corrections are others now than when the tournament began, as far as it says."""
    try:
        given = read_results().given
        return bool(given) and given != digest_of_all_given()
    except UserError:
        return False
