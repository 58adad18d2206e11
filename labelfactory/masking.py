"""Secrets in texts for people: values of secret variables of the environment, logins and tokens in addresses, passwords by name.

Every `UserError` and every line that `say` prints passes through `masked`, as do the logs of flows.
"""

import base64
import html
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote

SECRET_NAME = re.compile(
    r"SECRET|TOKEN|PASSW|PASSPHRASE|(?:API|PRIVATE|SSH|ACCESS|SIGNING|DEPLOY|ACCOUNT)KEY|CREDENTIAL|WEBHOOK|CONNECTION"
    r"|DATABASE_URL|AUTH(?!OR)|_PWD|_KEY|(?:^|_)(?:PAT|PASS|PGPASS|PW|CREDS?|DSN|JWT|SAS|BEARER)(?:_|\d|$)"
    r"|(?:^|_)(?:COOKIES?|HOOK|HOOK_?URL)$",
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
    [^/\s:@\["<>]{0,1000}:                                   # user:password, which may hold / ? # @ and a quote
    (?:[^\s"<>]|"(?!\s|$|[\]})]*(?:[\s;>]|$)|[\]})]*[,:]\s?["'\[{\d])){0,1000}(?=@)""",
    re.VERBOSE,
)
"""The part of an address before the @ of its host. A quote that ends a string of JSON, or of an attribute, ends the address."""
WHOLE_LOGIN = re.compile(r"(?<=://)(?!\[|(?:[\w-]+(?:\.[\w-]+)+|localhost):\d{1,5}[/?\#])[^/:@]*:.*(?=@)", re.DOTALL)
"""The same in a text that is one address and nothing else: its password may have any character."""
QUERY = re.compile(
    r"""([?&;\#](?:[\w.-]*(?:token|secret|password|passwd|passphrase|signature|credential|apikey)
        |(?:[\w.-]*[_.-])?(?:key|sig|auth|sas|pwd|pass|pat))=)[^\s&\#"'<>]+""",
    re.VERBOSE | re.IGNORECASE,
)
"""A secret in the query of an address, such as `?X-Amz-Signature=…`."""
HOOK = re.compile(
    r"""((?<=://)(?:hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/
        |(?:[\w-]+\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/
        |[\w-]+\.webhook\.office\.com/))[^\s"'<>]+""",
    re.VERBOSE | re.IGNORECASE,
)
"""The path of a chat's webhook, which is a secret whole."""
WORDS = r"(?:password|passwd|passphrase|secret(?:[_-]?(?:access[_-]?)?key)?|api[_-]?key|access[_-]?key|private[_-]?key)"
"""Names of secrets that are no words for other things."""
PAIR = re.compile(
    rf"""(?<!\w)((?:\w*[_-])?(?:{WORDS}|(?<=;)pwd|accountkey|sharedaccess(?:key|signature))\s?=\s?
        |\w*[?&;\-_]token=
        |(?<![\w/.-])(?:\w*[_-])?(?:password|passwd|passphrase|api[_-]?key|secret[_-]?key|client[_-]?secret):\s)
    (?:\*\*\*(?=[?\#])|(?:'[^']*'|"[^"]*"|[^\s;&,"'<>)]+)+)""",
    re.VERBOSE | re.IGNORECASE,
)
"""A secret in a connection string, such as `host=db password=…`, in an option, or in YAML."""
QUOTED = re.compile(
    rf"""(["'](?:[\w.-]*[_.-])?(?:{WORDS}|token|authorization)["']\s?:\s?)(["'])(?:\\.|(?!\2)[^\\\n])*\2""",
    re.VERBOSE | re.IGNORECASE,
)
"""A secret in JSON or in a dict of Python."""
HEADER = re.compile(r"((?<![\w-])authorization:\s?(?:\w+\s)?)[^\s,;\"'<>]+", re.IGNORECASE)
"""A secret in a header, `Authorization: Bearer …`."""


def masked(text: str) -> str:
    """The text with secrets of the environment, logins and tokens in addresses, and passwords by name as ***."""
    if secrets := tuple(sorted(set(_secrets()), key=lambda value: (-len(value), value))):
        text = _pattern(secrets).sub(HIDDEN, text)
    text = masked_addresses(text)
    if ":" in text:
        text = HEADER.sub(rf"\1{HIDDEN}", QUOTED.sub(rf"\1\2{HIDDEN}\2", text))
    return PAIR.sub(rf"\1{HIDDEN}", text) if "=" in text or ":" in text else text


def masked_addresses(text: str) -> str:
    """The same for addresses alone, whatever the environment holds."""
    if "://" not in text:
        return text
    return QUERY.sub(rf"\1{HIDDEN}", HOOK.sub(rf"\1{HIDDEN}", LOGIN.sub(HIDDEN, text)))


def without_login(address: str) -> str:
    """One address, of which nothing before or behind is another text, with *** in the place of user and password."""
    return WHOLE_LOGIN.sub(HIDDEN, address, count=1)


@lru_cache(maxsize=8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """Matches each secret, as it is and as addresses, headers, JSON and Python write it. The longest ones come first."""
    forms = {form for value in secrets for form in _forms(value) if len(form) >= SHORTEST}
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


def _forms(value: str) -> Iterator[str]:
    yield from (value, unquote(value), base64.b64encode(value.encode("utf-8", "surrogateescape")).decode())
    for escaped in {quote(value, safe=""), quote(value), quote_plus(value), quote(value, safe="!'()*")}:
        yield escaped
        yield re.sub(r"%..", lambda escape: escape.group().lower(), escaped)
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    yield from (repr(value)[1:-1], ascii(value)[1:-1], repr(value.encode("utf-8", "surrogateescape"))[2:-1])
    marked = html.escape(value, quote=False)
    yield from (marked, html.escape(value), marked.replace('"', "&#34;").replace("'", "&#39;"))


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
