"""Tell a webhook something, as JSON."""

import json
import os
import urllib.error
import urllib.request
from typing import Any

from flows.server.api import Api
from flows.server.credentials import from_block

WEBHOOK_VARIABLE = "LABELFACTORY_WEBHOOK"
"""Where to POST; never in a file of the project, since such an address often holds a token."""
WEBHOOK_BLOCK = "labelfactory-webhook"
"""The Prefect Secret block that holds it where the environment does not."""
TIMEOUT_SECONDS = 10.0


def webhook_address(api: Api | None) -> str:
    """The address, or nothing where nobody is to be told.

    Raises:
        UserError, ApiError: the server does not say.
    """
    address = os.environ.get(WEBHOOK_VARIABLE, "")
    return address or (from_block(api, WEBHOOK_BLOCK) if api else "")


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
