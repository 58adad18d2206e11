"""Rows of per-image outputs: columns, shards, and the engine that computes what changed and copies the rest."""
