"""Preparing an import: bad photographs are listed or quarantined, lists are checked before training, nothing twice."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hostile_files import EPS, SPECIAL
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from withdrawing import tell_ledger

from labelfactory.dataset import images
from labelfactory.dataset.manifest import MANIFEST, Entry, Manifest, write_manifest
from labelfactory.dataset.prepared import IMAGES, SHARD_SIZE, read_dataset
from labelfactory.errors import DataError, MissingError, NewerFormatError, ParamsError
from labelfactory.schema import Classes
from labelfactory.settings.params import check_sections
from sources._import_plan import ImportOptions
from sources.folder import find_folder
from sources.intake import import_batch
from stages.prepare import Prepare, PrepareConfig, prepare

STORED = {"shard_size": 256, "compression": "zstd"}
CONFIG = PrepareConfig(train_list="train", val_list="val", max_bad_fraction=0.5, **STORED)
STRICT = PrepareConfig(train_list="train", val_list="val", max_bad_fraction=0.0, **STORED)


def entry(folder: Path, name: str, lists: str, tags: str, **changes) -> Entry:
    path = folder / f"{name}.png"
    Image.new("RGB", (7, 5), tuple(hashlib.sha256(name.encode()).digest()[:3])).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    made = Entry(name, path.as_posix(), digest, tuple(lists.split()), tuple(tags.split()))
    return dataclasses.replace(made, **changes)


def manifest_of(*entries: Entry) -> Manifest:
    return Manifest(Classes(("cat", "dog")), {0: 0, 8: 1, 12: 2}, "test", entries).numbered()


@pytest.fixture
def small(tmp_path: Path) -> Manifest:
    return manifest_of(
        entry(tmp_path, "a", "train train_aug", "cat"),
        entry(tmp_path, "b", "train", "cat dog"),
        entry(tmp_path, "c", "train", ""),
        entry(tmp_path, "d", "val", "dog"),
        entry(tmp_path, "e", "", "dog"),
    )


def damaged(manifest: Manifest, row: int, data: bytes) -> Manifest:
    """The manifest as if the file of a row had been imported with these bytes."""
    entries = list(manifest.entries)
    Path(entries[row].path).write_bytes(data)
    entries[row] = dataclasses.replace(entries[row], sha256=hashlib.sha256(data).hexdigest())
    return dataclasses.replace(manifest, entries=tuple(entries))


def test_every_photograph_gets_size_split_and_shard(small):
    """A photograph without tags is a legal negative; one on no list is kept as `rest`."""
    dataset = prepare(small, CONFIG)
    assert [r.split for r in dataset.records] == ["train", "train", "train", "score", "rest"]
    assert {(r.width, r.height, r.shard, r.status, r.reason) for r in dataset.records} == {(7, 5, 0, "ok", "")}
    assert [r.image_id for r in dataset.training] == ["a", "b", "c"]
    assert (dataset.train_list, dataset.val_list, dataset.mask_ids) == ("train", "val", {0: 0, 8: 1, 12: 2})


@given(position=st.integers(5, 10**7))
def test_the_shard_follows_from_the_position_alone(tmp_path_factory, position):
    """A gap in the positions moves nobody."""
    folder = tmp_path_factory.mktemp("images")
    far = entry(folder, "z", "train", "cat dog", position=position)
    dataset = prepare(manifest_of(far, entry(folder, "v", "val", "cat")), CONFIG)
    assert [r.shard for r in dataset.records] == [position // SHARD_SIZE, (position + 1) // SHARD_SIZE]


def truncated(manifest: Manifest) -> Manifest:
    Image.effect_noise((64, 64), 50).save(manifest.entries[0].path)
    return damaged(manifest, 0, Path(manifest.entries[0].path).read_bytes()[:900])


def gone(manifest: Manifest) -> Manifest:
    Path(manifest.entries[0].path).unlink()
    return manifest


def changed(manifest: Manifest) -> Manifest:
    Path(manifest.entries[0].path).write_bytes(b"other bytes")
    return manifest


def mistagged(manifest: Manifest) -> Manifest:
    first = dataclasses.replace(manifest.entries[0], tags=("catt",))
    return dataclasses.replace(manifest, entries=(first, *manifest.entries[1:]))


BAD = {
    "missing": (gone, "No such file or directory"),
    "changed": (changed, "changed since it was imported"),
    "empty": (lambda m: damaged(m, 0, b""), "the file is empty"),
    "not an image": (lambda m: damaged(m, 0, b"GIF? no"), "not an image"),
    "truncated": (truncated, "not decodable"),
    "unknown tag": (mistagged, "tag 'catt' is not a class; did you mean `cat`?"),
}


def linked(manifest: Manifest) -> Manifest:
    path = Path(manifest.entries[0].path)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))
    return manifest


def special(case: str) -> Callable[[Manifest], Manifest]:
    def spoil(manifest: Manifest) -> Manifest:
        path = Path(manifest.entries[0].path)
        path.unlink()
        SPECIAL[case][0](path)
        return manifest

    return spoil


BAD |= {
    "an EPS": (lambda m: damaged(m, 0, EPS), "not an image"),
    "a link": (linked, "is a link; import the images again"),
    "a FIFO": (special("a FIFO"), "is not a regular file"),
    "/dev/zero": (special("/dev/zero"), "is a link"),
    "a socket": (special("a socket"), "is not a regular file"),
    "a large file": (special("a large file"), "larger than 512 MiB"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", list(BAD))
def test_a_bad_photograph_is_quarantined_with_its_reason(small, case):
    """Under the limit the line goes on without it; its row stays."""
    damage, reason = BAD[case]
    dataset = prepare(damage(small), CONFIG)
    first = dataset.records[0]
    assert (first.image_id, first.status, first.width, first.height) == ("a", "quarantined", 0, 0)
    assert reason in first.reason
    assert [r.image_id for r in dataset.usable] == ["b", "c", "d", "e"]


@pytest.mark.parametrize("case", list(BAD))
def test_too_many_bad_photographs_stop_the_run(small, case):
    """Over the limit: row, file, reason and a remedy."""
    damage, reason = BAD[case]
    with pytest.raises(DataError, match="1 of 5 photographs") as caught:
        prepare(damage(small), STRICT)
    assert f"row 1, {small.entries[0].path}: " in caught.value.problem
    assert reason in caught.value.problem
    assert "max_bad_fraction" in caught.value.remedy


def test_every_bad_photograph_is_listed(tmp_path):
    """Forty bad ones give forty lines: none is cut off."""
    good = [entry(tmp_path, "g", "train", "cat dog"), entry(tmp_path, "v", "val", "cat dog")]
    bad = [entry(tmp_path, f"x{k}", "train", "cat", sha256="0" * 64) for k in range(40)]
    with pytest.raises(DataError, match="40 of 42") as caught:
        prepare(manifest_of(*good, *bad), CONFIG)
    assert sum(line.strip().startswith("row ") for line in caught.value.problem.splitlines()) == 40


def test_the_limit_itself_is_allowed(tmp_path):
    """Two bad of four at 0.5 go on."""
    good = [entry(tmp_path, "g", "train", "cat dog"), entry(tmp_path, "v", "val", "cat dog")]
    bad = [entry(tmp_path, name, "train", "cat", sha256=name) for name in "xy"]
    assert len(prepare(manifest_of(*good, *bad), CONFIG).usable) == 2


@pytest.mark.parametrize(
    ("lists", "tags", "message"),
    [
        (("train", "train"), ("cat", "dog"), "list 'val'"),
        (("val", "val"), ("cat", "dog"), "list 'train'"),
        (("train", "val"), ("cat", "dog"), "tagged dog"),
        (("train", "val"), ("", ""), "tagged cat or dog"),
    ],
)
def test_a_data_set_that_cannot_be_trained_is_refused(tmp_path, lists, tags, message):
    """Empty lists and a class without one tagged training image, each with a remedy."""
    entries = [entry(tmp_path, f"i{k}", name, tag) for k, (name, tag) in enumerate(zip(lists, tags, strict=True))]
    with pytest.raises(DataError, match=message) as caught:
        prepare(manifest_of(*entries), CONFIG)
    assert caught.value.remedy


def test_a_quarantined_photograph_does_not_count_for_its_class(tmp_path):
    """The only dog of the training list is broken: said before any training."""
    manifest = manifest_of(
        entry(tmp_path, "a", "train", "cat"), entry(tmp_path, "v", "val", ""), entry(tmp_path, "b", "train", "dog")
    )
    with pytest.raises(DataError, match="tagged dog") as caught:
        prepare(damaged(manifest, 2, b"broken"), CONFIG)
    assert "import again with the other classes: `--classes cat`" in caught.value.remedy


def test_an_image_id_stands_once(tmp_path):
    """Two rows of one name would overwrite each other in every later stage."""
    twins = [entry(tmp_path, "a", "train", "cat dog"), entry(tmp_path, "a", "val", "cat")]
    with pytest.raises(DataError, match="duplicate image id in the import: a"):
        prepare(manifest_of(*twins), CONFIG)


def test_the_same_bytes_in_train_and_val_are_refused(small):
    """A photograph that is learnt and scored makes every score too good; both files are named."""
    copied = dataclasses.replace(small.entries[3], sha256=small.entries[0].sha256)
    leaking = dataclasses.replace(small, entries=(*small.entries[:3], copied, small.entries[4]))
    with pytest.raises(DataError, match="the lists 'train' and 'val' share 1 photographs") as caught:
        prepare(leaking, CONFIG)
    assert f"{small.entries[0].path}, {copied.path}" in caught.value.problem
    same = PrepareConfig(train_list="train", val_list="train", max_bad_fraction=1, **STORED)
    assert len(prepare(leaking, same).records) == 5


def test_a_photograph_of_a_few_pixels_is_set_aside(small):
    """1×1 is a photograph to a decoder, not to a network."""
    stream = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stream, format="PNG")
    assert prepare(damaged(small, 0, stream.getvalue()), CONFIG).records[0].reason.startswith("1×1 pixels: too small")


def test_what_was_fine_is_not_decoded_again(small):
    """The size of last time is taken over, wrong as this test makes it; a new digest is looked at afresh."""
    before = prepare(small, CONFIG)
    marked = dataclasses.replace(before, records=tuple(dataclasses.replace(r, width=99) for r in before.records))
    Image.new("RGB", (6, 4)).save(small.entries[1].path)
    now = damaged(small, 1, Path(small.entries[1].path).read_bytes())
    assert [r.width for r in prepare(now, CONFIG, marked).records] == [99, 6, 99, 99, 99]


def test_what_was_fine_and_has_changed_since_is_found(small):
    """Not decoding is not the same as not looking."""
    before = prepare(small, CONFIG)
    dataset = prepare(changed(small), CONFIG, before)
    assert dataset.records[0].reason == "changed since it was imported"


def test_what_was_bad_is_looked_at_again(small):
    """A file that was restored leaves quarantine."""
    data = Path(small.entries[0].path).read_bytes()
    before = prepare(gone(small), CONFIG)
    Path(small.entries[0].path).write_bytes(data)
    assert prepare(small, CONFIG, before).records[0].status == "ok"


def test_true_masks_are_not_opened(small):
    """With masks named that do not exist the data set is the same but for their names."""
    named = tuple(dataclasses.replace(e, mask_path="no/such.png", mask_sha256="0" * 64) for e in small.entries)
    with_masks = prepare(dataclasses.replace(small, entries=named), CONFIG)
    assert [r.digest for r in with_masks.records] == [r.digest for r in prepare(small, CONFIG).records]


def test_the_stage_writes_the_data_set_and_counts_what_it_did(small, tmp_path, monkeypatch, capsys):
    """First run decodes all that can be; the second decodes nothing and writes the same bytes."""
    monkeypatch.chdir(tmp_path)
    write_manifest(damaged(small, 4, b"broken"), Path("data/import/manifest.parquet"))
    first = Prepare(CONFIG).run()
    data = Path("data/dataset/images.parquet").read_bytes()
    second = Prepare(CONFIG).run()
    assert Path("data/dataset/images.parquet").read_bytes() == data
    assert (first["images"], first["quarantined"], first["decoded"], first["reused"]) == (5, 1, 4, 0)
    assert (second["decoded"], second["reused"]) == (0, 4)
    assert first["images_per_class"] == {"cat": 2, "dog": 2}
    assert first["images_per_list"] == {"train": 3, "train_aug": 1, "val": 1}
    assert first["quarantined_images"][0].startswith("row 5, ")
    assert "row 5, " in capsys.readouterr().err
    assert len(read_dataset(Path("data/dataset/images.parquet")).usable) == 4


def without_sizes(path: Path) -> None:
    """The manifest as format 1 had it."""
    table = pq.read_table(path)
    head = json.loads(table.schema.metadata[b"labelfactory"]) | {"format": 1}
    pq.write_table(table.drop(["width", "height"]).replace_schema_metadata({"labelfactory": json.dumps(head)}), path)


def test_a_photograph_is_decoded_once_by_import_and_prepare_together(tmp_path, monkeypatch):
    """With sizes in the manifest prepare decodes nothing; without them it decodes all, and writes the same bytes."""
    monkeypatch.chdir(tmp_path)
    for k in range(6):
        path = Path(f"photos/{'train' if k < 4 else 'val'}/{'cat' if k % 2 else 'dog'}/{k}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if k == 3 else 1  # lies on its side
        Image.new("RGB", (8 + k, 5), (k, 0, 0)).save(path, exif=exif)
    decodes = []
    decode = images._as_rgb
    monkeypatch.setattr(images, "_as_rgb", lambda image: decodes.append(image.size) or decode(image))
    import_batch(find_folder(Path("photos")), ImportOptions())
    assert len(decodes) == 6
    measured = Prepare(CONFIG).run()
    assert len(decodes) == 6
    assert (measured["images"], measured["decoded"], measured["reused"]) == (6, 0, 6)
    dataset, content = read_dataset(), IMAGES.read_bytes()
    assert sorted((r.width, r.height) for r in dataset.records) == [(5, 11), (8, 5), (9, 5), (10, 5), (12, 5), (13, 5)]
    IMAGES.unlink()
    without_sizes(MANIFEST)
    assert Prepare(CONFIG).run()["decoded"] == 6
    assert len(decodes) == 12
    assert IMAGES.read_bytes() == content


def test_a_size_in_the_manifest_saves_no_check_of_the_bytes(small):
    """A file that changed after it was measured is set aside, and one that is too small has no use."""
    sizes = [(7, 5), (7, 5), (3, 5), (7, 5), (7, 5)]
    entries = [
        dataclasses.replace(e, width=width, height=height)
        for e, (width, height) in zip(small.entries, sizes, strict=True)
    ]
    dataset = prepare(changed(dataclasses.replace(small, entries=tuple(entries))), CONFIG)
    reasons = ["changed since it was imported", "", "3×5 pixels: too small, a side needs 4", "", ""]
    assert [r.reason for r in dataset.records] == reasons


def test_a_damaged_data_set_of_last_time_only_costs_time(small, tmp_path, monkeypatch):
    """A file that is no Parquet is written anew."""
    monkeypatch.chdir(tmp_path)
    write_manifest(small, Path("data/import/manifest.parquet"))
    Path("data/dataset").mkdir(parents=True)
    Path("data/dataset/images.parquet").write_bytes(b"not parquet")
    assert Prepare(CONFIG).run()["decoded"] == 5


def test_without_an_import_the_remedy_is_to_import(tmp_path, monkeypatch):
    """The message names the command."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingError, match="labelfactory import"):
        Prepare(CONFIG).run()


@pytest.mark.parametrize(
    "change", [{"max_bad_fraction": 1.5}, {"max_bad_fraction": -0.1}, {"train_list": ""}, {"x": 1}]
)
def test_bad_parameters_are_refused(change):
    """Fractions are fractions, lists have names, unknown keys are no keys."""
    with pytest.raises(ValidationError):
        PrepareConfig(**{**CONFIG.model_dump(), **change})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shard_size": 0}, "prepare.shard_size: 0 is below the minimum 1"),
        ({"shard_size": 1_000_001}, "prepare.shard_size: 1000001 is above the maximum 1000000"),
        ({"shard_size": 2.5}, "prepare.shard_size: 2.5: input should be a valid integer"),
        (
            {"compression": "zip"},
            "prepare.compression: 'zip': input should be 'zstd', 'snappy', 'gzip', 'lz4' or 'none'",
        ),
    ],
)
def test_shards_of_no_size_and_unknown_compressions_are_refused(change, expected):
    """In params.yaml's own words, before the first image."""
    values = {"prepare": {**CONFIG.model_dump(), **change}}
    with pytest.raises(ParamsError) as caught:
        check_sections(values, {"prepare": PrepareConfig}, "params.yaml")
    assert expected in caught.value.problem


@pytest.mark.parametrize("size", [1, 2, 3, 1_000_000])
def test_the_shard_follows_from_position_and_size(small, size):
    """A removed image leaves a gap in the shard that it was in."""
    config = CONFIG.model_copy(update={"shard_size": size})
    dataset = prepare(small, config)
    assert [r.shard for r in dataset.records] == [k // size for k in range(5)]
    assert dataset.shard_size == size


def test_a_newer_programs_data_set_is_not_replaced(small, tmp_path, monkeypatch):
    """It may hold what this one does not know."""
    monkeypatch.chdir(tmp_path)
    write_manifest(small, Path("data/import/manifest.parquet"))
    Prepare(CONFIG).run()
    path = Path("data/dataset/images.parquet")
    table = pq.read_table(path)
    head = json.loads(table.schema.metadata[b"labelfactory"]) | {"format": 99}
    pq.write_table(table.replace_schema_metadata({"labelfactory": json.dumps(head)}), path)
    before = path.read_bytes()
    with pytest.raises(NewerFormatError, match="format 99 is newer"):
        Prepare(CONFIG).run()
    assert path.read_bytes() == before


def test_a_withdrawn_photograph_that_the_import_names_again_is_left_out(small, tmp_path, monkeypatch, capsys):
    """An import from a backup: no row names the photograph, and the others keep their positions."""
    monkeypatch.chdir(tmp_path)
    write_manifest(
        dataclasses.replace(
            small,
            entries=(*small.entries[:2], dataclasses.replace(small.entries[2], tags=("dog",)), *small.entries[3:]),
        )
    )
    tell_ledger(b=small.entries[1].sha256)
    assert Prepare(CONFIG).run()["images"] == 4
    assert "prepare: 1 withdrawn photographs are left out" in capsys.readouterr().err
    assert [(r.image_id, r.position) for r in read_dataset().records] == [("a", 0), ("c", 2), ("d", 3), ("e", 4)]
