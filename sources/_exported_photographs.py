"""Over which photographs the masks of an export lay, from its provenance.json: an edited mask says nothing of that by itself."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from labelfactory.errors import UserError
from labelfactory.foreign_files import LARGEST_TABLE, check_path, read_file
from sources._edited_pngs import FOLDERS

PROVENANCE = "provenance.json"


def exported_photographs(path: Path) -> Mapping[str, set[str]]:
    """Image id → SHA-256 of the photographs that the exports in a folder, or around a file or a folder of masks, were made of.

    Nothing of what cannot be read: a person may have taken the masks out of their export, or it is another program's.
    """
    found: dict[str, set[str]] = defaultdict(set)
    root = path if path.is_dir() else path.parent
    around = [folder.parent for folder in (root, *root.parents) if folder.name in FOLDERS]
    for file in [
        *(root.rglob(PROVENANCE) if path.is_dir() else [root / PROVENANCE]),
        *(f / PROVENANCE for f in around),
    ]:
        try:
            stated = json.loads(read_file(check_path(file, "read", within=file.parent), largest=LARGEST_TABLE))
            for image_id, image in stated["images"].items():
                found[image_id].add(str(image["photograph"]))
        except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return found
