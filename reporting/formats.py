"""Numbers and messages as a person reads them."""

import math
import re

from markupsafe import Markup, escape

NBSP = "\u00a0"
"""Keeps a number and its unit on one line."""


def percent(fraction: float) -> str:
    """A fraction in per cent with one decimal, without the sign; a dash for NaN."""
    return f"{100 * fraction:.1f}" if math.isfinite(fraction) else "–"


def points(difference: float) -> str:
    """A difference of fractions in points, signed; a dash for NaN."""
    if not math.isfinite(difference):
        return "–"
    return f"{100 * difference:+.1f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """Seconds as a person says them; a dash when not known."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest}{NBSP}s"
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest:02d}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60:02d}{NBSP}min"


def memory(megabytes: int | None) -> str:
    """Megabytes as a person says them; a dash when not known."""
    if megabytes is None:
        return "–"
    return f"{megabytes}{NBSP}MB" if megabytes < 1000 else f"{megabytes / 1000:.1f}{NBSP}GB"


def with_code(text: str) -> Markup:
    """A message for the terminal on a page: what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def times(factor: float | None) -> str:
    """A factor with two digits, such as `1.4 ×`; a dash when not known."""
    if factor is None or not math.isfinite(factor):
        return "–"
    return f"{factor:.0f}{NBSP}×" if factor >= 99.5 else f"{factor:.2g}{NBSP}×"


def finite(value: float | None) -> float | None:
    """The number; None for one that is not known, NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def breakable(text: str) -> Markup:
    """A long name that may go on in the next line behind `_`, `.` and `/`."""
    return Markup(re.sub(r"([_./])", r"\1<wbr>", str(escape(text))))
