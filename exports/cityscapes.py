"""Cityscapes-style id PNGs: grey, the pixel's value is the class id, 255 is void.

leftImg8bit/<list>/all/<name>_leftImg8bit.<suffix>
gtFine/<list>/all/<name>_gtFine_labelIds.png
labels.json     name, id, trainId and colour of each class, as in Cityscapes' own table of labels
"""

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from exports._selection import Selection
from labelfactory.names import file_name
from labelfactory.schema import VOID, palette


def write(selection: Selection, folder: Path) -> dict[str, Any]:
    """Write the folders and the table."""
    for item in selection:
        subfolder = Path(file_name(selection.list_of(item))) / "all"
        data, suffix = item.photograph
        stream = io.BytesIO()
        Image.fromarray(item.mask).save(stream, format="PNG")
        for path, content in (
            (folder / "leftImg8bit" / subfolder / f"{item.name}_leftImg8bit{suffix}", data),
            (folder / "gtFine" / subfolder / f"{item.name}_gtFine_labelIds.png", stream.getvalue()),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    named = [*enumerate(selection.classes), (VOID, "void")]
    table = [
        {"name": name, "id": k, "trainId": k, "ignoreInEval": k == VOID, "color": palette()[k].tolist()}
        for k, name in named
    ]
    (folder / "labels.json").write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return {}
