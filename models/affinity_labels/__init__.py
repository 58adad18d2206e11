"""Affinity labels: the pixels of a seed that can be trusted, void between. Each method module holds

confident_labels(image, cam, *, thresholds, scale, **knobs) -> [H, W] uint8: 0 background, k + 1 for channel k, 255 void
"""
