"""Objectives: how the classifier learns from tags. Each file holds one subclass of `Objective`."""

from models.objectives._base import Objective

__all__ = ["Objective"]
