"""One run of the line under Prefect: stage tasks, their pools and devices, and the run's record."""
