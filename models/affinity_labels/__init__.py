"""Affinity labels: the pixels of a seed that can be trusted, void between. Each method holds `confident_labels`."""
