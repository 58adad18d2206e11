"""params.yaml and dvc.yaml, read and checked: sections, methods, wiring and thresholds."""
