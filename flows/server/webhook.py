"""Post JSON to a webhook."""

import os
from typing import Any

from flows.server.api import Api
from flows.server.credentials import from_block
from labelfactory.http_client import send

WEBHOOK_VARIABLE = "LABELFACTORY_WEBHOOK"
"""Holds the address; never written into a file of the project, since such an address often contains a token."""
WEBHOOK_BLOCK = "labelfactory-webhook"
"""The Prefect Secret block that holds the address where the environment does not."""
TIMEOUT_SECONDS = 10.0


def webhook_address(api: Api | None) -> str:
    """The webhook's address; empty where none is configured.

    Raises:
        UserError, ApiError: the server does not return the block.
    """
    address = os.environ.get(WEBHOOK_VARIABLE, "")
    return address or (from_block(api, WEBHOOK_BLOCK) if api else "")


def post(address: str, content: dict[str, Any]) -> None:
    """POST JSON.

    Raises:
        HttpError: no answer, or an answer other than success. Its text contains the address.
        ValueError: the address is not of http or https.
    """
    if not address.startswith(("http://", "https://")):
        raise ValueError("the address must begin with http:// or https://")
    send("POST", address, content=content, timeout=TIMEOUT_SECONDS)
