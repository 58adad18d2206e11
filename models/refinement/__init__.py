"""Refinement: sharpen per-pixel scores or labels with the photograph.

Each method module holds `refine_scores` and `refine_labels` with the same signatures.
"""
