"""The only code that imports Prefect and DVC."""
