"""Machine code of the CRF: kept by content, and made anew wherever its folder or a file in it is no good."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = """
from models.compiled import compiled


@compiled
def tripled(number):
    return {factor} * number
"""


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The folder that machine code is kept in."""
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        sys, "dont_write_bytecode", True
    )  # Python takes a file of the same size and second for the same
    return tmp_path / f"cache/machine-code-{os.getuid()}"


def load(path: Path, factor: int = 3) -> ModuleType:
    """A module with one compiled function, loaded anew as another process would."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(SOURCE.format(factor=factor))
    spec = importlib.util.spec_from_file_location("tripling", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hits(module: ModuleType) -> int:
    """Signatures that were loaded instead of compiled."""
    return sum(module.tripled.stats.cache_hits.values())


def test_copies_of_a_source_share_machine_code_and_another_source_has_its_own(cache, tmp_path):
    """The folder that the copy lies in does not count, nor does its time; nothing is written beside the source."""
    first = load(tmp_path / "one/tripling.py")
    assert (first.tripled(2), hits(first)) == (6, 0)
    copy = load(tmp_path / "two/tripling.py")
    assert (copy.tripled(2), hits(copy)) == (6, 1)
    changed = load(tmp_path / "two/tripling.py", factor=4)
    assert (changed.tripled(2), hits(changed)) == (8, 0)
    assert len(list(cache.iterdir())) == 2
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["tripling.py"]


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [b"", b"\x80\x04K\x01.", b"no pickle"])
def test_a_damaged_file_is_made_again(cache, tmp_path, suffix, damage):
    """Cut off by a power failure, or anything else."""
    assert load(tmp_path / "one/tripling.py").tripled(2) == 6
    (file,) = cache.rglob(f"*.{suffix}")
    file.write_bytes(damage)
    again = load(tmp_path / "one/tripling.py")
    assert (again.tripled(2), hits(again)) == (6, 0)
    healed = load(tmp_path / "one/tripling.py")
    assert (healed.tripled(2), hits(healed)) == (6, 1)


def test_one_changed_byte_anywhere_is_noticed_before_it_runs(cache, tmp_path):
    """Of machine code itself, which would end the process instead of raising, as of what surrounds it."""
    assert load(tmp_path / "one/tripling.py").tripled(2) == 6
    (file,) = cache.rglob("*.nbc")
    good = file.read_bytes()
    code = good.index(b"\x7fELF")
    for place in (*range(code, code + 2048, 128), *range(40, len(good), len(good) // 16)):
        file.write_bytes(good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :])
        again = load(tmp_path / "one/tripling.py")
        assert (again.tripled(2), hits(again)) == (6, 0), place
    healed = load(tmp_path / "one/tripling.py")
    assert (healed.tripled(2), hits(healed)) == (6, 1)


def test_without_a_folder_a_process_compiles_for_itself(tmp_path, monkeypatch):
    """A file stands in its way; the user has no home."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "file"))
    assert load(tmp_path / "one/tripling.py").tripled(2) == 6
    monkeypatch.delenv("LABELFACTORY_CACHE")
    monkeypatch.setattr(Path, "home", lambda: exec("raise RuntimeError('no home')"))
    assert load(tmp_path / "one/tripling.py").tripled(2) == 6


def test_a_full_disk_does_not_stop_the_run(cache, tmp_path, monkeypatch):
    """The machine code is used, and not kept."""
    module = load(tmp_path / "one/tripling.py")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert module.tripled(2) == 6


def test_a_folder_that_others_can_write_is_not_read(cache, tmp_path):
    """Their files would run as ours."""
    assert load(tmp_path / "one/tripling.py").tripled(2) == 6
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o777)
    open_to_others = load(tmp_path / "one/tripling.py")
    assert (open_to_others.tripled(2), hits(open_to_others)) == (6, 0)
    cache.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o700)
    cache.symlink_to(tmp_path / "elsewhere")
    linked = load(tmp_path / "one/tripling.py")
    assert (linked.tripled(2), hits(linked)) == (6, 0)
