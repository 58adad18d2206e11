"""What every stage is: base classes for per-image and training stages, the runner, checks before a run."""
