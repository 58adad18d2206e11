"""What the texts beside a Hugging Face dataset state: the header of its README.md, and JSON files of features."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelfactory.errors import DataError, ParamsError
from labelfactory.foreign_files import LARGEST_TABLE, FileRefusedError, read_file, read_text
from labelfactory.settings.yaml_text import parse_yaml


@dataclass(frozen=True)
class Card:
    """The README.md of a dataset."""

    configs: tuple[Mapping[str, Any], ...] = ()  # each with config_name
    names: Mapping[str, list[str]] = field(default_factory=dict)  # column → names of its ClassLabel


def json_of(path: Path) -> dict[str, Any]:
    """A JSON object that `save_to_disk` wrote.

    Raises:
        DataError: not readable.
    """
    try:
        loaded = json.loads(read_file(path, largest=LARGEST_TABLE))
    except FileRefusedError as error:
        raise DataError(f"{path}: not readable: {error.reason}", "Save the dataset again.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable: {error}", "Save the dataset again.") from None
    return loaded if isinstance(loaded, dict) else {}


def read_card(root: Path) -> Card:
    """The card; an empty one where there is none or it has another form."""
    path = root / "README.md"
    try:
        text = read_text(path) if path.is_file() else ""
    except FileRefusedError:
        return Card()
    lines = text.splitlines()
    end = next((k for k, line in enumerate(lines) if k and line.rstrip() == "---"), 0)
    try:
        header = parse_yaml("\n".join(lines[1:end]), str(path), "") if end and lines[0].rstrip() == "---" else {}
    except ParamsError:
        return Card()
    if not isinstance(header, dict):
        return Card()
    configs = header.get("configs")
    listed = [c for c in configs if isinstance(c, dict)] if isinstance(configs, list) else []
    named = tuple(c for c in listed if isinstance(c.get("config_name"), str))
    return Card(named, _names(header.get("dataset_info")))


def _names(info: Any) -> dict[str, list[str]]:
    """Column → names of its ClassLabel, alone or in a list, of the first configuration that states features."""
    infos = [i for i in (info if isinstance(info, list) else [info]) if isinstance(i, dict)]
    features = next((i["features"] for i in infos if isinstance(i.get("features"), list)), None) or []
    found: dict[str, list[str]] = {}
    for feature in (f for f in features if isinstance(f, dict) and isinstance(f.get("name"), str)):
        kinds = [feature[key] for key in ("dtype", "sequence", "list") if isinstance(feature.get(key), dict)]
        label = kinds[0].get("class_label") if kinds else None
        names = label.get("names") if isinstance(label, dict) else None
        if isinstance(names, dict) and all(isinstance(text, str) for text in names.values()):
            found[feature["name"]] = [names[key] for key in sorted(names, key=_number)]
    return found


def _number(key: Any) -> int:
    return int(key) if str(key).isdecimal() and len(str(key)) < 10 else 0
