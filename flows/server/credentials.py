"""Secrets from the environment or from Prefect Secret blocks, and their masking in logs, artifacts and messages.

The output of stages passes through `masked` first.
"""

import os
import re
from collections.abc import Callable
from functools import cache

from flows.server.api import Api

SECRET_NAME = re.compile(
    r"SECRET|TOKEN|PASSW|_PWD|_KEY|APIKEY|AUTH(?!OR)|CREDENTIAL|WEBHOOK|CONNECTION|DATABASE_URL", re.IGNORECASE
)
"""Matches the names of variables with secrets."""
SHORTEST = 6
"""Shorter values are part of too many words to be masked."""
LOGIN = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
"""`user:password` in an address."""
HIDDEN = "***"


def masked(text: str) -> str:
    """The text with the environment's secrets and logins in addresses masked."""
    return LOGIN.sub(HIDDEN, _environments()(text))


def from_block(api: Api, name: str) -> str:
    """The value of a Prefect Secret block; empty if there is none.

    Raises:
        ApiError: the server refuses the request.
    """
    block = api.find(f"/block_types/slug/secret/block_documents/name/{name}?include_secrets=true")
    return str(block["data"]["value"]) if block else ""


@cache
def _environments() -> Callable[[str], str]:
    """Masks the secret values of this process's environment, read once."""
    values = {value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST}
    # also the two halves of `user:password`
    values |= {half for value in values for half in value.split(":", 1) if "//" not in value and len(half) >= SHORTEST}
    if not values:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(value) for value in sorted(values, key=len, reverse=True)))
    return lambda text: pattern.sub(HIDDEN, text)
