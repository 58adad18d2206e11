"""The MLflow run of each execution and each line of the ledger: `python -m lineage.mlflow_runs` prints JSON.

A separate program, because loading MLflow takes seconds and a page must not wait. It only reads; without a store the answer
is empty.
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
