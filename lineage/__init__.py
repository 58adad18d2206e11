"""The record of masks, models and executions: the ledger, MLflow and audits."""
