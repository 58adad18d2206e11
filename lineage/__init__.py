"""Who made what: the ledger, MLflow, and the questions that an auditor asks."""
