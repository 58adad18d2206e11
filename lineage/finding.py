"""What `audit verify` finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that does not fit."""

    where: str
    what: str
