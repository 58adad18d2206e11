"""Secrets come from the environment or from a Prefect Secret block, and leave by neither log, artifact nor message.

What stages print passes through `masked` before anything else hears it.
"""

import os
import re
from collections.abc import Callable
from functools import cache

from flows.server.api import Api

SECRET_NAME = re.compile(
    r"SECRET|TOKEN|PASSW|_PWD|_KEY|APIKEY|AUTH(?!OR)|CREDENTIAL|WEBHOOK|CONNECTION|DATABASE_URL", re.IGNORECASE
)
"""What the name of a variable that holds a secret has in it."""
SHORTEST = 6
"""A shorter value stands in too many words to be hidden."""
LOGIN = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
"""`user:password` in an address."""
HIDDEN = "***"


def masked(text: str) -> str:
    """The text without secrets of the environment and without logins in addresses."""
    return LOGIN.sub(HIDDEN, _environments()(text))


def from_block(api: Api, name: str) -> str:
    """The value of a Prefect Secret block; empty where there is none.

    Raises:
        ApiError: the server refuses.
    """
    block = api.find(f"/block_types/slug/secret/block_documents/name/{name}?include_secrets=true")
    return str(block["data"]["value"]) if block else ""


@cache
def _environments() -> Callable[[str], str]:
    """Hides the values of this process's environment: a process's own does not change while it runs a line."""
    values = {value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST}
    # `user:password` is as bad in halves
    values |= {half for value in values for half in value.split(":", 1) if "//" not in value and len(half) >= SHORTEST}
    if not values:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(value) for value in sorted(values, key=len, reverse=True)))
    return lambda text: pattern.sub(HIDDEN, text)
