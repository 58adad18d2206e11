"""A sweep as one plot."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from flows.sweeps.table import Outcome, columns

MARKERS = ("o", "s", "^", "D", "v", "P")


def as_svg(outcomes: Sequence[Outcome]) -> str:
    """One plot: along the parameter if only one numeric parameter varies, else one row per variant.

    The same outcomes give the same bytes.
    """
    done = [outcome for outcome in outcomes if outcome.scores]
    settings, scores = columns(done)
    along = settings[0] if len(settings) == 1 and all(_is_number(o.settings[settings[0]]) for o in done) else ""
    if along:
        done = sorted(done, key=lambda outcome: float(outcome.settings[along]))
    style: dict[str, Any] = {"svg.hashsalt": "labelfactory", "svg.fonttype": "none"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7, 4) if along else (7, 1.6 + 0.35 * len(done)), layout="constrained")
        axes = figure.add_subplot()
        rows = list(range(len(done)))
        for marker, name in zip(MARKERS * len(scores), scores, strict=False):
            values = [100 * o.scores.get(name, math.nan) for o in done]
            if along:
                axes.plot([float(o.settings[along]) for o in done], values, marker=marker, label=name)
            else:
                axes.plot(values, rows, marker=marker, linestyle="none", label=name)
        if along:
            axes.set_xlabel(along)
            axes.set_ylabel("mIoU, %")
        else:
            axes.set_yticks(rows, [_settings_in_words(o.settings) for o in done])
            axes.invert_yaxis()
            axes.set_xlabel("mIoU, %")
        axes.grid(alpha=0.3)
        if scores:
            axes.legend(frameon=False, fontsize="small")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _settings_in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={value}" for name, value in settings.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
