"""The account of an import: what it counted and decided; written beside its manifest, shown by dry run, status and report.

data/import/account.json, one object. What was counted on pixels is of the photographs and true masks that imports opened: an
appending import adds its counts to those that are there. No file: nothing was imported, or images were withdrawn since.

It names its manifest by digest, and is read for that one alone. An import writes it before the manifest, with the account of the
manifest that is still there in `earlier`, and once more without that: a kill at any moment leaves the account of what is there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from labelfactory.dataset.manifest import MANIFEST
from labelfactory.digests import digest_file
from labelfactory.files import write_json
from labelfactory.json_files import read_json
from labelfactory.masking import masked_addresses

ACCOUNT = Path("data/import/account.json")
EXAMPLES = 3
"""Images that are named of each kind."""


@dataclass(frozen=True)
class Images:
    """Some images: their number, and the first ids."""

    count: int = 0
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, image_ids: Iterable[str]) -> "Images":
        """Count them; addresses lose their tokens, as the account is pushed with the import."""
        names = list(image_ids)
        return cls(len(names), tuple(masked_addresses(name) for name in names[:EXAMPLES]))

    def __add__(self, more: "Images") -> "Images":
        return Images(self.count + more.count, (self.examples + more.examples)[:EXAMPLES])

    def __str__(self) -> str:
        """`5 (a, b, c, …)`."""
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.count} ({', '.join(self.examples)}{more})" if self.examples else f"{self.count}"


@dataclass(frozen=True)
class OfClass:
    """What was counted of one class; the latter four over photographs whose true mask was looked at."""

    name: str
    tagged: int = 0  # photographs with the tag, in all
    training: int = 0  # those on the training list
    shown: int = 0  # the true mask shows the class
    shown_and_tagged: int = 0
    not_shown: Images = Images()  # tagged, but the true mask does not show it
    not_tagged: Images = Images()  # shown, but not tagged

    def after(self, earlier: "OfClass") -> "OfClass":
        """With the true masks that an earlier import looked at."""
        return replace(
            self,
            shown=earlier.shown + self.shown,
            shown_and_tagged=earlier.shown_and_tagged + self.shown_and_tagged,
            not_shown=earlier.not_shown + self.not_shown,
            not_tagged=earlier.not_tagged + self.not_tagged,
        )


@dataclass(frozen=True)
class Account:
    """The account; `sizes` are widths and heights of the smallest, the middle and the largest photograph by area."""

    photographs: int
    untagged: int
    lists: Mapping[str, int]
    classes: tuple[OfClass, ...]
    true_masks: int
    looked_at: int  # true masks whose values were read
    mask_values: Mapping[int, int]  # value → true masks that hold it, of those looked at
    sizes: tuple[tuple[int, int], ...]
    modes: Mapping[str, int]  # as Pillow calls them
    orientations: Mapping[int, int]  # by EXIF; 1 is upright
    flat: Images  # of one colour
    left_out: int  # photographs
    masks_left_out: int
    passed_over: Mapping[str, int]
    decisions: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())
    manifest: str = ""  # SHA-256 of the manifest's file; empty in a file of an earlier version
    earlier: "Account | None" = None  # that of the manifest before, while an import changes both

    @property
    def disagreements(self) -> int:
        """Tags that the true masks do not show, and classes that they show without the tag."""
        return sum(each.not_shown.count + each.not_tagged.count for each in self.classes)


def write_account(account: Account, path: Path = ACCOUNT) -> None:
    """Write it atomically. The same account gives the same bytes, as `prepare` depends on the folder."""
    write_json(path, _content(account))


def read_account(path: Path = ACCOUNT) -> Account | None:
    """The account of the manifest beside it; None if there is none, as after a manifest of another origin.

    Raises:
        DataError: the file is damaged.
    """
    if not path.exists():
        return None
    account: Account = read_json(path, Account, f"Delete {path} and import the photographs again.")
    manifest = path.with_name(MANIFEST.name)
    digest = digest_file(manifest) if manifest.exists() else ""
    of_manifest = (each for each in (account, account.earlier) if each and each.manifest in ("", digest))
    return next((replace(each, manifest=digest, earlier=None) for each in of_manifest), None)


def _content(account: Account) -> dict[str, Any]:
    content = asdict(account)
    for name in ("decisions", "warnings"):
        content[name] = [_storable(line) for line in content[name]]
    content["passed_over"] = {_storable(kind): count for kind, count in account.passed_over.items()}
    earlier = content.pop("earlier")
    return content if earlier is None else {**content, "earlier": earlier}


def _storable(text: str) -> str:
    """Without tokens of addresses, and in UTF-8 whatever bytes a file name holds."""
    return masked_addresses(text).encode("utf-8", "backslashreplace").decode("utf-8")
