"""The account of an import in words: the same in the terminal and on the page."""

from collections.abc import Mapping

from labelfactory.dataset.account import Account, OfClass

SHOWN = 40
"""Classes of which the counts are shown."""


def facts(account: Account) -> dict[str, str]:
    """What was counted beside the classes; what an import did not measure is left out."""
    sizes = [f"{width}×{height}" for width, height in account.sizes]
    if len(set(sizes)) > 1:
        sizes = [f"{sizes[0]} to {sizes[-1]}, the middle one {sizes[1]}"]
    turned = {f"EXIF {orientation}:": count for orientation, count in account.orientations.items() if orientation != 1}
    found = {
        "photographs": f"{account.photographs}, {account.untagged} of them without a tag",
        "lists": counted(account.lists) or "none",
        "sizes": "".join(sizes[:1]),
        "modes": counted(account.modes),
        "turned by EXIF": counted(turned) or ("none" if account.orientations else ""),
        "true masks": f"{account.true_masks}, {account.looked_at} of them looked at" if account.true_masks else "none",
        "left out": f"photographs {account.left_out}, true masks {account.masks_left_out}",
        "passed over": counted(account.passed_over) or "nothing",
    }
    return {name: text for name, text in found.items() if text}


def in_one_line(account: Account) -> str:
    """The account in a phrase."""
    return f"{account.photographs} photographs, {len(account.classes)} classes, {account.true_masks} true masks"


def shown_classes(account: Account) -> tuple[OfClass, ...]:
    """The classes in order; of too many, those where tags and true masks disagree most."""
    if len(account.classes) <= SHOWN:
        return account.classes
    return tuple(sorted(account.classes, key=lambda each: -(each.not_shown.count + each.not_tagged.count))[:SHOWN])


def counted(counts: Mapping[str, int]) -> str:
    """`train 150, val 50`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())
