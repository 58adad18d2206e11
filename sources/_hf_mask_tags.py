"""Tags of a set for segmentation, which has no others: the classes whose values its true masks hold."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelfactory.console import first_of
from labelfactory.dataset.images import decode_mask
from labelfactory.errors import DataError, in_short
from labelfactory.foreign_files import LARGEST_TABLE, FileRefusedError, read_file
from labelfactory.schema import BACKGROUND, VOID
from sources._findings import Findings
from sources._names import BACKGROUND_NAME

NAMES_FILE = "id2label.json"
"""The file of the hub that names the values of a set's masks: {"0": "background", "1": "cat"}."""


def names_of_values(root: Path) -> dict[int, str]:
    """Value in the masks of a dataset → class, without the background, of id2label.json.

    Raises:
        DataError: nothing names the values.
    """
    path = root / NAMES_FILE
    example = f'Write {path}, such as {{"0": "background", "1": "cat", "2": "dog"}}.'
    if not path.exists():
        raise DataError(f"{root}: nothing names the values of its masks", example)
    try:
        loaded = json.loads(read_file(path, largest=LARGEST_TABLE))
        stated = {int(key): str(name).strip() for key, name in loaded.items()}
    except FileRefusedError as error:
        raise DataError(f"{path}: not readable: {error.reason}", example) from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not names by value: {in_short(error, 80)}", example) from None
    return {
        value: name
        for value, name in sorted(stated.items())
        if BACKGROUND < value < VOID and name and name.lower() != BACKGROUND_NAME
    }


@dataclass
class MaskTags:
    """Reads tags from masks, and counts what it met."""

    names: Mapping[int, str]
    counts: Counter[str]
    unnamed: Counter[int]

    def tags(self, data: bytes) -> tuple[str, ...]:
        """Classes of a mask.

        Raises:
            DataError: not a mask.
        """
        values = [int(v) for v in np.unique(decode_mask(data)) if v not in (BACKGROUND, VOID)]
        self.unnamed.update(value for value in values if value not in self.names)
        tags = tuple(dict.fromkeys(self.names[value] for value in values if value in self.names))
        self.counts.update(tags)
        return tags

    def used(self, findings: Findings) -> dict[int, str]:
        """The values that masks hold, by class; notes the others."""
        unused = [name for name in dict.fromkeys(self.names.values()) if name not in self.counts]
        if unused:
            findings.decisions.append(f"not used: {first_of(unused, 10)}")
        for value, count in self.unnamed.most_common(3):
            findings.decisions.append(f"the value {value} in {count} masks has no name in {NAMES_FILE}, and is void")
        return {value: name for value, name in self.names.items() if name in self.counts}
