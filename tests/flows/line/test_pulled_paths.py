"""A pushed file finds a place where no other file is, and the same one each time."""

import hashlib
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.line.pulled_paths import MOST, Settled, at_own_paths, settle
from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.schema import Classes


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    """A folder with an empty data/raw."""
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)


def sha256(content: str) -> str:
    """The digest of a file with this content."""
    return hashlib.sha256(content.encode()).hexdigest()


def image(name: str, path: str, content: str, mask: tuple[str, str] | None = None) -> Entry:
    """An image whose file has that content; `mask`: path and content of its true mask."""
    return Entry(name, path, sha256(content), ("train",), (), *((mask[0], sha256(mask[1])) if mask else ()))


def manifest(*entries: Entry) -> Manifest:
    """An import of them."""
    return Manifest(Classes(("cat",)), {0: 0, 1: 1}, "import test", entries).numbered()


def put(path: str, content: str) -> None:
    """Write a file of this machine."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)


def settled(import_: Manifest, pushed: Collection[str] = ("theirs", "more", "mask")) -> Settled:
    """By the contents of what is at the remote."""
    return settle(import_, {sha256(content) for content in pushed})


def paths(import_: Manifest) -> list[str]:
    """Of photographs."""
    return [entry.path for entry in import_.entries]


PULLED = f"data/raw/pulled/{sha256('theirs')}"


@pytest.mark.parametrize(
    ("path", "there", "expected"),
    [
        ("data/raw/a.png", {}, "data/raw/a.png"),
        ("data/raw/a.png", {"data/raw/a.png": "theirs"}, "data/raw/a.png"),
        ("data/raw/a.PNG", {"data/raw/a.PNG": "ours"}, f"{PULLED}.png"),
        ("data/raw/a/b.png", {"data/raw/a": "ours"}, f"{PULLED}.png"),
        ("data/raw/a", {"data/raw/a/b.png": "ours"}, PULLED),
        ("data/raw/a.png", {"data/raw/a.png": "ours", f"{PULLED}.png": "edited"}, f"{PULLED}-1.png"),
        ("/nowhere/a.png", {}, f"{PULLED}.png"),
        ("stages/a.py", {}, PULLED),
        ("a\0b", {}, PULLED),
    ],
)
def test_a_file_goes_where_none_is(path, there, expected):
    """And to the same place once it is there."""
    for name, content in there.items():
        put(name, content)
    pushed = manifest(image("a", path, "theirs"))
    assert paths(settled(pushed).manifest) == [expected]
    put(expected, "theirs")
    assert paths(settled(pushed).manifest) == [expected]
    assert paths(settled(settled(pushed).manifest).manifest) == [expected]


def test_a_true_mask_replaces_nothing_either():
    """Photograph and mask are settled one by one; what stays is named."""
    put("data/raw/mask.png", "ours")
    result = settled(manifest(image("a", "data/raw/a.png", "theirs", ("data/raw/mask.png", "mask"))))
    (entry,) = result.manifest.entries
    assert (entry.path, entry.mask_path) == ("data/raw/a.png", f"data/raw/pulled/{sha256('mask')}.png")
    assert result.kept == ("data/raw/mask.png",)


@pytest.mark.parametrize("link", ["dangling", "outside"])
def test_a_link_is_not_replaced(tmp_path, link):
    """Also one that leads nowhere."""
    if link == "outside":
        (tmp_path.parent / "outside").write_text("ours")
    Path("data/raw/a.png").symlink_to(tmp_path.parent / link)
    assert paths(settled(manifest(image("a", "data/raw/a.png", "theirs"))).manifest) == [f"{PULLED}.png"]


def test_no_path_is_of_two_digests():
    """Of a file here that is missing, of two that were pushed under one name, and of one name in two forms."""
    ours = image("b", "data/raw/a.png", "ours")
    theirs = image("a", "data/raw/a.png", "theirs")
    assert paths(settled(manifest(theirs, ours)).manifest) == [f"{PULLED}.png", "data/raw/a.png"]
    more = image("c", "data/raw/./a.png", "more")
    assert paths(settled(manifest(more, theirs)).manifest) == ["data/raw/./a.png", f"{PULLED}.png"]


def test_images_of_the_same_bytes_keep_their_paths():
    """Each its own."""
    both = manifest(image("a", "data/raw/a.png", "theirs"), image("b", "data/raw/b.png", "theirs"))
    assert settled(both).manifest == both


def test_what_this_machine_has_needs_no_copy():
    """Another machine may have it below data/raw/pulled; what has changed here is not taken for it."""
    put("data/raw/a.png", "theirs")
    put("data/raw/b.png", "edited")
    put("data/raw/m.png", "mask")
    own = manifest(
        image("a", "data/raw/a.png", "theirs", ("data/raw/m.png", "mask")),
        image("b", "data/raw/b.png", "more"),
        image("c", "data/raw/a.png", "theirs"),
    )
    pushed = manifest(
        image("a", f"{PULLED}.png", "theirs", ("data/raw/pulled/m.png", "mask")),
        image("b", "data/raw/pulled/b.png", "more"),
        image("c", "data/raw/c.png", "more"),
        image("d", "data/raw/d.png", "theirs"),
    )
    found = at_own_paths(pushed, own)
    assert paths(found) == ["data/raw/a.png", "data/raw/b.png", "data/raw/c.png", "data/raw/d.png"]
    result = settled(found)
    assert result.manifest.entries[1].path == f"data/raw/pulled/{sha256('more')}.png"
    assert result.kept == ("data/raw/b.png",)
    assert found.entries[0].mask_path == "data/raw/m.png"


def test_the_search_for_a_name_ends(tmp_path):
    """Where nothing below data/raw/pulled can be written, which the writing then says."""
    Path("data/raw/pulled").symlink_to(tmp_path.parent)
    put("data/raw/a.png", "ours")
    assert paths(settled(manifest(image("a", "data/raw/a.png", "theirs"))).manifest) == [f"{PULLED}.png"]
    assert MOST < 1000


names = st.sampled_from(["data/raw/a.png", "data/raw/b.png", "data/raw/c/d.png", "data/raw/c", "/nowhere/a.png"])
contents = st.sampled_from(["one", "two", "three"])


@given(
    there=st.dictionaries(names.filter(lambda name: name.endswith("g") and name[0] != "/"), contents),
    pushed=st.lists(st.tuples(names, contents), max_size=6),
    ours=st.lists(st.tuples(names, st.just("never pushed")), max_size=2),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_pull_keeps_every_file_and_comes_to_rest(tmp_path_factory, there, pushed, ours):
    """Whatever is there and whatever is pushed: no file changes, one path has one digest, the second pull changes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        for name, content in there.items():
            put(name, content)
        entries = [image(str(k), *pair) for k, pair in enumerate([*pushed, *ours])]
        pairs = {content for _, content in pushed}
        first = settled(manifest(*entries), pairs).manifest
        by_digest = {sha256(content): content for content in pairs}
        for entry in first.entries:
            if entry.sha256 in by_digest and not Path(entry.path).exists() and entry.path.startswith("data/raw/"):
                put(entry.path, by_digest[entry.sha256])
        assert all(Path(name).read_text() == content for name, content in there.items())
        digests: dict[str, set[str]] = {}
        for entry in first.entries[: len(pushed)]:
            digests.setdefault(entry.path, set()).add(entry.sha256)
        assert all(len(of_path) == 1 for of_path in digests.values())
        assert settled(first, pairs).manifest == first
        assert settled(manifest(*entries), pairs).manifest == first
