"""Images whose outputs are never kept: those that were withdrawn from this project."""

from collections.abc import Collection

from labelfactory.dataset.withdrawn import LEDGER, Withdrawn, withdrawn, withdrawn_in
from labelfactory.store.entries import store_folder


def refused() -> Withdrawn:
    """What the ledger beside the store says was withdrawn: a variant of a sweep or of a tournament has no ledger of its own.

    Raises:
        DataError: a file of the ledger that was not read before is damaged.
    """
    here, project = withdrawn(keep=False), withdrawn_in(store_folder().parent / LEDGER.name, keep=False)
    return Withdrawn(here.photographs | project.photographs, here.image_ids | project.image_ids)


def none_refused(seen: Collection[tuple[str, str]] | None) -> bool:
    """Whether something may be kept by what it has seen: id and SHA-256 of photographs, None where that is not known.

    Raises:
        DataError: as `refused`.
    """
    gone = refused()
    return gone == Withdrawn() or (seen is not None and not any(gone.refuses(*image) for image in seen))
