"""The command line: one file per command."""

import signal
import sys
from pathlib import PurePath

if PurePath(sys.argv[0]).name == "labelfactory":
    # until `main` can say what is kept: an import cannot be interrupted without a traceback
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
