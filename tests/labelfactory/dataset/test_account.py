"""The account of an import, on the disk."""

from dataclasses import replace

import pytest

from labelfactory.dataset.account import Account, Images, OfClass, read_account, write_account
from labelfactory.dataset.manifest import MANIFEST
from labelfactory.digests import digest_file
from labelfactory.errors import DataError

CAT = OfClass("cat", tagged=7, training=5, shown=4, shown_and_tagged=3, not_shown=Images(1, ("a",)))
ACCOUNT = Account(
    photographs=9,
    untagged=2,
    lists={"train": 6, "val": 3},
    classes=(CAT,),
    true_masks=8,
    looked_at=5,
    mask_values={0: 5, 1: 4},
    sizes=((4, 5), (6, 7), (80, 90)),
    modes={"L": 1, "RGB": 8},
    orientations={1: 8, 6: 1},
    flat=Images(4, ("a", "b", "c")),
    left_out=1,
    masks_left_out=2,
    passed_over={".txt": 3},
    decisions=("masks: as numbers",),
    warnings=("one class only",),
)


def test_what_is_written_is_read(tmp_path):
    """Number for number; no file is no account."""
    path = tmp_path / "import" / "account.json"
    assert read_account(path) is None
    write_account(ACCOUNT, path)
    assert read_account(path) == ACCOUNT
    assert str(ACCOUNT.flat) == "4 (a, b, c, …)"


def test_it_is_read_for_its_manifest_alone(tmp_path):
    """Beside another manifest there is none; while an import changes both there are two; an earlier version names none."""
    path, manifest = tmp_path / "account.json", tmp_path / MANIFEST.name
    before, after = replace(ACCOUNT, photographs=1), replace(ACCOUNT, photographs=2)
    digests = []
    for content in (b"before", b"after"):
        manifest.write_bytes(content)
        digests.append(digest_file(manifest))
    before, after = (replace(a, manifest=sha) for a, sha in zip((before, after), digests, strict=True))
    write_account(replace(after, earlier=before), path)
    for content, there in ((b"before", before), (b"after", after), (b"another", None)):
        manifest.write_bytes(content)
        assert read_account(path) == there
    write_account(ACCOUNT, path)
    assert read_account(path) == replace(ACCOUNT, manifest=digest_file(manifest))


def test_it_keeps_no_token_and_takes_every_file_name(tmp_path):
    """It is pushed with the import; a suffix may hold any bytes."""
    path = tmp_path / "account.json"
    lines = ("read https://user:secret-of-mine@host/a.csv", "passed over b\udcff")
    odd = Account(**{**ACCOUNT.__dict__, "decisions": lines, "passed_over": {".\udcff": 1}})
    write_account(odd, path)
    assert "secret-of-mine" not in path.read_text()
    assert read_account(path).passed_over == {".\\udcff": 1}
    assert Images.of(["https://user:secret-of-mine@host/a.jpg"]).examples != ("https://user:secret-of-mine@host/a.jpg",)


@pytest.mark.parametrize("text", ["{", "[1]", '{"photographs": 1}', '{"photographs": "many"}'])
def test_a_damaged_file_says_what_to_type(tmp_path, text):
    """Not JSON, or JSON of another kind."""
    path = tmp_path / "account.json"
    path.write_text(text)
    with pytest.raises(DataError, match="damaged") as caught:
        read_account(path)
    assert "import the photographs again" in caught.value.remedy
