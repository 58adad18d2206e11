"""Propagation: how seed scores spread over the affinity grid. Each method module holds `walk`, all with one signature."""
