"""Objectives: how the classifier is trained on tags. Each file holds one subclass of `Objective`."""

from models.objectives._base import Objective

__all__ = ["Objective"]
