"""Where a remote of DVC's settings lies: a digest to compare it by, and a text for people, which has no secret in it."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.config_schema import RelPath
from dvc.repo import Repo

from labelfactory.digests import digest_json
from labelfactory.masking import masked, masked_addresses, without_login

TELLING = ("account_name", "port", "user")
"""Settings of Azure, SSH and HDFS."""
CONNECTION_SECRET = re.compile(r"\s*(AccountKey|SharedAccess\w+)\s*=", re.IGNORECASE)
"""Parts of a connection string of Azure that change while the store stays."""
SSH_USER = re.compile(r"(?:ssh|sftp)://([^/:@]+):.*@", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Where a remote lies.

    Attributes:
        key: SHA-256 of the address, whatever the environment calls secret; a login is none of it.
        shown: the address for people.
        earlier: keys of the texts under which earlier programs, and people, noted it.
    """

    key: str
    shown: str
    earlier: frozenset[str]


def place_of(repo: Repo, name: str) -> Place:
    """The place of a remote. Addresses of folders are relative to the project where DVC's settings have them so."""
    settings = repo.config["remote"].get(name, {})
    url, server = settings.get("url", ""), settings.get("endpointurl", "")
    full = " ".join(str(part) for part in (url, server) if part)
    relative = Path(os.path.relpath(url, repo.root_dir)).as_posix() if isinstance(url, RelPath) else ""
    address = relative or " ".join(masked_addresses(without_login(str(part))) for part in (url, server) if part)
    earlier = (relative or masked_addresses(full), masked_addresses(full), masked(full), full)
    address = " ".join([address, *_beside_the_address(settings)])
    return Place(digest_json([address]), masked(address), frozenset(map(earlier_key, earlier)))


def _beside_the_address(settings: Mapping[str, Any]) -> Iterator[str]:
    """What else tells which store it is: at the same URL lie different things for another account, port or user."""
    # no login of a URL is part of the address, since it may be a token; at an SSH server a user is more than that
    if not settings.get("user") and (user := SSH_USER.match(str(settings.get("url", "")))):
        yield f"user={user[1]}"
    yield from (f"{key}={settings[key]}" for key in TELLING if settings.get(key))
    for part in str(settings.get("connection_string") or "").split(";"):
        if part and not CONNECTION_SECRET.match(part):
            yield part


def earlier_key(address: str) -> str:
    """The key of a text in the list of an earlier program: those of today differ, since they know more of a place."""
    return digest_json(["earlier", address])


def shown(address: str) -> str:
    """One address for people: no login, nothing that the environment calls secret."""
    return masked(without_login(address))
