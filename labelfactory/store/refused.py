"""Images whose outputs are never kept: those that were withdrawn from this project."""

from labelfactory.dataset.withdrawn import LEDGER, Withdrawn, withdrawn, withdrawn_in
from labelfactory.store.entries import store_folder


def refused() -> Withdrawn:
    """What the ledger beside the store says was withdrawn: a variant of a sweep has no ledger of its own.

    Raises:
        DataError: a file of the ledger that was not read before is damaged.
    """
    here, project = withdrawn(keep=False), withdrawn_in(store_folder().parent / LEDGER.name, keep=False)
    return Withdrawn(here.photographs | project.photographs, here.image_ids | project.image_ids)
