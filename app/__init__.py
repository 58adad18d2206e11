"""The command line: one file per command."""

import os
import signal
import sys
from pathlib import PurePath


def _open_closed_streams() -> None:
    """Open /dev/null for standard streams that were closed by who started this: else what is printed goes to the next open file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(null, True)
            setattr(sys, name, open(null, "w" if number else "r", closefd=False, encoding="utf-8"))  # noqa: SIM115


if PurePath(sys.argv[0]).name == "labelfactory":
    # until `main` can say what is kept: an import cannot be interrupted without a traceback
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    _open_closed_streams()
