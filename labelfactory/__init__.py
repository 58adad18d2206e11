"""The ground floor: what several stages share. Imports nothing from the floors above."""

import os

__version__ = "0.1.0"

PACKAGES = ("labelfactory", "reporting", "sources", "models", "stages", "exports", "lineage", "flows", "pages", "app")
"""The packages of the program: this floor and those above it."""

# OpenMP threads that wait by spinning keep cores from other work: with another program running, training on two threads was
# measured 3 to 4 times slower. OpenMP reads this when torch is imported, which happens after this line.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
