"""Propagation: how seed scores spread over the affinity grid. Each method module holds `walk` with one signature."""
