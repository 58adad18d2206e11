"""Which MLflow run each execution and each line of the ledger became: `python -m lineage.mlflow_runs` prints JSON.

A program of its own, because loading MLflow takes seconds that a page must not wait for. It only reads: where MLflow was never
written to, the answer is empty.
"""

import json
from pathlib import Path

from lineage.mlflow_home import quiet, tracking_uri


def mlflow_runs() -> dict[str, dict[str, str]]:
    """Id of an execution or line → {"run": …, "experiment": …}."""
    uri = tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return {}
    quiet()
    from lineage.tracking import run_ids  # after the variables are set

    return run_ids(uri)


if __name__ == "__main__":
    print(json.dumps(mlflow_runs()))
