"""Photographs and masks that an import writes: none is written over with other bytes, and the manifest's change is the only one."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from datasets_without_ids import COUNT, dataset, picture

import sources._import_plan
from labelfactory.dataset.manifest import MANIFEST, read_manifest, write_manifest
from labelfactory.dataset.prepared import IMAGES, Dataset, ImageRecord, write_dataset
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from sources._batch import Batch
from sources._import_plan import ImportOptions
from sources.coco import find_coco
from sources.hf import find_hf
from sources.intake import import_batch

OPTIONS = ImportOptions(val_fraction=0.5)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty project, in which no import is a trial."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sources._replacing.TRIAL", 1)
    return tmp_path


def coco(crowds: str) -> Batch:
    """Photographs with an object and a crowd, whose masks depend on what crowds are."""
    Path("photos").mkdir(exist_ok=True)
    images, annotations = [], []
    for k in range(COUNT):
        Path(f"photos/{k}.png").write_bytes(picture(k))
        images.append({"id": k, "file_name": f"{k}.png", "height": 8, "width": 8})
        for crowd in (0, 1):
            corners = [[4 * crowd, 0, 4 * crowd + 3, 0, 4 * crowd + 3, 5, 4 * crowd, 6]]
            annotations.append(
                {"id": 2 * k + crowd, "image_id": k, "category_id": k % 2, "iscrowd": crowd, "segmentation": corners}
            )
    categories = [{"id": k, "name": name} for k, name in enumerate(("cat", "dog"))]
    Path("i.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return find_coco(Path("i.json"), Path("photos"), crowds=crowds)


PAIRS: dict[str, tuple[Callable[[], Batch], Callable[[], Batch]]] = {
    "photographs of folders of the same name": (lambda: dataset("a/d"), lambda: dataset("b/d", seed=90)),
    "masks of a dataset that changed": (lambda: dataset("d"), lambda: dataset("d", first=0)),
    "masks of a COCO file, with crowds of another meaning": (lambda: coco("void"), lambda: coco("objects")),
}
"""Two imports that write files of the same ids."""


def as_it_says() -> bool:
    """Whether every file of the manifest has the bytes that were imported."""
    named = [pair for e in read_manifest().entries for pair in ((e.path, e.sha256), (e.mask_path, e.mask_sha256))]
    return all(digest_file(Path(path)) == sha256 for path, sha256 in named if path)


def unpacked() -> set[str]:
    return {path.as_posix() for path in Path("data/raw").rglob("*") if path.is_file()}


def named() -> set[str]:
    return {path for e in read_manifest().entries for path in (e.path, e.mask_path) if path}


@pytest.mark.parametrize("writes", [0, 1, COUNT - 1])
@pytest.mark.parametrize("pair", PAIRS)
def test_an_import_that_ends_early_leaves_the_one_before(pair, writes, monkeypatch):
    """A kill or a full disk while files are written: the manifest and all that it names are as they were."""
    first, second = PAIRS[pair]
    import_batch(first(), OPTIONS)
    before, whole = MANIFEST.read_bytes(), sources._import_plan.write_whole
    count = iter(range(99))

    @contextmanager
    def ends(path: Path) -> Iterator[Path]:
        if next(count) == writes:
            raise KeyboardInterrupt
        with whole(path) as temporary:
            yield temporary

    monkeypatch.setattr(sources._import_plan, "write_whole", ends)
    with pytest.raises(KeyboardInterrupt):
        import_batch(second(), replace(OPTIONS, replace=True))
    assert MANIFEST.read_bytes() == before
    assert as_it_says()
    monkeypatch.undo()


@pytest.mark.parametrize("pair", PAIRS)
def test_a_second_import_takes_the_place_of_the_first(pair):
    """Its files are there as it says, and those of the first are gone."""
    first, second = PAIRS[pair]
    import_batch(first(), OPTIONS)
    old = unpacked()
    import_batch(second(), replace(OPTIONS, replace=True))
    assert as_it_says()
    assert old != unpacked() == named() & unpacked()


def test_another_dataset_in_a_folder_of_the_same_name_is_refused():
    """Its ids are the same, since the datasets have none of their own; its photographs are others."""
    import_batch(dataset("a/d"), OPTIONS)
    before, files = MANIFEST.read_bytes(), unpacked()
    with pytest.raises(DataError, match=f"{COUNT} of those here would go"):
        import_batch(dataset("b/d", seed=90), OPTIONS)
    assert (MANIFEST.read_bytes(), unpacked()) == (before, files)
    assert as_it_says()


def test_the_same_dataset_at_another_place_is_the_same():
    """Neither a loss nor another file."""
    import_batch(dataset("a/d"), OPTIONS)
    shutil.move("a/d", "d")
    before = read_manifest().entries
    import_batch(find_hf(Path("d")), OPTIONS)
    assert [replace(e, mask_path=None) for e in read_manifest().entries] == [replace(e, mask_path=None) for e in before]


def as_before_digests() -> None:
    """What an earlier version wrote: names without digests."""
    manifest = read_manifest()

    def renamed(path: str | None) -> str | None:
        if path is None or not path.startswith("data/raw/"):
            return path
        head, _, suffix = path.rsplit(".", 2)
        return Path(path).rename(f"{head}.{suffix}").as_posix()

    entries = [replace(e, path=renamed(e.path), mask_path=renamed(e.mask_path)) for e in manifest.entries]
    write_manifest(replace(manifest, entries=tuple(entries)))


@pytest.mark.parametrize("source", [lambda: dataset("d"), lambda: coco("void")], ids=["hf", "coco"])
@pytest.mark.parametrize("append", [False, True])
def test_an_import_of_an_earlier_version_is_imported_again(source, append):
    """The same bytes are no loss and no new images; everything but the paths, and so every row's key, stays."""
    import_batch(source(), OPTIONS)
    now = read_manifest()
    as_before_digests()
    before = read_manifest()
    assert import_batch(source(), replace(OPTIONS, append=append)).added == (0 if append else COUNT)
    assert read_manifest() == (before if append else now)
    assert unpacked() == named() & unpacked()
    assert as_it_says()


def test_what_the_prepared_data_set_names_stays_until_it_is_prepared_again():
    """A run at work, an export and the pages read its photographs."""
    import_batch(dataset("a/d"), OPTIONS)
    entries = read_manifest().entries
    rows = [ImageRecord(**vars(e), split="train", shard=0, status="ok", reason="") for e in entries]
    classes = read_manifest().classes
    write_dataset(Dataset(classes, {}, "train", "val", 0.0, tuple(rows)))
    old = unpacked()
    import_batch(dataset("b/d", seed=90), replace(OPTIONS, replace=True))
    assert old < unpacked()
    IMAGES.write_bytes(b"damaged")
    import_batch(dataset("b/d", seed=90), OPTIONS)
    assert old < unpacked()
    IMAGES.unlink()
    import_batch(dataset("b/d", seed=90), OPTIONS)
    assert unpacked() == named()


def test_nothing_of_people_is_deleted():
    """Their files below data/raw, and all of a folder that another project may share through a link."""
    for name in (
        "hf/d/a.png",
        "hf/0123456789abcdef/a.png",
        "masks/a.png",
        "coco/photos/a.png",
        "voc/a.0123456789abcdef.png",
    ):
        Path("data/raw", name).parent.mkdir(parents=True, exist_ok=True)
        Path("data/raw", name).write_bytes(picture(1))
    mine = unpacked()
    import_batch(dataset("a/d"), OPTIONS)
    import_batch(dataset("b/d", seed=90), replace(OPTIONS, replace=True))
    assert unpacked() == mine | named()
    Path("data/raw").rename("large-disk")
    Path("data/raw").symlink_to("../large-disk")
    import_batch(dataset("a/d"), replace(OPTIONS, replace=True))
    assert len(list(Path("large-disk").rglob("*.png"))) == len(mine) + 4 * COUNT


def test_a_source_that_changes_during_the_import_stops_it():
    """Between the look at its photographs and their writing; a name must not promise other bytes."""
    dataset("d")
    batch = find_hf(Path("d"))
    plan = sources._import_plan.plan_import(batch, OPTIONS)
    changed = [replace(c, photograph_bytes=lambda: picture(99)) for c in plan.pending]
    with pytest.raises(DataError, match="changed during the import"):
        replace(plan, pending=tuple(changed)).write_files()
    assert unpacked() == set()
