"""Cost of the line against the tools that it replaces: `make bench`."""
