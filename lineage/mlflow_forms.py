"""Names and times as MLflow takes them."""

import re
from datetime import datetime

from labelfactory.digests import digest_bytes

LONGEST_NAME = 250


def mlflow_name(text: str) -> str:
    """A name as MLflow takes it. One that must be changed ends with its digest, so that two names stay two: `a?b` and `a_b`."""
    parts = re.sub(r"[^\w\-. :/]", "_", text).split("/")
    name = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    return (
        name
        if name == text and len(name) <= LONGEST_NAME
        else f"{name[: LONGEST_NAME - 9]}-{digest_bytes(text.encode('utf-8', 'surrogatepass'))[:8]}"
    )


def milliseconds(time: str) -> int:
    """Of a time in ISO form, since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def now() -> int:
    """Milliseconds since 1970."""
    return round(datetime.now().timestamp() * 1000)
