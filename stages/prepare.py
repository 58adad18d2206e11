"""Check every photograph of an import; assign each to training, scoring or neither, and to its shard.

Reads   data/import/manifest.parquet    what the importer wrote (labelfactory.dataset.manifest), and the photographs it names
Writes  data/dataset/images.parquet     one row per photograph (labelfactory.dataset.prepared); true masks are not opened
A photograph that cannot be used is quarantined with its reason, never dropped. A withdrawn one, which only an import from a backup
can name, is left out: no output names it again. Every file is read and hashed; one whose
digest is that of the import is decoded only if neither the import nor the last run measured it.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from labelfactory.console import say
from labelfactory.dataset.images import MIN_SIDE, decode_photograph
from labelfactory.dataset.manifest import Entry, Manifest, read_manifest, same_bytes
from labelfactory.dataset.prepared import Dataset, ImageRecord, read_dataset, write_dataset
from labelfactory.dataset.withdrawn import say_refused, withdrawn
from labelfactory.errors import DataError, MissingError, NewerFormatError, did_you_mean
from labelfactory.foreign_files import FileRefusedError, read_imported
from labelfactory.progress import progress
from labelfactory.schema import Classes
from labelfactory.settings.params import Section
from labelfactory.stage.base import Stage
from labelfactory.stage.runner import main
from labelfactory.typed_names import typed

IMPORT_AGAIN = "Mend or remove these and type `labelfactory import …` again, then `dvc repro`."


class PrepareConfig(Section):
    """Section `prepare` of params.yaml."""

    train_list: str = Field(min_length=1, description="list of the import that goes through the line")
    val_list: str = Field(min_length=1, description="list of the import on which networks are scored")
    max_bad_fraction: float = Field(ge=0, le=1, description="more unusable photographs or rows than this stop the run")
    shard_size: int = Field(
        ge=1,
        le=1_000_000,
        description="images to a shard: a kill costs as many at most; with another size all rows are made anew",
    )
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = Field(
        description="of shards; with another one rows are copied, not computed"
    )


Key = tuple[str, str, str]
"""Image id, path and SHA-256: the same photograph under the same name."""
Size = tuple[int, int]
"""Width and height in pixels, upright."""


@dataclass(frozen=True)
class Checked:
    """The result of checking one photograph."""

    width: int = 0  # pixels, upright
    height: int = 0
    reason: str = ""  # why it cannot be used; empty if it can


def prepare(manifest: Manifest, config: PrepareConfig, previous: Dataset | None = None) -> Dataset:
    """Check every photograph of an import.

    Args:
        manifest: the import; every entry has its position.
        config: the lists, and the share of bad photographs that is accepted.
        previous: the data set of the last run, if there is one.

    Returns:
        The data set, rows in the manifest's order.

    Raises:
        DataError: a list without images, a class without a tagged training image, a duplicate id, the same bytes in
            training and validation, or too many bad photographs, all of them listed with row, file and reason.
    """
    _refuse_duplicates(manifest.entries)
    _check_lists(manifest.entries, manifest.classes, config)
    _refuse_leaks(manifest.entries, config)
    results = _check_all(manifest.entries, manifest.classes, known_sizes(manifest, previous))
    records = tuple(_record(e, c, config) for e, c in zip(manifest.entries, results, strict=True))
    bad = [f"  {line}" for line in bad_lines(records)]
    if bad and len(bad) > config.max_bad_fraction * len(records):
        raise DataError(
            f"{len(bad)} of {len(records)} photographs cannot be used (prepare.max_bad_fraction is "
            f"{config.max_bad_fraction:g})\n" + "\n".join(bad),
            f"{IMPORT_AGAIN} Or raise prepare.max_bad_fraction to leave them out.",
        )
    if bad:
        _check_lists([r for r in records if r.status == "ok"], manifest.classes, config)
    return Dataset(
        classes=manifest.classes,
        mask_ids=manifest.mask_ids,
        train_list=config.train_list,
        val_list=config.val_list,
        max_bad_fraction=config.max_bad_fraction,
        records=records,
        shard_size=config.shard_size,
        compression=config.compression,
    )


def known_sizes(manifest: Manifest, previous: Dataset | None) -> dict[Key, Size]:
    """Sizes that need no decoding: measured by the import, or by the last run."""
    usable = previous.usable if previous else ()
    return {_key(r): (r.width, r.height) for r in usable} | {
        _key(e): (e.width, e.height) for e in manifest.entries if e.width
    }


def _key(image: Entry | ImageRecord) -> Key:
    return image.image_id, image.path, image.sha256


def bad_lines(records: Iterable[ImageRecord]) -> list[str]:
    """One line for each quarantined photograph: its row in the manifest (from 1), its file, the reason."""
    return [f"row {row}, {r.path}: {r.reason}" for row, r in enumerate(records, 1) if r.status != "ok"]


def _refuse_duplicates(entries: Sequence[Entry]) -> None:
    for what, count in (
        ("image id", Counter(e.image_id for e in entries)),
        ("position", Counter(e.position for e in entries)),
    ):
        duplicates = [str(value) for value, times in count.items() if times > 1]
        if duplicates:
            raise DataError(f"duplicate {what} in the import: {', '.join(duplicates)}", "Import the images again.")


def _refuse_leaks(entries: Sequence[Entry], config: PrepareConfig) -> None:
    """A photograph in training and validation makes every score too good."""
    leaks = same_bytes(entries, config.train_list, config.val_list)
    if leaks:
        raise DataError(
            f"the lists {config.train_list!r} and {config.val_list!r} share {len(leaks)} photographs (same bytes)\n"
            + "\n".join(f"  {', '.join(e.path for e in group)}" for group in leaks),
            "Remove each from one of the lists and type `labelfactory import …` again, then `dvc repro`.",
        )


def _check_lists(images: Sequence[Entry] | Sequence[ImageRecord], classes: Classes, config: PrepareConfig) -> None:
    """Refuse a data set on which nothing could be trained or scored."""
    counts = Counter(name for image in images for name in image.lists)
    for key, name in (("train_list", config.train_list), ("val_list", config.val_list)):
        if not counts[name]:
            lists = ", ".join(f"{n} ({c})" for n, c in sorted(counts.items())) or "none"
            raise DataError(
                f"the list {name!r} has no usable image",
                f"Set prepare.{key} in params.yaml to one of the import's lists: {lists}.",
            )
    tagged = Counter(tag for image in images if config.train_list in image.lists for tag in image.tags)
    untagged = [name for name in classes.names if not tagged[name]]
    if untagged:
        others = [typed(name) for name in classes.names if tagged[name]]
        again = (
            f", or import again with the other classes: `--classes {shlex.quote(','.join(others))}`" if others else ""
        )
        raise DataError(
            f"no usable image on the list {config.train_list!r} is tagged {' or '.join(untagged)}",
            f"Tag or import some{again}.",
        )


def _check_all(entries: Sequence[Entry], classes: Classes, sizes: Mapping[Key, Size]) -> list[Checked]:
    """Check every photograph, on all cores; one with a known size is not decoded."""
    results = []
    with ThreadPoolExecutor() as pool, progress("prepare", len(entries)) as tick:
        for result in pool.map(lambda entry: _check(entry, classes, sizes.get(_key(entry))), entries):
            results.append(result)
            tick()
    return results


def _check(entry: Entry, classes: Classes, size: Size | None) -> Checked:
    try:
        data = read_imported(entry.path, entry.sha256)
    except FileRefusedError as error:
        return Checked(reason=error.reason)
    for tag in entry.tags:
        if tag not in classes.names:
            return Checked(reason=f"tag {tag!r} is not a class{did_you_mean(tag, classes.names)}")
    try:
        width, height = size or decode_photograph(data).shape[1::-1]
    except DataError as error:
        return Checked(reason=error.problem)
    if min(height, width) < MIN_SIDE:
        return Checked(reason=f"{width}×{height} pixels: too small, a side needs {MIN_SIDE}")
    return Checked(width, height)


def _record(entry: Entry, checked: Checked, config: PrepareConfig) -> ImageRecord:
    split = "train" if config.train_list in entry.lists else "score" if entry.lists else "rest"
    return ImageRecord(
        image_id=entry.image_id,
        path=entry.path,
        sha256=entry.sha256,
        lists=entry.lists,
        tags=entry.tags,
        mask_path=entry.mask_path,
        mask_sha256=entry.mask_sha256,
        position=entry.position,
        width=checked.width,
        height=checked.height,
        split=split,
        shard=entry.position // config.shard_size,
        status="quarantined" if checked.reason else "ok",
        reason=checked.reason,
    )


class Prepare(Stage[PrepareConfig]):
    """Writes data/dataset/images.parquet."""

    reads = ("import",)
    writes = "dataset"

    def units(self, metrics: Mapping[str, Any]) -> int:
        """Photographs that were checked."""
        return int(metrics["images"])

    def run(self) -> dict[str, Any]:
        """Check the import and write the data set; bad photographs are printed and named in the report."""
        target = self.output / "images.parquet"
        manifest = _without_withdrawn(read_manifest(self.folder("import") / "manifest.parquet"))
        previous = _previous(target)
        dataset = prepare(manifest, self.cfg, previous)
        sizes = known_sizes(manifest, previous)
        reused = sum(_key(record) in sizes for record in dataset.usable)
        write_dataset(dataset, target)
        bad = bad_lines(dataset.records)
        if bad:
            say("\n".join([f"{len(bad)} photographs are left out:", *(f"  {line}" for line in bad)]))
        usable = dataset.usable
        return {
            "images": len(dataset.records),
            "training_images": len(dataset.training),
            "quarantined": len(bad),
            "quarantined_images": bad,
            "decoded": len(usable) - reused,
            "reused": reused,
            "shards": len({r.shard for r in dataset.records}),
            "images_per_class": {n: sum(n in r.tags for r in usable) for n in dataset.classes.names},
            "images_without_tags": sum(not r.tags for r in usable),
            "images_per_list": dict(sorted(Counter(n for r in usable for n in r.lists).items())),
        }


def _without_withdrawn(manifest: Manifest) -> Manifest:
    """The import without photographs that were withdrawn; says how many there were."""
    gone = withdrawn()
    say_refused(
        [(e.image_id, e.sha256) for e in manifest.entries if gone.refuses(e.image_id, e.sha256)], doing="prepare"
    )
    return replace(manifest, entries=gone.kept(manifest.entries))


def _previous(path: Path) -> Dataset | None:
    """The data set of the last run; None if there is none or it is unreadable. One of a newer format is not replaced."""
    try:
        return read_dataset(path)
    except NewerFormatError:
        raise
    except MissingError:
        return None
    except Exception:  # it only saves decoding
        return None


if __name__ == "__main__":
    main(Prepare)
