"""The result of a tournament in words: the same in the terminal and on the page. Code stands between backticks."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from labelfactory.tournament import AGAIN, BASELINE, Contender, Results, ShownGain
from reporting.formats import NBSP, duration, finite, points, times

SHOWN = 6
"""Names that a sentence lists."""


@dataclass(frozen=True)
class Verdict:
    """What the tournament says to do.

    Attributes:
        kind: `adopt` a winner, `stay` with the baseline, or choose by a `guess` without true masks.
        sentence: one sentence with the method, its gain and its cost.
        command: what to type for it; empty for nothing.
        remarks: what else decides, such as another contender that is cheaper.
    """

    kind: Literal["adopt", "stay", "guess"]
    sentence: str
    command: str = ""
    remarks: tuple[str, ...] = ()


def verdict(results: Results) -> Verdict:
    """The sentence on top of the report."""
    if not results.with_truth:
        return _guessed(results)
    winner = results.winner
    if winner is not None:
        return _adopted(results, winner)
    return _stayed(results)


def _adopted(results: Results, winner: Contender) -> Verdict:
    sentence = f"Use `{winner.name}`: {gained(winner.gain)} over the baseline, {cost_of(winner, baseline_of(results))}."
    remarks = []
    weak = [seed for seed, gain in winner.by_seed.items() if gain.value is not None and gain.value <= 0]
    if weak:
        shown = ", ".join(
            f"{points(gain.value or 0)} with seed {seed}" for seed, gain in winner.by_seed.items() if seed in weak
        )
        remarks.append(f"Not with every seed: {shown}.")
    at_best = winner.gain_at_best
    if at_best is not None and at_best.value is not None and at_best.verdict != "better":
        remarks.append(
            f"With the best threshold for both, its gain is {points(at_best.value)}{_interval(at_best)}: perhaps its threshold "
            f"is the better one, not its maps."
        )
    cheaper = [c for c in _better(results) if c is not winner and _less(c.cost, winner.cost)]
    if cheaper:
        shown = "; ".join(f"`{c.name}`, {points(_value(c.gain))} at {times(c.cost)}" for c in cheaper[:3])
        remarks.append(f"Also certainly better than the baseline, and cheaper: {shown}.")
    scored = [c for c in results.contenders if c.name != BASELINE and finite(c.score) is not None]
    if len(scored) > 2:
        remarks.append(
            f"It is the best of {len(scored)} on the photographs that score it; on others its gain is probably "
            f"somewhat smaller."
        )
    return Verdict("adopt", sentence, adopt(winner.name), tuple(remarks))


def _stayed(results: Results) -> Verdict:
    others = [c for c in results.contenders if c.name != BASELINE]
    finished = [c for c in others if c.state == "finished"]
    if not others:
        return Verdict("stay", "The baseline ran alone: there is nothing to compare it with.")
    if not finished:
        return Verdict("stay", "No contender has finished, so there is nothing to choose from yet.")
    if finite(baseline_of(results).score) is None:
        return Verdict("stay", "The baseline has no score, so it is not known what the contenders gain.")
    waiting = ", ".join(f"`{c.name}`" for c in others if c.state == "not finished")
    sentence = "No contender is certainly better than the baseline: stay with params.yaml as it is."
    if waiting:
        sentence = f"No contender that finished is certainly better than the baseline. Not finished: {waiting}."
    known = [c for c in finished if c.gain is not None and finite(c.gain.value) is not None]
    if not known:
        return Verdict("stay", sentence)
    first = max(known, key=lambda c: _value(c.gain))
    word = "which cannot be told from none" if first.gain and first.gain.verdict != "worse" else "which is a loss"
    return Verdict(
        "stay", sentence, remarks=(f"The largest gain is that of `{first.name}`: {gained(first.gain)}, {word}.",)
    )


def _guessed(results: Results) -> Verdict:
    ranked = [c for c in results.contenders if c.state == "finished" and finite(c.guess) is not None]
    if not results.guess or not ranked:
        return Verdict("guess", "There are no true masks, and nothing else that ranks the contenders.")
    first = max(ranked, key=lambda c: c.guess or 0.0)
    remarks = (
        f"This ranks by {results.guess}, which the line finds without true masks. It is not a measured score, and a gain is not "
        f"known.",
        trust(results)
        or "How far this ranking is right cannot be told on these photographs. To check it, adopt it, type "
        "`labelfactory run`, and audit a sample of the masks: `labelfactory review sample`.",
    )
    if first.name == BASELINE:
        return Verdict(
            "guess", "There are no true masks; by the line's own guess the baseline is the best.", "", remarks
        )
    best = f"by the line's own guess `{first.name}` is the best, {cost_of(first, baseline_of(results))}"
    sentence = f"There are no true masks; {best}."
    return Verdict("guess", sentence, adopt(first.name), remarks)


def trust(results: Results) -> str:
    """How far the ranking without true masks was right where they were there; empty where that is not known."""
    known = results.guess_was_right
    if known is None:
        return ""
    chosen = f"it would have chosen `{known.chosen}`"
    if finite(known.behind) is not None:
        chosen += ", the best" if known.behind <= 0 else f", {100 * known.behind:.1f} points behind the best"
    tau = finite(known.tau)
    words = "" if tau is None else f" Kendall's τ of the two rankings is {tau:.2f} (1: the same, 0: no relation)."
    chosen += f".{words.replace('-', '−')}"
    return f"Without true masks the line would rank by {results.guess or 'its own guess'}: {chosen}"


def warnings(results: Results) -> list[str]:
    """What a reader must know before the figures."""
    found = []
    if results.partly:
        found.append(f"{results.partly} photographs of the list have no true mask and are in no score.")
    chosen = results.winner if results.with_truth else None
    strong = sorted(set(chosen.supervision) - set(baseline_of(results).supervision)) if chosen else []
    if chosen and strong:
        found.append(f"`{chosen.name}` has seen other labels than the baseline: {', '.join(strong)}.")
    if len(results.seeds) == 1:
        found.append(
            f"One seed ({results.seeds[0]}): the intervals tell the chance of the photographs, not that of another training."
        )
    failed = [c.name for c in results.contenders if c.state == "failed"]
    if failed:
        found.append(f"Failed: {_names(failed)}. The table has the errors.")
    waiting = [c.name for c in results.contenders if c.state == "not finished"]
    if waiting:
        found.append(f"Not finished: {_names(waiting)}. {AGAIN}")
    if results.dirty:
        found.append("The code had changes that are in no commit, so that the commit alone does not repeat it.")
    return found


def state_of(contender: Contender, results: Results) -> str:
    """Why a contender has no rank; empty for one that finished."""
    if contender.state == "dropped":
        for number, each in enumerate(results.rounds, start=1):
            if contender.name in each.dropped:
                return f"dropped after round {number}, of {each.images} images"
        return "dropped"
    if contender.state == "not finished":
        return "not finished: the budget ended before"
    return contender.state if contender.state != "finished" else ""


def cost_of(contender: Contender, baseline: Contender) -> str:
    """Its time against the baseline's, in words."""
    if finite(contender.cost) is None:
        return "at a cost that is not known"
    own, other = seconds_of(contender), seconds_of(baseline)
    beside = f" ({duration(own)} a seed in place of {duration(other)})" if own is not None and other is not None else ""
    factor = times(contender.cost).removesuffix(f"{NBSP}×")
    return f"in the same time{beside}" if factor == "1" else f"in {factor} times the time{beside}"


def seconds_of(contender: Contender) -> float | None:
    """Mean seconds of a seed; None where one is not known."""
    known = [seconds for run in contender.runs if (seconds := finite(run.seconds)) is not None]
    return fmean(known) if known and len(known) == len(contender.runs) else None


def memory_of(contender: Contender) -> int | None:
    """The most megabytes of any seed."""
    return max((run.memory_mb for run in contender.runs if run.memory_mb is not None), default=None)


def gained(gain: ShownGain | None) -> str:
    """`+2.3 points of mIoU (95 %: +1.1 to +3.4)`."""
    if gain is None or finite(gain.value) is None:
        return "a gain that is not known"
    return f"{points(_value(gain))} points of mIoU{_interval(gain)}"


def interval(gain: ShownGain | None) -> str:
    """`+1.1 to +3.4`; empty where there is none."""
    low, high = (finite(gain.low), finite(gain.high)) if gain is not None else (None, None)
    return f"{points(low)} to {points(high)}" if low is not None and high is not None else ""


def adopt(name: str) -> str:
    """The command that puts a contender's values into params.yaml."""
    return f"labelfactory tournament --adopt{'=' if name.startswith('-') else ' '}{shlex.quote(name)}"


def repeated(results: Results) -> str:
    """The command that runs the tournament again."""
    return results.command or f"labelfactory tournament {results.title}".strip()


def baseline_of(results: Results) -> Contender:
    """The first contender; an empty one where there is none."""
    return next(iter(results.contenders), Contender(name=BASELINE))


def _better(results: Results) -> Iterable[Contender]:
    return (c for c in results.contenders if c.state == "finished" and c.gain and c.gain.verdict == "better")


def _interval(gain: ShownGain) -> str:
    text = interval(gain)
    return f" (95{NBSP}%: {text})" if text else ""


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:SHOWN]) + more


def _value(gain: ShownGain | None) -> float:
    return (finite(gain.value) if gain is not None else None) or 0.0


def _less(cost: float | None, other: float | None) -> bool:
    return cost is not None and other is not None and cost < 0.95 * other
