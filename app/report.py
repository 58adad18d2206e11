"""`labelfactory report`: the line's table, and the path of the HTML report."""

from dataclasses import asdict

from app.table import print_table
from flows.line.kept_answers import kept
from flows.line.summary import REPORT, LineSummary, StageSummary, read_summary
from labelfactory.errors import MissingError


def report() -> None:
    """Print the line's table and the path of the HTML report."""
    if not REPORT.exists():
        raise MissingError(f"{REPORT}: there is no report yet", "Type `labelfactory run`.")
    found = kept(["report"], lambda: asdict(read_summary()))
    stages = tuple(StageSummary(**{**stage, "scores": tuple(stage["scores"])}) for stage in found["stages"])
    print_table(LineSummary(tuple(found["splits"]), stages, tuple(found["notes"]), found["is_current"]))
