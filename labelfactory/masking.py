"""Secrets in texts for people: values of secret variables of the environment, logins and tokens in addresses, passwords by name.

Every `UserError` and every line that `say` prints passes through `masked`, as do the logs of flows.
"""

import base64
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, unquote

SECRET_NAME = re.compile(
    r"SECRET|TOKEN|PASSW|PASSPHRASE|APIKEY|CREDENTIAL|WEBHOOK|CONNECTION|DATABASE_URL|AUTH(?!OR)|_PWD|_KEY"
    r"|(?:^|_)(?:PAT|PASS|DSN|JWT|SAS)(?:_|\d|$)",
    re.IGNORECASE,
)
"""Matches the names of variables with secrets. Short words only where they stand alone: PATH is not a PAT."""
SHORTEST = 6
"""Shorter values are part of too many words to be masked."""
HIDDEN = "***"

LOGIN = re.compile(
    r"""(?:(?<=https://)|(?<=http://))[^/\s:@?\#"'<>]{1,1000}(?=@)  # a token alone; in other schemes that is a user's name
    |(?<=://)
    (?!(?:[\w-]+(?:\.[\w-]+)+|localhost):\d{1,5}[/?\#])       # a host and its port, and an @ in the path
    [^/\s:@\["<>]{0,1000}:[^\s"<>]{0,1000}(?=@)               # user:password, which may hold / ? # and @""",
    re.VERBOSE,
)
"""The part of an address before the @ of its host."""
QUERY = re.compile(
    r"""([?&\#](?:[\w.-]*(?:token|secret|password|passwd|passphrase|signature|credential|apikey)
        |(?:[\w.-]*[_.-])?(?:key|sig|auth|sas|pwd|pass|pat))=)[^\s&\#"'<>]+""",
    re.VERBOSE | re.IGNORECASE,
)
"""A secret in the query of an address, such as `?X-Amz-Signature=…`."""
PAIR = re.compile(
    r"""(?<!\w)((?:\w*[_-])?(?:password|passwd|passphrase|secret|(?<=;)pwd|accountkey|sharedaccess(?:key|signature))\s?=\s?)
    (?:'[^']*'|"[^"]*"|[^\s;&,"'<>)]+)""",
    re.VERBOSE | re.IGNORECASE,
)
"""A secret in a connection string, such as `host=db password=…`."""


def masked(text: str) -> str:
    """The text with secrets of the environment, logins and tokens in addresses, and passwords by name as ***."""
    if secrets := tuple(sorted(set(_secrets()), key=lambda value: (-len(value), value))):
        text = _pattern(secrets).sub(HIDDEN, text)
    return PAIR.sub(rf"\1{HIDDEN}", masked_addresses(text)) if "=" in text else masked_addresses(text)


def masked_addresses(text: str) -> str:
    """The same for addresses alone, whatever the environment holds."""
    return QUERY.sub(rf"\1{HIDDEN}", LOGIN.sub(HIDDEN, text)) if "://" in text else text


@lru_cache(maxsize=8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """Matches each secret, as it is and as addresses, headers, JSON and Python write it. The longest ones come first."""
    forms = {form for value in secrets for form in _forms(value) if len(form) >= SHORTEST}
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


def _forms(value: str) -> Iterator[str]:
    yield from (value, quote(value, safe=""), unquote(value), json.dumps(value)[1:-1], repr(value)[1:-1])
    yield base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()


def _secrets() -> Iterator[str]:
    """Secrets in this process's environment as it is now."""
    for name, value in os.environ.items():
        if login := LOGIN.search(value):
            user, colon, password = login.group().partition(":")
            yield from _long_enough(password if colon else user)
        if SECRET_NAME.search(name) and not _is_file(value):
            yield from _long_enough(value)
            if ":" in value and "//" not in value:  # the two halves of `user:password`
                for half in value.split(":", 1):
                    yield from _long_enough(half)


def _long_enough(value: str) -> Iterator[str]:
    """A value and, since programs print line by line, each of its lines."""
    for part in (value, *value.replace("\\n", "\n").splitlines()):
        if len(part.strip()) >= SHORTEST:
            yield part.strip()


def _is_file(value: str) -> bool:
    """Whether it is the path of a file or folder, as in AWS_SHARED_CREDENTIALS_FILE."""
    return os.path.isabs(value) and os.path.exists(value)  # noqa: PTH110, PTH117 - any text; a Path refuses some
