"""What makes hours of a run worthless, found in the account of an import before they are spent."""

from collections.abc import Iterator, Mapping, Sequence

from labelfactory.dataset.account import Account, OfClass

FEW = 10
"""A class needs this many photographs to learn from."""
SHOWN = 10
"""Classes that are named in one warning, and warnings of one kind."""


def warnings_of(account: Account, mask_ids: Mapping[int, int], train_list: str) -> Iterator[str]:
    """One line each, without the word warning.

    Args:
        account: of the import.
        mask_ids: value in the true masks → class id.
        train_list: the list that networks learn from.
    """
    yield from _tags(account, train_list)
    if account.flat.count:
        yield f"{_photographs(account.flat.count)} of one colour, such as black or white: {_names(account.flat.examples)}"
    yield from _disagreements(account, mask_ids)


def _tags(account: Account, train_list: str) -> Iterator[str]:
    names = [each.name for each in account.classes]
    if account.photographs and all(each.tagged == account.photographs for each in account.classes):
        yield (
            f"every photograph is tagged {_names(names)}: a classifier learns nothing from that; "
            "import photographs that do not show it too"
        )
    elif len(names) == 1:
        yield (
            f"one class only, {names[0]!r}: it is learnt from what {account.classes[0].tagged} photographs show and "
            f"{account.untagged} do not"
        )
    if train_list not in account.lists:
        yield f"no photograph is on the list {train_list!r}, which networks learn from (prepare.train_list in params.yaml)"
        return
    few = sorted((each.training, each.name) for each in account.classes if each.training < FEW)
    if few:
        counts = [f"{name} {count}" for count, name in few]
        yield f"fewer than {FEW} photographs of the list {train_list!r} to learn from: {_some(counts)}"


def _disagreements(account: Account, mask_ids: Mapping[int, int]) -> Iterator[str]:
    """Classes whose tags and true masks disagree, the worst first."""
    wrong = [each for each in account.classes if each.not_shown.count or each.not_tagged.count]
    wrong.sort(key=lambda each: -(each.not_shown.count + each.not_tagged.count))
    ids = {each.name: k for k, each in enumerate(account.classes, 1)}
    for each in wrong[:SHOWN]:
        yield from _of_class(each, account, [v for v, class_id in mask_ids.items() if class_id == ids[each.name]])
    if len(wrong) > SHOWN:
        yield f"tags and true masks disagree on {len(wrong) - SHOWN} more classes: see the table"


def _of_class(each: OfClass, account: Account, values: Sequence[int]) -> Iterator[str]:
    tagged = each.not_shown.count + each.shown_and_tagged
    if each.not_shown.count and not each.shown:
        own = f", {_names(values)} in the masks," if values else ""
        yield (
            f"no true mask shows {each.name!r}{own} but {_photographs(tagged, 'is', 'are')} tagged with it: "
            f"{_names(each.not_shown.examples)}; the masks hold the values {_some([str(v) for v in account.mask_values])}"
        )
    elif each.not_shown.count:
        yield (
            f"{each.not_shown.count} of {tagged} photographs tagged {each.name!r} do not show it in their true mask: "
            f"{_names(each.not_shown.examples)}"
        )
    if each.not_tagged.count:
        yield (
            f"{each.not_tagged.count} of {each.shown} true masks that show {each.name!r} belong to a photograph without "
            f"that tag: {_names(each.not_tagged.examples)}"
        )


def _photographs(count: int, one: str = "is", many: str = "are") -> str:
    return f"{count} photograph{'' if count == 1 else 's'} {one if count == 1 else many}"


def _names(names: Sequence[object]) -> str:
    return ", ".join(str(name) for name in names)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
