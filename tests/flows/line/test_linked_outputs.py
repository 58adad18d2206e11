"""DVC's cache by links (`cache.type` symlink or hardlink): what a stage writes never reaches the object behind the link."""

import os
from pathlib import Path

import pytest

from labelfactory.files import write_json, write_whole


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_linked_output_is_replaced_and_its_object_stays(tmp_path, link):
    """The object is read-only, as DVC leaves it, and two commits may share it."""
    cached = tmp_path / "object"
    cached.write_bytes(b"of an earlier run")
    cached.chmod(0o444)
    for name in ("shard.parquet", "report.json"):
        link(cached, tmp_path / name)
    with write_whole(tmp_path / "shard.parquet") as temporary:
        Path(temporary).write_bytes(b"new rows")
    write_json(tmp_path / "report.json", {"new": True})
    assert cached.read_bytes() == b"of an earlier run"
    assert (tmp_path / "shard.parquet").read_bytes() == b"new rows"
    assert not (tmp_path / "shard.parquet").is_symlink()
