"""Where a withdrawn image still stands: every kind of file, any id, DVC's cache wherever it is."""

import bz2
import gzip
import html
import lzma
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_line import MadeLine, recorded_line
from markupsafe import escape
from PIL import Image
from withdrawing import CACHE, began, finish, left, renamed, signed

from labelfactory.dataset.left_out import LeftOut, write_left_out
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.dataset.map_files import MAPS
from labelfactory.digests import digest_bytes, digest_file
from labelfactory.dvc_cache import cache_folder, is_ours
from lineage.lookup import Lookup
from lineage.record import record
from lineage.removal import remove
from lineage.traces import UNREAD, Traces, in_project
from lineage.withdrawal_report import traces_of


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project with four images in which everything was made once and recorded."""
    return recorded_line(tmp_path, monkeypatch)


@pytest.mark.parametrize("odd", ["{", '{"a', '{"a": [1', "a<b>&c", 'quo"ted 17', "été 1/x", "back\\slash"])
def test_an_odd_id_is_found_and_stops_nothing(line, odd):
    """Another image with such an id, and itself: in Parquet, JSON and HTML."""
    renamed(line, "image-3", odd)
    other = began("image-1")
    remove(other)
    line.run()
    record()
    assert left(other) == []
    own = began(odd)
    Path("data/evaluation/report.html").write_text(f"<p>{html.escape(odd)}</p>")
    held = {line.partition(": ")[0] for line in left(own)}
    assert {"data/masks/shard-00000.parquet", "data/segmenter/training_rows.parquet"} <= held
    assert len(odd) < 4 or "data/evaluation/report.html" in held


@pytest.mark.parametrize("common", ["cat", "train", "12", "3", "seed", "center", "learning_rate"])
def test_an_id_that_is_a_usual_word_is_found_in_columns_alone(line, common):
    """The name of a class or a list, a small number, a word of our reports or parameters: texts are full of them."""
    renamed(line, "image-1", common)
    withdrawal = began(common)
    remove(withdrawal)
    line.run()
    record()
    assert left(withdrawal) == []


@pytest.mark.parametrize("odd", ["12", "o'neil-1", 'the "first"'])
def test_old_reports_go_from_the_cache_whatever_the_id(line, odd):
    """They show the photograph. The current one stays: it was made without the image."""
    renamed(line, "image-1", odd)
    report = Path("data/evaluation/report.html")
    report.write_text(f"<!doctype html><p>{escape(odd)}</p> pixels of it")
    line.commit()
    withdrawal = began(odd)
    assert len(odd) < 4 or Traces.of([odd], [], []).in_file(report)
    report.write_text("<!doctype html><p>without it</p>")
    finish(line, withdrawal)
    pages = [path.read_text() for path in CACHE.glob("*/*") if path.read_bytes().startswith(b"<!doctype")]
    assert pages == [report.read_text()]


def moved_cache(folder: Path, text: str, name: str = "config.local") -> None:
    """DVC's cache in another folder, as `dvc cache dir` notes it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(".dvc/cache", folder)
    Path(".dvc", name).write_text(
        f"[core]\n    autostage = true\n['remote \"x\"']\n    url = /x\n[cache]\n    dir = {text}\n"
    )


def test_a_cache_elsewhere_in_the_project_is_cleaned(line):
    """Its address is relative to the file of settings; the local file counts before the shared one."""
    Path(".dvc/config").write_text("[cache]\n    dir = /nowhere\n")
    moved_cache(Path("big/cache"), "../big/cache")
    assert cache_folder() == Path("big/cache/files/md5")
    withdrawal = began("image-1")
    assert withdrawal.cache
    finish(line, withdrawal)
    assert not any(Path("big/cache/files/md5", md5[:2], md5[2:]).exists() for md5 in withdrawal.cache)


def test_a_cache_outside_of_the_project_is_named_and_stays(line, tmp_path_factory):
    """Other projects may share it."""
    outside = tmp_path_factory.mktemp("big") / "cache"
    moved_cache(outside, str(outside), "config")
    assert (cache_folder(), is_ours()) == (outside / "files/md5", False)
    withdrawal = began("image-1")
    objects = [str(outside / "files/md5" / md5[:2] / md5[2:]) for md5 in withdrawal.cache]
    assert objects
    finish(line, withdrawal)
    report, _ = signed(withdrawal)
    assert {f"{path} (in DVC's cache outside of this project)" for path in objects} <= set(report["elsewhere"])
    assert all(Path(path).exists() for path in objects)


def test_every_kind_of_file_is_searched(tmp_path):
    """Columns and lists of text, metadata, names of files, archives, pictures, anything else."""
    photograph = tmp_path / "p.bin"
    photograph.write_bytes(b"\x89PNG pixels")
    traces = Traces(frozenset({"image-7"}), frozenset({digest_file(photograph)}), frozenset({"k" * 64}))
    assert traces.in_file(photograph) == {"the photograph or a mask of it"}

    def file(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    def table(name: str, column: pa.Array, **metadata: str) -> Path:
        pq.write_table(pa.table({"text": column}).replace_schema_metadata(metadata), tmp_path / name)
        return tmp_path / name

    holding = [
        table("a.parquet", pa.array(["x", "about image-7."])),
        table("b.parquet", pa.array([["x"], ["image-7", None], None])),
        table("c.parquet", pa.array(["x", "image-7"]).dictionary_encode()),
        table("d.parquet", pa.array(["x"]), note="of image-7"),
        table("e.parquet", pa.array(['{"made": {"masks": "' + "k" * 64 + '"}}'])),
        file("f.csv", b"1,image-7,2\n"),
        file("g.bin", b"\0" * 6_000_000 + b"image-7" + b"\0"),
    ]
    for name, member in (("h.zip", "image-7.png"), ("i.zip", "other.png")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, photograph.read_bytes() if member == "other.png" else b"x")
        holding.append(tmp_path / name)
    for path in holding:
        assert traces.in_file(path), path
    bytes_ = photograph.read_bytes()
    holding.append(table("n.parquet", pa.array([bytes_])))
    holding.append(table("o.parquet", pa.array([{"bytes": bytes_, "path": None}])))
    holding.append(table("p.parquet", pa.array([[{"path": "a/image-7"}]])))
    holding.append(file("q.png.gz", gzip.compress(bytes_)))
    for path in holding[-4:]:
        assert traces.in_file(path), path
    for path in (
        table("r.parquet", pa.array([{"bytes": b"other", "path": "image-70"}])),
        file("s.gz", gzip.compress(b"other")),
        file("t.gz", b"\x1f\x8b damaged"),
        table("j.parquet", pa.array(["image-77", "an-image-7", "image-7b"])),
        file("k.csv", b"image-70"),
        file("l", b""),
        file("m.parquet", b"PAR1 damaged"),
    ):
        assert not traces.in_file(path), path
    damaged = {path.name for path in tmp_path.iterdir() if UNREAD in traces.read(path)}
    assert damaged == {"t.gz", "m.parquet"}
    assert traces.in_name(Path("image-7.0123abc.png"))
    assert not traces.in_name(Path("image-70.png"))


PIXELS = b"\x89PNG pixels"
OTHERS = (b"\x89PNG others", None)
VIEWS = pa.list_view(pa.string_view())


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("image_id", pa.array(["x", "image-7"], pa.large_string())),
        ("image_id", pa.array(["x", "image-7"], pa.string_view())),
        ("path", pa.array(["x/image-7.png"], pa.large_string()).dictionary_encode()),
        ("text", pa.array([["x"], ["image-7"]], pa.large_list(pa.large_string()))),
        ("text", pa.array([["x"], ["image-7"]], VIEWS)),
        ("text", pa.array([["x"], ["image-7"]], pa.list_(pa.dictionary(pa.int32(), pa.string())))),
        ("text", pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['{"id": "image-7"}']))),
    ],
)
def test_every_kind_of_text_in_a_table_is_searched(tmp_path, column, array, ours):
    """Decided by the values behind lists, dictionaries, views and extensions, in tables of the line too."""
    found = in_table(tmp_path, {column: array}, ours=ours)
    assert found == {"the image's id"}


@pytest.mark.parametrize(
    "array",
    [
        pa.array([PIXELS, OTHERS[0]], pa.binary(len(PIXELS))),
        pa.array([*OTHERS, PIXELS], pa.large_binary()),
        pa.array([*OTHERS, PIXELS], pa.binary_view()),
        pa.array([*OTHERS, PIXELS]).dictionary_encode(),
        pa.array([*OTHERS, PIXELS], pa.binary(len(PIXELS))).dictionary_encode(),
        pa.array([[PIXELS]], pa.list_(pa.binary(), 1)),
        pa.array([[PIXELS]], pa.large_list_view(pa.binary_view())),
        pa.array([{"a": {"b": [PIXELS]}, "c": None}]),
        pa.array([[("x", PIXELS)]], pa.map_(pa.string(), pa.binary())),
    ],
)
def test_every_kind_of_bytes_in_a_table_is_searched(tmp_path, array):
    """Of whatever width, in lists, records and maps."""
    assert in_table(tmp_path, {"picture": array}) == {"the photograph or a mask of it"}


@pytest.mark.parametrize(
    "columns",
    [
        {"image-7": pa.array([1])},
        {"image-7.png": pa.array([1.5])},
        {"a": pa.array([{"image-7": 1}])},
        {"text": pa.array([b"of image-7, as old writers have texts"])},
        {"image_id": pa.array([b"x", b"image-7"])},
        {"text": pa.array([{"image_id": b"image-7"}])},
        {"image_id": pa.array([70, 123456])},
        {"text": pa.array(["x"]), "": pa.array(["image-7"])},
    ],
)
def test_names_of_columns_and_texts_as_bytes_are_searched(tmp_path, columns):
    """A column for each image, a column of texts that does not say so, ids as numbers."""
    assert in_table(tmp_path, columns) == {"the image's id"}


def test_notes_in_a_table_are_searched_by_name_and_value(tmp_path):
    """Those of a column too."""
    for notes in ({"a": "of image-7"}, {"image-7": ""}):
        field = pa.field("a", pa.int8(), metadata=notes)
        assert in_table(tmp_path, {"a": pa.array([1], pa.int8())}, schema=pa.schema([field])) == {"the image's id"}


def test_other_values_in_a_table_are_no_trace(tmp_path):
    """Numbers, times, other ids; all of it is read."""
    columns = {
        "image_id": pa.array(["image-70"], pa.string_view()),
        "mask": pa.array([b"image-70"]),
        "a": pa.array([1], pa.decimal128(5)),
        "b": pa.array([1], pa.duration("s")),
        "c": pa.array([[0.5]]),
        "d": pa.nulls(1),
        "e": pa.array([{"when": 2**62, "what": "x"}], pa.struct([("when", pa.timestamp("ms")), ("what", pa.string())])),
        "f": pa.array([True]),
    }
    assert in_table(tmp_path, columns) == set()


def test_a_column_that_cannot_be_read_is_named_beside_what_others_hold(tmp_path, monkeypatch):
    """A type that is not known, one that Arrow writes but does not read back, a table that is sealed."""
    other = pa.array([["x"], None], pa.list_(pa.string(), 1))
    assert in_table(tmp_path, {"a": other, "image_id": pa.array(["image-7", "x"])}) == {"the image's id", UNREAD}
    monkeypatch.setattr("lineage.table_values.NUMBERS", ())
    assert in_table(tmp_path, {"a": pa.array([1])}) == {UNREAD}
    (tmp_path / "a.parquet").write_bytes(b"PARE sealed")
    assert sought().read(tmp_path / "a.parquet") == {UNREAD}


@pytest.mark.parametrize("start", [b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\xff\xd8\xff", b"\x89PNG"])
def test_a_text_that_begins_like_a_picture_is_searched(tmp_path, start):
    """In a file and in a table; a picture is compared as a whole, whatever is written in it."""
    (tmp_path / "a").write_bytes(start + b"W: about image-7")
    assert sought().read(tmp_path / "a") == {"the image's id"}
    assert in_table(tmp_path, {"a": pa.array([start + b"W: about image-7"])}) == {"the image's id"}


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp"])
def test_a_picture_is_compared_as_a_whole(tmp_path, suffix):
    """Its bytes may be anything."""
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (4, 4)).save(path)
    path.write_bytes(path.read_bytes() + b" image-7 ")
    assert sought().read(path) == set()
    assert in_table(tmp_path, {"a": pa.array([path.read_bytes()])}) == set()


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("before", [b"", b"x"])
def test_texts_in_utf_16_are_searched(tmp_path, code, before):
    """At an odd byte too, as in the files of other programs; a longer word is another one there as well."""
    for text, held in (("about image-7.", {"the image's id"}), ("about image-70, an-image-7", set())):
        (tmp_path / "a.csv").write_bytes(before + text.encode(code))
        assert sought().read(tmp_path / "a.csv") == held


def lz4(data: bytes) -> bytes:
    """Packed as a frame of its own."""
    return packed_by("lz4", data)


def zstd(data: bytes) -> bytes:
    """The same."""
    return packed_by("zstd", data)


def packed_by(name: str, data: bytes) -> bytes:
    """Packed by one of Arrow's codecs."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, name) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd, lz4])
def test_a_packed_file_is_searched(tmp_path, pack):
    """The photograph, and a text; one that is damaged is named."""
    path = tmp_path / "a"
    for content, held in (
        (PIXELS, {"the photograph or a mask of it"}),
        (b"x" * 5000 + b" about image-7 ", {"the image's id"}),
        ("image-7".encode("utf-16"), {"the image's id"}),
        (b"another, image-70", set()),
    ):
        path.write_bytes(pack(content))
        assert sought().read(path) == held
    path.write_bytes(pack(np.random.default_rng(0).bytes(100_000))[:50_000])
    assert UNREAD in sought().read(path)


def sought() -> Traces:
    """One photograph and two ids."""
    return Traces(frozenset({"image-7", "123456"}), frozenset({digest_bytes(PIXELS)}), frozenset())


def in_table(folder: Path, columns: dict[str, pa.Array], *, ours: bool = False, schema: pa.Schema = None) -> set[str]:
    """What a table of these columns holds. `ours`: it says that it is one of the line."""
    table = pa.table(columns, schema=schema)
    notes = {**(table.schema.metadata or {}), **({"labelfactory": "{}"} if ours else {})}
    pq.write_table(table.replace_schema_metadata(notes), folder / "a.parquet")
    return sought().read(folder / "a.parquet")


def test_of_two_columns_of_a_name_one_may_not_have_been_searched(tmp_path):
    """Parquet allows it."""
    pq.write_table(pa.Table.from_arrays([pa.array(["x"]), pa.array([1])], names=["a", "a"]), tmp_path / "a.parquet")
    assert UNREAD in sought().read(tmp_path / "a.parquet")


NEIGHBOURS = ("IMG_1 (1)", "IMG_1~2", "a/IMG_1")
"""Ids that have another one in them as a word."""


def test_an_id_in_the_id_or_the_path_of_another_image_is_no_trace_of_it(line):
    """In tables, in texts, in names of maps, in the list of what was left out: complete, and the neighbours keep theirs."""
    for old, new in zip(("image-1", "image-2", "image-3"), ("IMG_1", *NEIGHBOURS[:2]), strict=True):
        renamed(line, old, new)
    last = read_manifest().entries[0]
    Path("data/raw/IMG_1 copy.png").write_bytes(Path(last.path).read_bytes())
    Path(last.path).unlink()
    elsewhere = replace(last, path="data/raw/IMG_1 copy.png")
    write_manifest(replace(read_manifest(), entries=(elsewhere, *read_manifest().entries[1:])))
    write_left_out([LeftOut("IMG_1.b", "list.csv, row 2", "raw/IMG_1 b.png", "damaged")])
    MAPS.mkdir(parents=True)
    names = ("IMG_1_overlay", "IMG_1~2", "IMG_1~3", "IMG_1 (1)", "IMG_1")
    for number, name in enumerate(names):
        (MAPS / f"{name}.png").write_bytes(b"map %d" % number)
    notes = Path("data/evaluation/notes.txt")
    notes.write_text("IMG_1 (1), data/raw/IMG_1 copy.png, IMG_1~2")
    line.run()
    record()
    withdrawal = began("IMG_1")
    finish(line, withdrawal)
    assert {path.stem for path in MAPS.iterdir()} == set(names) - {"IMG_1"}
    notes.write_text("IMG_1 (2)")
    assert left(withdrawal) == [f"{notes}: the image's id"]


def test_the_longest_known_name_owns_a_place(tmp_path):
    """Names in texts, columns and paths; others that are not known are found, but not as a value of a column of ids."""
    traces = Traces(
        frozenset({"IMG_1", "12"}), frozenset(), frozenset(), others=frozenset({*NEIGHBOURS, "/d/x IMG_1.png", "12/7"})
    )
    for text in ("IMG_1", "IMG_1 (1), IMG_1.", "IMG_1~23", "b/IMG_1", "a/IMG_1 or IMG_1~1"):
        assert traces.in_text(text), text
    for text in (*NEIGHBOURS, "at a/IMG_1 and IMG_1%20%281%29", "/d/x IMG_1.png", "IMG_1_b"):
        assert not traces.in_text(text), text
        (tmp_path / "a.txt").write_text(text)
        assert not traces.in_file(tmp_path / "a.txt"), text
    for name in ("IMG_1.png", "data/IMG_1.a.png", "/x/b/IMG_1.png", "IMG_1/x.png", "12.png", "/IMG_1"):
        assert traces.in_name(Path(name)), name
    for name in (
        "a/IMG_1.png",
        "IMG_1~3.png",
        "IMG_1_overlay.png",
        "/d/x IMG_1.png",
        "IMG_1/a/IMG_1.x",
        "12/7.png",
        "12/8.png",
    ):
        assert not traces.in_name(Path(name)), name
    for column, value, holds in (
        ("image_id", "IMG_1", True),
        ("image_id", "IMG_1 (2)", False),
        ("image_id", "b/IMG_1.jpg", True),
        ("path", "/mnt/IMG_1.jpg", True),
        ("path", "/mnt/IMG_1 (2).jpg", False),
        ("note", "IMG_1 (2)", True),
    ):
        pq.write_table(pa.table({column: [value]}), tmp_path / "a.parquet")
        assert bool(traces.in_file(tmp_path / "a.parquet")) == holds, (column, value)


def sealed_zip(path: Path, members: dict[str, bytes], *, method: int = 0, password: bool = False) -> Path:
    """A zip whose headers say that its members have a password, or were compressed in another way."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(signature)
        while place >= 0:
            data[place + at] |= password
            data[place + at + 2] = method
            place = data.find(signature, place + 4)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("how", [{"password": True}, {"method": 99}])
def test_what_cannot_be_read_is_named_and_ends_nothing(line, how):
    """A zip with a password, or of an unknown kind, holds what nobody sees; its names are read. It is no trace by itself."""
    photograph = Path("data/raw/image-1.png").read_bytes()
    Path("mine").mkdir()
    for folder in ("data/raw", "data/import", "mine"):
        sealed_zip(Path(folder, "sealed.zip"), {"x.png": photograph}, **how)
        sealed_zip(Path(folder, "short.zip"), {"x.png": b"another size"}, **how)
        sealed_zip(Path(folder, "named.zip"), {"image-1.png": photograph}, **how)
        Path(folder, "damaged.parquet").write_bytes(b"PAR1 damaged")
    withdrawal = began("image-1")
    remove(withdrawal)
    line.run()
    record()
    assert [path.as_posix() for path in in_project(traces_of(Lookup(), withdrawal))] == [
        "data/import/named.zip",
        "data/raw/named.zip",
    ]
    report, _ = signed(withdrawal)
    assert [each for each in report["left_over"] if not each.startswith(".dvc")] == [
        "data/import/named.zip: the image's id"
    ]
    assert set(report["elsewhere"]) == {
        "data/raw/named.zip (names it)",
        "mine/named.zip (names it)",
        *(
            f"{d}/{n} ({UNREAD})"
            for d in ("data/raw", "data/import", "mine")
            for n in ("sealed.zip", "damaged.parquet")
        ),
        *(f"{d}/named.zip ({UNREAD})" for d in ("data/raw", "data/import")),
    }
