"""Flows and the line: the only code that uses the APIs of Prefect and DVC."""
