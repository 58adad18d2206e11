"""Cost of the line against the tools that it replaces: `make bench`."""

import os

os.environ.setdefault("LABELFACTORY_STORE_GB", "0")  # what a benchmark makes twice is to be computed twice
