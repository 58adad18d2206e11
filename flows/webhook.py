"""Tell a webhook something, as JSON."""

import json
import urllib.error
import urllib.request
from typing import Any

WEBHOOK_VARIABLE = "LABELFACTORY_WEBHOOK"
"""Where to POST; read from the environment alone, since such an address often holds a token."""
TIMEOUT_SECONDS = 10.0


def post(address: str, content: dict[str, Any]) -> None:
    """POST JSON.

    Raises:
        OSError: nobody answers, or the answer is an error.
        ValueError: it is no address of http or https.
    """
    if not address.startswith(("http://", "https://")):
        raise ValueError("no address of http or https")
    body = json.dumps(content, ensure_ascii=False).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise
