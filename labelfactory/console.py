"""Plain lines for the terminal or the log, and durations and sizes in words."""

import sys


def in_time(seconds: float) -> str:
    """Seconds as a person says them: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def in_bytes(size: int) -> str:
    """Bytes as a person says them: 250 MB, 3.2 GB; never nothing for something."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 1):.0f} MB"


def say(text: str) -> None:
    """One plain line to the terminal or the log, at once."""
    print(text, file=sys.stderr, flush=True)
