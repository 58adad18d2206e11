"""What was made once and is found again by its key: a limited store beside the outputs and DVC's cache."""
