"""Affinity: how alike two nearby cells of an image are. Each method module holds a network and its affinities."""
