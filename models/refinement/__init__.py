"""Refinement: align class scores with the edges of the photograph. Each method module holds

    refine(image, scores, *, threshold, scale, **knobs) -> [1 + K, H, W] float32, the background first, sum 1

for scores [K, H, W] in [0, 1] at the image's size; `scale` is the image's against its photograph. `refined` does what all
methods share.
"""

from models.refinement._refined import Refined, refined

__all__ = ["Refined", "refined"]
