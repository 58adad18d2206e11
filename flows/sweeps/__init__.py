"""A sweep: its variants, table and plot."""
