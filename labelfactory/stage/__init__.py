"""The frame of every stage: base classes for per-image and training stages, the runner, checks before a run."""
