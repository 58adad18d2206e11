"""What the line costs, beside what it replaces: `make bench`."""
