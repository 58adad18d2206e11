"""The rows of the table of contenders: rank, state, intervals on one scale, and what each column is sorted by."""

import json
from dataclasses import dataclass
from typing import Any

from labelfactory.tournament import BASELINE, Contender, Results, ShownGain
from reporting.formats import finite
from reporting.tournament_words import memory_of, seconds_of, state_of

LEAST_SPAN = 0.02
"""Of the scale of gains: smaller ones are not blown up."""


@dataclass(frozen=True)
class Bar:
    """An interval on the scale, in per cent of its width; `cut`: it begins beyond the left edge."""

    left: float
    width: float
    dot: float
    cut: bool


@dataclass(frozen=True)
class Scale:
    """The scale of gains in the table: its ends as fractions, and where 0 is in per cent."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """A gain's place, in per cent of the width."""
        return 100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    @property
    def zero(self) -> float:
        """The place of 0."""
        return self.at(0.0)


@dataclass(frozen=True)
class TableRow:
    """A contender as the table shows it.

    Attributes:
        rank: of those that finished, from 1; None for the baseline and for others.
        state: why it has no rank, in words.
        bar: its gain on the scale; None where it is not known.
        seeds: seed, score and gain of each seed.
        settings: parameters that differ from params.yaml: name and value.
        other_labels: kinds of labels that the baseline has not seen.
        keys: what each column is sorted by; a column without a value is left out.
    """

    contender: Contender
    rank: int | None
    state: str
    bar: Bar | None
    seeds: list[tuple[int, float | None, ShownGain | None]]
    seconds: float | None
    memory_mb: int | None
    settings: list[tuple[str, str]]
    other_labels: set[str]
    keys: dict[str, str]

    @property
    def is_baseline(self) -> bool:
        """Whether it is params.yaml as it stands."""
        return self.contender.name == BASELINE


def ranks_of(results: Results) -> dict[str, int]:
    """Name → rank of the contenders that finished and have what ranks them; the baseline has none."""
    finished = [c for c in results.contenders if c.state == "finished" and c.name != BASELINE]
    ranked = [c.name for c in finished if finite(c.score if results.with_truth else c.guess) is not None]
    return {name: rank for rank, name in enumerate(ranked, start=1)}


def table_rows(results: Results, ranks: dict[str, int]) -> tuple[list[TableRow], Scale]:
    """The rows in the order of the results, and the scale of their gains."""
    scale = scale_of([c.gain for c in results.contenders if c.gain is not None])
    usual = set(next((c.supervision for c in results.contenders if c.name == BASELINE), ()))
    return [_row(c, results, ranks.get(c.name), scale, usual) for c in results.contenders], scale


def scale_of(gains: list[ShownGain]) -> Scale:
    """A scale that has 0 and all intervals; one loss far larger than the gains does not squeeze them."""
    known = [finite(end) for gain in gains for end in (gain.low, gain.value, gain.high)]
    ends = [0.0, *(end for end in known if end is not None)]
    low, high = min(ends), max(ends)
    low = max(low, -max(2 * high, 0.05))
    if high - low < LEAST_SPAN:
        low, high = low - LEAST_SPAN / 2, high + LEAST_SPAN / 2
    room = 0.04 * (high - low)
    return Scale(low - room, high + room)


def _row(contender: Contender, results: Results, rank: int | None, scale: Scale, usual: set[str]) -> TableRow:
    seconds, memory = seconds_of(contender), memory_of(contender)
    gain, at_best = contender.gain, contender.gain_at_best
    values = {
        "rank": rank,
        "score": contender.score,
        "gain": gain.value if gain else None,
        "best": at_best.value if at_best else None,
        "guess": contender.guess,
        "cost": contender.cost,
        "seconds": seconds,
        "memory": memory,
    }
    keys = {name: repr(value) for name, value in values.items() if finite(value) is not None}
    return TableRow(
        contender,
        rank,
        state_of(contender, results),
        _bar(gain, scale),
        _seeds(contender),
        seconds,
        memory,
        [(name, plain(value)) for name, value in contender.overlay.items()],
        set(contender.supervision) - usual,
        {**keys, "name": contender.name},
    )


def _bar(gain: ShownGain | None, scale: Scale) -> Bar | None:
    value = finite(gain.value) if gain is not None else None
    if gain is None or value is None:
        return None
    low, high = finite(gain.low), finite(gain.high)
    low, high = value if low is None else low, value if high is None else high
    return Bar(scale.at(low), scale.at(high) - scale.at(low), scale.at(value), low < scale.low)


def _seeds(contender: Contender) -> list[tuple[int, float | None, ShownGain | None]]:
    scores = {run.seed: run.score for run in contender.runs}
    return [(seed, scores.get(seed), contender.by_seed.get(seed)) for seed in sorted({*scores, *contender.by_seed})]


def plain(value: Any) -> str:
    """A parameter's value as YAML shows it in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
