"""An import of this folder that cannot be read: `pull` replaces it only where that is asked for, and keeps the file."""

import os
from itertools import count

from flows.line.shared_import import LAST_SHARED
from labelfactory.console import say
from labelfactory.dataset.manifest import MANIFEST, Manifest, read_manifest
from labelfactory.errors import DataError, MissingError, NewerFormatError, UserError
from labelfactory.files import disk_errors, make_folder


def import_here(*, give_up: bool) -> Manifest | None:
    """This folder's import; None if there is none, or a damaged one that is given up.

    Raises:
        DataError: it is damaged and not given up, or of a newer labelfactory.
    """
    try:
        return read_manifest()
    except NewerFormatError:
        raise
    except MissingError:
        return None
    except UserError as error:
        if give_up:
            return None
        remedy = "Restore it or import again; `labelfactory pull --give-up` puts it aside and takes what was pushed."
        raise DataError(error.problem, remedy) from error


def put_damaged_aside() -> None:
    """Keep a damaged import, which may have what was never pushed."""
    if MANIFEST.exists():
        names = (LAST_SHARED.parent / f"damaged-manifest-{number}.parquet" for number in count(1))
        aside = next(path for path in names if not os.path.lexists(path))
        make_folder(aside.parent)
        with disk_errors(aside):
            MANIFEST.replace(aside)
        say(f"pull: {MANIFEST} is damaged: it is {aside} now, which you may delete")
