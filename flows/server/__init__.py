"""Prefect server, workers and watcher of one machine, deployments, and what talks to them."""
