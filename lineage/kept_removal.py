"""Delete what the store keeps of withdrawn images: rows, networks that learnt from them, and networks that were made with those."""

from collections.abc import Mapping, Sequence

from labelfactory.errors import UserError
from labelfactory.learning.checkpoints import CHECKPOINT, Passport, read_passport
from labelfactory.learning.training_rows import Seen, seen_by
from labelfactory.rows.kept import forget_rows
from labelfactory.store.entries import entries, remove, remove_abandoned
from lineage.ledger import Ledger
from lineage.lookup import Lookup, Model
from lineage.withdrawals import Withdrawal


def remove_kept(withdrawal: Withdrawal) -> None:
    """Delete it. The rows of other images stay, and networks that never saw these.

    A network is judged by what it says itself of all that it and those behind it saw, else by the ledger. If neither tells, it
    goes: the store is only a cache.
    """
    remove_abandoned(alone=True)  # the caller holds the line
    forget_rows(withdrawal.has)
    folders = [entry.path for entry in entries() if (entry.path / CHECKPOINT).exists()]
    lookup = Lookup(Ledger()) if folders and Ledger().files() else None
    models = lookup.models if lookup else {}
    marked = {models[digest].weights if digest in models else digest for digest in withdrawal.models}
    for folder in folders:
        try:
            passport = read_passport(folder / CHECKPOINT)
        except UserError:  # damaged: what it learnt from is not known
            remove(folder)
            continue
        seen = seen_by(folder)
        if seen is None and lookup is not None:
            seen = seen_by_the_ledger(lookup, passport)
        named = {passport.weights_digest, *passport.parents.values()}
        if seen is None or any(withdrawal.has(*image) for image in seen) or marked & named:
            remove(folder)


def seen_by_the_ledger(lookup: Lookup, passport: Passport) -> Seen | None:
    """What the ledger says that the weights of a network have seen, those behind it included; None where it does not know all."""
    by_weights: dict[str, list[Model]] = {}
    for model in lookup.models.values():
        by_weights.setdefault(model.weights, []).append(model)
    same = [
        m for m in by_weights.get(passport.weights_digest, ()) if _learnt_from(m.passport) == _learnt_from(passport)
    ]
    return _seen_by_each(lookup, by_weights, same)


def _learnt_from(passport: Passport) -> tuple[str, dict[str, str]]:
    """Digest of the rows, and the networks behind: these decide which photographs the weights have seen."""
    return passport.training_rows_digest, passport.parents


def _seen_by_each(lookup: Lookup, by_weights: Mapping[str, Sequence[Model]], models: Sequence[Model]) -> Seen | None:
    """What all of these models have seen; None where one does not tell, or where there is none."""
    seen: Seen = frozenset()
    for model in models:
        table = lookup.training(model.digest)
        images = table.column("image").to_pylist()
        behind = [_seen_by_each(lookup, by_weights, by_weights.get(w, ())) for w in model.passport.parents.values()]
        known = [saw for saw in behind if saw is not None]
        if not images or None in images or len(known) < len(behind):
            return None
        ids = table.column("image_id").to_pylist()
        seen = seen.union(zip(ids, (image.hex() for image in images), strict=True), *known)
    return seen if models else None
