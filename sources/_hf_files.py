"""The files of a Hugging Face dataset and their splits, as `datasets` finds them.

    dataset_dict.json, state.json       written by `save_to_disk`: the splits and shards that they list
    README.md                           its `configs` name the files of each split; written by `push_to_hub`
    data/<split>-00000-of-00002.…       the word before the number
    train/…, …/validation/…             else folders of a split's name, then files (train.parquet, test_0.parquet)
    anything else                       one split without a name

Source: huggingface/datasets, data_files.py.
"""

import glob
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from labelfactory.errors import DataError, did_you_mean
from labelfactory.foreign_files import PHOTOGRAPHS
from sources._findings import Findings
from sources._folder_names import list_of as known_list
from sources._hf_card import json_of, read_card

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Split → words in names of folders or files, as `datasets` knows them."""
TABLES = (".parquet", ".arrow")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables of a folder of pictures."""
OURS = "provenance.json"
"""A file of our own exports, which have a column of lists."""
SHARD = re.compile(r"data/(?P<split>[^/]+)-\d{5}-of-\d{5}[^/]*\.[^/]*")
REMEDY = (
    "Name a folder that `save_to_disk` wrote, one of Parquet or Arrow files, or one of pictures with metadata.csv. Whatever "
    "`datasets` loads can be saved so: load_dataset('DIR').save_to_disk('NEW')."
)


@dataclass(frozen=True)
class SplitFile:
    """One file of a dataset."""

    path: Path
    split: str  # as the dataset calls it; empty where it names none


def find_files(findings: Findings, config: str = "") -> list[SplitFile]:
    """The files of a dataset by split: tables, or if there is none, pictures and their metadata.

    Args:
        findings: of the folder; gets what was passed over and decided.
        config: which of the dataset's configurations; empty for its only or default one.

    Raises:
        DataError: there is no dataset, or the configuration is not one of it.
    """
    root = findings.root
    if (root / "dataset_dict.json").is_file():
        listed = _texts(json_of(root / "dataset_dict.json").get("splits"))
        found = [SplitFile(path, name) for name in listed for path in _saved(root / Path(name).name)]
    elif (root / "state.json").is_file():
        split = json_of(root / "state.json").get("_split")
        # all that has no other name is called train
        named = split if isinstance(split, str) and split != "train" else ""
        found = [SplitFile(path, named) for path in _saved(root)]
    else:
        found = _by_name(findings, config)
    for file in found:
        check_inside(root, file.path)
    if not found:
        files = _files(root) if root.is_dir() else []
        tables = [name for name in files if _suffix(name) in (".csv", ".jsonl", ".json")]
        or_table = f" For a table type `labelfactory import table {root / tables[0]}`." if tables else ""
        raise DataError(f"{root}: contains no dataset{_instead(files)}", f"{REMEDY}{or_table}")
    return found


def check_inside(root: Path, path: Path) -> None:
    """Refuse a file of a dataset that is a link to elsewhere; in Hugging Face's cache each is one to a folder of the cache.

    Raises:
        DataError: it leads out of the dataset.
    """
    folder, target = root.resolve(), path.resolve()
    cache = next((above.parent / "blobs" for above in folder.parents if above.name == "snapshots"), folder)
    if not (target.is_relative_to(folder) or target.is_relative_to(cache)):
        raise DataError(
            f"{path}: leads out of {root}", "Copy the file that it means to this place, if it is part of it."
        )


def _by_name(findings: Findings, config: str) -> list[SplitFile]:
    """Files whose split is in the README, or in the names of folders or files."""
    root = findings.root
    files = _files(root) if root.is_dir() else []
    tables = [name for name in files if _suffix(name) in TABLES and PurePosixPath(name).name not in METADATA]
    pictures = [name for name in files if _suffix(name) in PHOTOGRAPHS or PurePosixPath(name).name in METADATA]
    taken = tables or pictures
    configured = _configured(root, config)
    if configured is not None:
        splits = {name: split for split, patterns in configured for name in _matching(root, patterns, taken)}
        if not splits:
            raise DataError(f"{root}/README.md: names files that are not there", "Download these files too.")
    elif (root / OURS).is_file():
        splits = {name: PurePosixPath(name).name.partition("-")[0] for name in taken}
    else:
        splits = _split_names(taken)
        findings.passed_over.update(_suffix(name) for name in taken if name not in splits)
    order = {split: k for k, split in enumerate(dict.fromkeys([*SPLITS, *sorted(set(splits.values()))]))}
    return [
        SplitFile(root / name, splits[name]) for name in sorted(splits, key=lambda name: (order[splits[name]], name))
    ]


def list_of(split: str) -> str:
    """The list of photographs that a split becomes."""
    return known_list(split) or split


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _files(root: Path) -> list[str]:
    """Every file below the root from there, without those that are hidden or below a folder like __pycache__."""
    # what is no file is refused where it is read
    paths = (path for path in sorted(root.rglob("*")) if not path.is_dir())
    names = (path.relative_to(root) for path in paths)
    return [
        name.as_posix()
        for name in names
        if not any(part.startswith(".") for part in name.parts)
        and not any(part.startswith("__") for part in name.parent.parts)
    ]


def _split_names(names: Sequence[str]) -> dict[str, str]:
    """File → split. If some files name one, those that do not are no part of the dataset."""
    shards = {name: match["split"] for name in names if (match := SHARD.fullmatch(name))}
    if shards:
        return shards
    by_folder = {name: _split_of(PurePosixPath(name).parent.parts) for name in names}
    by_file = {name: _split_of([PurePosixPath(name).name]) for name in names}
    for found in (by_folder, by_file):
        if any(found.values()):
            return {name: split for name, split in found.items() if split}
    return dict.fromkeys(names, "")


def _split_of(parts: Sequence[str]) -> str:
    """The split that a folder or file is named after: `train`, `train_1`, `my-train`, not `trained`."""
    for split, words in SPLITS.items():
        pattern = rf"(.*[-._ 0-9])?({'|'.join(words)})([-._ 0-9].*)?"
        if any(re.fullmatch(pattern, part) for part in parts):
            return split
    return ""


def _configured(root: Path, wanted: str) -> list[tuple[str, list[str]]] | None:
    """Split and patterns of the configuration in the README; None if there is none."""
    configs = {c["config_name"]: c for c in read_card(root).configs}
    if wanted and wanted not in configs:
        near = did_you_mean(wanted, list(configs))
        raise DataError(f"{root}: has no configuration {wanted!r}{near}", "Correct --config, or leave it out.")
    default = [name for name, config in configs.items() if config.get("default") or name == "default"]
    if not configs:
        return None
    if not wanted and len(configs) > 1 and not default:
        raise DataError(f"{root}: has {len(configs)} configurations: {', '.join(configs)}", "Name one: --config NAME.")
    config = configs[wanted or next(iter(default or configs))]
    stated = config.get("data_files")
    if stated is None:
        folder = config.get("data_dir")
        return None if not isinstance(folder, str) else [("", [f"{folder}/**"])]
    if isinstance(stated, str) or (isinstance(stated, list) and all(isinstance(text, str) for text in stated)):
        return [("", _texts([stated] if isinstance(stated, str) else stated))]
    items = [item for item in stated if isinstance(item, dict)] if isinstance(stated, list) else []
    paths = [(str(item.get("split")), item.get("path")) for item in items]
    return [(split, _texts([path] if isinstance(path, str) else path)) for split, path in paths]


def _matching(root: Path, patterns: Sequence[str], files: Sequence[str]) -> list[str]:
    """Those of the folder's files that match, in order: a pattern that climbs out of it matches none."""
    texts = [text for text in patterns if "\0" not in text and not text.startswith("/") and ".." not in text.split("/")]
    found = (glob.glob(text, root_dir=root, recursive=True) for text in texts)  # noqa: PTH207 - pathlib's ** ends at folders
    matched = {Path(name).as_posix() for names in found for name in names}
    return [name for name in files if name in matched]


def _saved(folder: Path) -> Iterator[Path]:
    """The shards of a split that `save_to_disk` wrote."""
    listed = json_of(folder / "state.json").get("_data_files")
    for item in listed if isinstance(listed, list) else []:
        for name in _texts([item.get("filename")] if isinstance(item, dict) else []):
            yield folder / Path(name).name


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str) and value] if isinstance(values, list) else []


def _instead(files: Sequence[str]) -> str:
    """What a folder without a dataset holds."""
    counts = Counter(_suffix(name) or "no suffix" for name in files)
    return f", but {', '.join(f'{suffix} {count}' for suffix, count in counts.most_common(4))}" if counts else ""
