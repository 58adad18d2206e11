"""What --append does with photographs whose ids are here: the same again are there already, others are listed."""

import json
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
from datasets_without_ids import COUNT, dataset
from PIL import Image
from typer.testing import CliRunner
from withdrawing import tell_ledger

from app.main import COMMANDS, command_line
from labelfactory.dataset.account import read_account
from labelfactory.dataset.left_out import LEFT_OUT, read_left_out
from labelfactory.dataset.manifest import read_manifest
from labelfactory.digests import digest_file
from labelfactory.foreign_files import read_file
from sources import _batch
from sources._import_plan import ImportOptions, plan_import
from sources.folder import find_folder
from sources.intake import import_batch
from sources.table import find_table

APPEND = ImportOptions(append=True)
TYPED = command_line(*COMMANDS)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photographs(folder: str, *, seed: int, count: int = 3) -> Path:
    """Two classes, as a camera names files."""
    for label in ("cat", "dog"):
        Path(folder, label).mkdir(parents=True)
        for k in range(count):
            pixels = np.random.default_rng([seed, k, ord(label[0])]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(Path(folder, label, f"IMG_{k}.png"))
    return Path(folder)


def type_(*words: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(TYPED, words)
    assert done.exit_code == 0, done.output
    return done.output


def test_others_are_listed_and_the_rest_is_added():
    """In the lines, in the account and in left_out.json, with what to do; they are not unusable, so the import goes on."""
    photographs("cam1", seed=1)
    photographs("cam2", seed=2, count=4)
    type_("import", "folder", "cam1")
    before = read_manifest().entries
    said = " ".join(type_("import", "folder", "cam2", "--append").split())
    assert "import: 6 left out:" in said
    assert "with another id or file name it is taken too, without --append it takes that one's place" in said
    assert "2 images added, 8 in all" in said
    assert read_manifest().entries[:6] == before
    assert (read_account().left_out, len(read_left_out())) == (6, 6)
    assert {(item.image_id, item.path, item.what) for item in read_left_out()} >= {
        ("cat/IMG_0", str(Path("cam2/cat/IMG_0.png")), "other")
    }
    photographs("cam3", seed=3, count=1)
    type_("import", "folder", "cam3", "--append")  # which brings nothing
    assert (read_account().left_out, len(read_left_out())) == (8, 8)


def test_the_same_bytes_at_another_path_are_there_already():
    """A copy, a moved folder."""
    import_batch(find_folder(photographs("cam1", seed=1)), ImportOptions())
    before = read_manifest()
    shutil.move("cam1", "elsewhere")
    plan = plan_import(find_folder(Path("elsewhere")), APPEND, before)
    assert (plan.manifest, plan.left_out) == (before, ())


def test_a_file_at_its_path_is_not_opened_again(monkeypatch):
    """A photograph more costs one photograph, every night."""
    import_batch(find_folder(photographs("cam1", seed=1)), ImportOptions())
    new = Path("cam1/cat/new.png")
    new.write_bytes(Path("cam1/cat/IMG_0.png").read_bytes())
    opened = []
    monkeypatch.setattr(_batch, "read_file", lambda path: (opened.append(path), read_file(path))[1])
    import_batch(find_folder(Path("cam1")), APPEND)
    assert set(opened) == {Path("cam1/cat/new.png")}


def test_one_that_cannot_be_read_is_listed_too():
    """Whether it is the same nobody knows; it costs nothing but its line."""
    import_batch(find_folder(photographs("cam1", seed=1)), ImportOptions())
    shutil.copytree("cam1", "cam2")
    Path("cam2/cat/IMG_0.png").unlink()
    Path("cam2/cat/IMG_0.png").symlink_to("/proc/self/mem-of-nothing")
    Path("cam2/cat/IMG_1.png").write_bytes(b"")
    plan = plan_import(find_folder(Path("cam2")), APPEND, read_manifest())
    assert ("cat/IMG_1", "other") in {(item.image_id, item.what) for item in plan.left_out}
    assert plan.manifest == read_manifest()


def test_photographs_inside_a_dataset_are_told_by_their_bytes():
    """Datasets without ids of their own: the paths in data/raw say nothing."""
    import_batch(dataset("a/d"), ImportOptions(val_fraction=0.5))
    before = read_manifest()
    assert plan_import(dataset("a/d"), APPEND, before).left_out == ()
    plan = plan_import(dataset("b/d", seed=90), APPEND, before)
    assert (plan.manifest, [item.what for item in plan.left_out]) == (before, ["other"] * COUNT)


def test_another_photograph_gives_no_tags_to_the_one_that_is_here():
    """With a new class; the same bytes at another path do."""
    import_batch(find_folder(photographs("cam1", seed=1)), ImportOptions(classes=("cat", "dog")))
    photographs("cam2", seed=2)
    for folder in ("cam1", "cam2"):
        shutil.move(f"{folder}/dog", f"{folder}/fox")
        shutil.copytree(f"{folder}/fox", f"{folder}/dog")
    rows = [{"id": f"dog/IMG_{k}", "path": f"{cam}/dog/IMG_{k}.png", "tags": ["dog", "fox"]} for k, cam in
            enumerate(("cam1", "cam2", "cam1"))]  # fmt: skip
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    type_("import", "table", "t.jsonl", "--append", "--classes", "cat,dog,fox")
    foxes = {entry.image_id for entry in read_manifest().entries if "fox" in entry.tags}
    assert foxes == {"dog/IMG_0", "dog/IMG_2"}


def test_a_withdrawn_photograph_is_refused_and_not_listed(capsys):
    """Under the id of another one, its file must not become known again."""
    import_batch(find_folder(photographs("cam1", seed=1)), ImportOptions())
    photographs("cam2", seed=2)
    tell_ledger(gone=digest_file(Path("cam2/cat/IMG_0.png")))
    import_batch(find_folder(Path("cam2")), APPEND)
    assert "1 withdrawn photographs are left out" in "".join(capsys.readouterr())
    assert "cat/IMG_0" not in {item.image_id for item in read_left_out()}
    assert LEFT_OUT.exists()


def test_nothing_is_fetched_for_an_id_that_is_here(capsys):
    """A signed address differs every day: it is said that other addresses were taken for the same photographs."""
    photographs("cam1", seed=1)
    for day in (1, 2):
        with fsspec.open(f"memory://bucket/{day}.png", "wb") as stream:
            stream.write(Path("cam1/cat/IMG_0.png").read_bytes())
        Path(f"{day}.jsonl").write_text(json.dumps({"id": "a", "url": f"memory://bucket/{day}.png", "tags": "cat"}))
        import_batch(find_table(Path(f"{day}.jsonl")), ImportOptions(append=day == 2))
    assert len(list(Path("data/raw/table").iterdir())) == 1
    assert "1 photographs have other addresses" in "".join(capsys.readouterr())
