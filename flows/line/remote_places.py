"""Where a remote of DVC's settings lies: a digest to compare it by, and a text for people, which has no secret in it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.config_schema import RelPath
from dvc.repo import Repo

from labelfactory.digests import digest_json
from labelfactory.masking import masked, masked_addresses, without_login

CONNECTION = re.compile(r"\s*(AccountName|BlobEndpoint|EndpointSuffix)\s*=\s*(\S+)\s*", re.IGNORECASE)
"""Parts of a connection string of Azure that tell the store; the others are secrets, or may be left out."""
USUAL = ("22", "core.windows.net")
"""What counts where nothing is said: the port of SSH, the endpoint of Azure."""


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


def _beside_the_address(settings: Mapping[str, Any]) -> list[str]:
    """What else tells which store it is: at the same URL lie different things for another account or port. Not the user, since
    people who share a store have their own."""
    connection = str(settings.get("connection_string") or "").split(";")
    told = {match[1].lower(): match[2] for match in map(CONNECTION.fullmatch, connection) if match}
    told |= {
        key: str(settings[name])
        for key, name in (("accountname", "account_name"), ("port", "port"))
        if settings.get(name)
    }
    return sorted(f"{key}={value}" for key, value in told.items() if value not in USUAL)


def earlier_key(address: str) -> str:
    """The key of a text in the list of an earlier program: those of today differ, since they know more of a place."""
    return digest_json(["earlier", address])


def shown(address: str) -> str:
    """One address for people: no login, nothing that the environment calls secret."""
    return masked(without_login(address))
