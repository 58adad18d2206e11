"""Plain lines for the terminal or the log, and durations and sizes in words."""

import sys


def in_time(seconds: float) -> str:
    """Seconds in a readable unit: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def in_bytes(size: int) -> str:
    """Bytes in a readable unit: 250 MB, 3.2 GB; at least 1 MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 1):.0f} MB"


def say(text: str) -> None:
    """Print one plain line to the terminal or the log, unbuffered."""
    print(text, file=sys.stderr, flush=True)
