"""What a run will find and do, stage by stage, as it is shown. Imports neither DVC nor torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from labelfactory.settings.wiring import read_wiring


@dataclass(frozen=True)
class StageState:
    """DVC's state of a stage: `up to date`, `stale`, `never run` or `frozen`, and the reasons."""

    name: str
    state: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What one stage will do.

    Attributes:
        stage: its name.
        runs: whether there is anything to do for it; a stage that DVC calls stale may have nothing.
        rows: rows that it computes, at most; 0 for a stage that makes none.
        removed: rows that go.
        seconds: how long, by its own pace; None where it has never run.
        found: rows that the store has, or 1 for a network or thresholds.
    """

    stage: str
    runs: bool
    rows: int = 0
    removed: int = 0
    seconds: float | None = 0.0
    found: int = 0


def in_words(costs: Sequence[Cost]) -> str:
    """One phrase: `120 rows and 3 networks, about 4 minutes`."""
    rows = sum(c.rows for c in costs)
    learn = sum(c.runs and not c.found and c.stage in read_wiring().learning for c in costs)
    before = sum(c.found for c in costs if c.stage not in read_wiring().learning)
    networks = sum(c.found for c in costs if c.stage in read_wiring().learning)
    unknown = sum(c.seconds is None for c in costs)
    minutes = sum(c.seconds or 0.0 for c in costs) / 60
    more = f" and {unknown} {'stage that has' if unknown == 1 else 'stages that have'} no pace yet" if unknown else ""
    learning = "stage that learns" if learn == 1 else "stages that learn"
    found = f"; found again: {before} rows, {networks} networks or thresholds" if before or networks else ""
    return f"at most {rows} rows, {learn} {learning}; about {minutes:.1f} minutes{more}{found}"
