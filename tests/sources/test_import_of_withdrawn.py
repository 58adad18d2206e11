"""A withdrawn photograph is refused by every import, and its bytes are not written to the disk again."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner
from voc_folders import voc_folder
from withdrawing import tell_ledger

from app.main import COMMANDS, command_line
from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.left_out import LEFT_OUT
from labelfactory.dataset.manifest import read_manifest
from labelfactory.digests import digest_bytes, digest_file
from sources._import_plan import ImportOptions
from sources.hf import find_hf
from sources.intake import append_from, import_batch
from sources.table import find_table
from sources.voc import find_voc

OPTIONS = ImportOptions(val_fraction=0.5)
TYPED = command_line(*COMMANDS)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def type_(*words: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(TYPED, words)
    assert done.exit_code == 0, done.output
    return done.output


def photograph(seed: int) -> bytes:
    """A PNG of noise."""
    path = Path("drawn.png")
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    path.unlink()
    return data


def raw_digests() -> set[str]:
    """Digests of all files below data/raw."""
    return {digest_file(path) for path in Path("data/raw").rglob("*") if path.is_file()}


def ids() -> list[str]:
    return [entry.image_id for entry in read_manifest().entries]


@pytest.mark.parametrize("words", [(), ("--append",), ("--val-fraction", "0.5")])
def test_the_demo_does_not_draw_it_again(words):
    """Neither photograph nor true mask is written, by no way through the command; `nightly` appends nothing."""
    type_("import", "demo", "--count", "12")
    gone = read_manifest().entries[3]
    tell_ledger(**{gone.image_id: gone.sha256})
    for path in (gone.path, gone.mask_path):
        Path(path).unlink()
    if "--append" in words:
        type_("import", "demo", "--count", "4", "--replace")
    assert "1 withdrawn photographs are left out" in type_("import", "demo", "--count", "12", *words)
    assert append_from("demo:12").added == 0
    assert gone.image_id not in ids()
    assert len(ids()) == 11
    assert not {gone.sha256, gone.mask_sha256} & raw_digests()


def test_a_dry_run_of_the_demo_names_nothing_and_deletes_nothing(here):
    type_("import", "demo", "--count", "12")
    gone = read_manifest().entries[3]
    tell_ledger(**{gone.image_id: gone.sha256})
    assert "would have 11 images" in type_("import", "demo", "--count", "12", "--dry-run")
    assert Path(gone.path).exists()


def dataset(count: int = 4) -> None:
    """A Hugging Face dataset with masks, without ids of its own."""
    rows = {
        "image": [{"bytes": photograph(k), "path": None} for k in range(count)],
        "mask": [{"bytes": encode_mask(np.full((8, 8), k % 3, np.uint8)), "path": None} for k in range(count)],
        "labels": [[k % 2] for k in range(count)],
    }
    info = {
        "info": {
            "features": {
                "image": {"_type": "Image"},
                "mask": {"_type": "Image"},
                "labels": {"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "List"},
            }
        }
    }
    Path("hf").mkdir(exist_ok=True)
    table = pa.table(rows).replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, "hf/train-0.parquet")


def test_a_dataset_does_not_unpack_it_again():
    """Its photograph and mask stay inside the dataset, which is not ours."""
    dataset()
    import_batch(find_hf(Path("hf")), OPTIONS)
    gone = read_manifest().entries[2]
    tell_ledger(innocent=gone.sha256)
    for path in (gone.path, gone.mask_path):
        Path(path).unlink()
    result = import_batch(find_hf(Path("hf")), OPTIONS)
    assert len(result.manifest.entries) == 3
    assert gone.sha256 not in raw_digests()
    assert not Path(gone.mask_path).exists()


def test_a_table_does_not_keep_its_download():
    """Photographs behind addresses: fetched, known by their bytes, not written."""
    rows = []
    for k in range(3):
        with fsspec.open(f"memory://bucket/{k}.png", "wb") as stream:
            stream.write(photograph(k))
        rows.append(json.dumps({"url": f"memory://bucket/{k}.png", "tags": "cat"}))
    Path("t.jsonl").write_text("\n".join(rows))
    tell_ledger(other=digest_bytes(photograph(1)))
    result = import_batch(find_table(Path("t.jsonl")), OPTIONS)
    assert len(result.manifest.entries) == 2
    assert raw_digests() == {digest_bytes(photograph(k)) for k in (0, 2)}


def test_files_below_data_are_deleted_and_those_of_people_are_not(here, capsys):
    """A folder below data/raw, unpacked there by `--download`, and one outside."""
    for folder in (here / "data/raw/voc", here / "mine"):
        voc_folder(folder)
    gone = digest_file(here / "mine/JPEGImages/a.jpg")
    tell_ledger(a=gone)
    for folder in (Path("mine"), Path("data/raw/voc")):
        import_batch(find_voc(folder), ImportOptions(classes=("cat", "dog")))
        assert "1 withdrawn photographs are left out" in capsys.readouterr().err
        assert ids() == ["b", "c"]
    assert (here / "mine/JPEGImages/a.jpg").exists()
    assert gone not in raw_digests()


def test_another_photograph_under_its_id_is_refused_and_named(here, capsys):
    """The ledger means the withdrawn image by that id."""
    voc_folder(here / "mine")
    tell_ledger(a="0" * 64)
    import_batch(find_voc(Path("mine")), ImportOptions(classes=("cat", "dog")))
    assert ids() == ["b", "c"]
    assert "of these, a are other photographs under the ids of withdrawn images" in capsys.readouterr().err


def test_the_list_of_what_was_left_out_does_not_name_it(here):
    """Whatever else is wrong with it."""
    voc_folder(here / "mine", tags="a,cat\nb,dog\nc,cat|dog\nx,cat\n")
    (here / "mine/JPEGImages/a.jpg").write_bytes(b"damaged")
    (here / "mine/JPEGImages/b.jpg").write_bytes(b"damaged")
    tell_ledger(a="0" * 64)
    import_batch(find_voc(Path("mine")), ImportOptions(classes=("cat", "dog"), max_bad_fraction=0.9))
    assert [item["image_id"] for item in json.loads(LEFT_OUT.read_text())] == ["b"]
