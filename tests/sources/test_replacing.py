"""Which images an import takes out of the project."""

from dataclasses import replace

import pytest

from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.schema import Classes
from sources._replacing import lost_images

OLD = [Entry(name, f"photos/{name}.jpg", f"sha of {name}", ("train",), ("cat",)) for name in "abc"]
CASES = {
    "the same": (OLD, ""),
    "more": ([*OLD, replace(OLD[0], image_id="d", path="d.jpg", sha256="d")], ""),
    "other tags, lists and order": ([replace(e, tags=(), lists=("val",)) for e in reversed(OLD)], ""),
    "fewer": (OLD[1:], "a"),
    "a photograph that was edited in its place": ([replace(OLD[0], sha256="edited"), *OLD[1:]], ""),
    "photographs that were moved": ([replace(e, path=f"elsewhere/{e.image_id}.jpg") for e in OLD], ""),
    "other photographs of the same ids": (
        [replace(e, path=f"other/{e.image_id}.jpg", sha256="other") for e in OLD],
        "abc",
    ),
    "other ids": ([replace(e, image_id=f"x{e.image_id}") for e in OLD], "abc"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_image_stays_if_its_id_names_the_same_file_or_bytes(case, tmp_path, monkeypatch):
    """Corrections and outputs belong to ids."""
    monkeypatch.chdir(tmp_path)
    entries, lost = CASES[case]
    old, new = (Manifest(Classes(("cat",)), {0: 0}, "import", tuple(e)) for e in (OLD, entries))
    assert "".join(entry.image_id for entry in lost_images(old, new)) == lost
