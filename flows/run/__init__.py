"""One run of the line under Prefect: stage tasks, where they run, and what a run records."""
