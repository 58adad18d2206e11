"""Audit a sample of the masks, and estimate from it how good all of them are."""
