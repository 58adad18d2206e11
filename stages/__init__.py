"""One file per stage of dvc.yaml. Stages never import each other: they meet on disk."""
