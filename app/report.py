"""`labelfactory report`: the line's table, and the path of the HTML report."""

from app.table import print_table
from flows.line.summary import REPORT
from labelfactory.errors import MissingError


def report() -> None:
    """Print the line's table and the path of the HTML report."""
    if not REPORT.exists():
        raise MissingError(f"{REPORT}: there is no report yet", "Type `labelfactory run`.")
    print_table()
