"""How much the store may hold: $LABELFACTORY_STORE_GB, else 20 GB or a tenth of the disk that is free, whichever is less."""

import shutil
from pathlib import Path

from labelfactory.environment import not_negative

VARIABLE = "LABELFACTORY_STORE_GB"
GB = 10**9
DEFAULT_GB = 20.0
SHARE_OF_FREE = 0.1


def is_on() -> bool:
    """Whether anything is kept and found at all. Raises UserError where the variable is not a number."""
    return not_negative(VARIABLE, DEFAULT_GB) > 0


def limit(folder: Path, held: int) -> int:
    """Bytes that the store may hold by itself.

    Args:
        folder: on the store's disk.
        held: bytes that it holds by itself now; without them they would be free.

    Raises:
        UserError: the variable is not a number.
    """
    given = not_negative(VARIABLE, -1.0)
    if given >= 0:
        return int(given * GB)
    free = shutil.disk_usage(folder).free + held
    return int(min(DEFAULT_GB * GB, SHARE_OF_FREE * free))
