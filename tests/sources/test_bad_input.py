"""Bad input, case by case with the message that a person reads, and readers that are fed with anything at all."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from labelfactory.dataset.images import encode_mask
from labelfactory.errors import DataError
from labelfactory.names import file_name
from sources._findings import Findings
from sources._import_plan import ImportOptions, ImportPlan, plan_import
from sources._rows import read_rows
from sources.coco import find_coco
from sources.table import find_table
from sources.voc import find_voc

GOOD = 20
LENIENT = ImportOptions(max_bad_fraction=0.1, check_masks=True)
STRICT = dataclasses.replace(LENIENT, max_bad_fraction=0.0)


def png(seed: int, size: tuple[int, int] = (12, 10)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def flat(width: int, height: int) -> bytes:
    """A picture of one colour in few bytes, however many pixels it has."""
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A VOC folder of twenty good photographs with masks, and one more, `bad`, that a case spoils."""
    monkeypatch.chdir(tmp_path)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets"):
        (tmp_path / "voc" / folder).mkdir(parents=True)
    names = [f"i{k:02d}" for k in range(GOOD)] + ["bad"]
    for k, name in enumerate(names):
        (tmp_path / f"voc/JPEGImages/{name}.png").write_bytes(png(k))
        mask = encode_mask(np.full((10, 12), 1 + k % 2, np.uint8))
        (tmp_path / f"voc/SegmentationClass/{name}.png").write_bytes(mask)
    (tmp_path / "voc/classes.txt").write_text("background\ncat\ndog\n")
    (tmp_path / "voc/tags.csv").write_text("".join(f"{n},{('cat', 'dog')[k % 2]}\n" for k, n in enumerate(names)))
    (tmp_path / "voc/ImageSets/train.txt").write_text("\n".join(names[2:]) + "\n")
    (tmp_path / "voc/ImageSets/val.txt").write_text("\n".join(names[:2]) + "\n")
    return tmp_path


def photograph(data: bytes) -> Callable[[Path], None]:
    return lambda root: (root / "JPEGImages/bad.png").write_bytes(data) and None


def mask(data: bytes) -> Callable[[Path], None]:
    return lambda root: (root / "SegmentationClass/bad.png").write_bytes(data) and None


def tags(text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "tags.csv"
        path.write_text(path.read_text().replace("bad,cat\n", text))

    return spoil


def listed(text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        with (root / "ImageSets/train.txt").open("a") as stream:
            stream.write(text)

    return spoil


PLACE = "ImageSets/train.txt, row 19: voc/JPEGImages/bad.png: "
MASK = "ImageSets/train.txt, row 19: voc/SegmentationClass/bad.png: "
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a truncated file": (photograph(png(99, (64, 64))[:600]), PLACE + "not decodable: "),
    "an empty file": (photograph(b""), PLACE + "the file is empty"),
    "not an image": (photograph(b"GIF? no"), PLACE + "not an image"),
    "a decompression bomb": (photograph(flat(20000, 20000)), PLACE + "too many pixels: more than 64 megapixels"),
    "an image of 100 megapixels": (photograph(flat(10000, 10000)), PLACE + "too many pixels: more than 64 megapixels"),
    "an image of 1×1": (photograph(flat(1, 1)), PLACE + "1×1 pixels: too small, a side needs 4"),
    "a missing file": (
        lambda root: (root / "JPEGImages/bad.png").unlink(),
        "ImageSets/train.txt, row 19: JPEGImages/bad.jpg does not exist",
    ),
    "a path outside the root": (listed("../x\n"), "ImageSets/train.txt, row 20: '../x' is a path, not an image id"),
    "a duplicate id": (listed("bad\n"), "ImageSets/train.txt, row 20: 'bad' appears in row 19 too"),
    "a tag that is not a class": (
        tags("bad,catt\n"),
        "tags.csv, row 21: tag 'catt' is not a class; did you mean `cat`?",
    ),
    "no tags": (tags(""), "tags.csv: no row for 'bad'"),
    "a mask of another size": (
        mask(encode_mask(np.ones((5, 6), np.uint8))),
        MASK + "the mask is 6×5 pixels, its photograph 12×10",
    ),
    "a mask value that is not a class": (
        mask(encode_mask(np.full((10, 12), 7, np.uint8))),
        MASK + "the mask contains 7, which is not a class",
    ),
    "a mask in colours": (
        mask(png(1)),
        MASK + "the mask is in colours, of which (0, 53, 197), (3, 114, 58), (5, 212, 234) is no class's",
    ),
    "an empty mask": (mask(b""), MASK + "the mask is empty"),
    "a mask that is no image": (mask(b"text"), MASK + "not a readable mask: "),
    "a mask without its image": (
        lambda root: (root / "SegmentationClass/ghost.png").write_bytes(encode_mask(np.ones((5, 6), np.uint8))),
        "SegmentationClass/ghost.png: a mask without its photograph",
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_one_bad_of_many_is_left_out_with_row_file_and_reason(here, case):
    """Under the limit the others are imported; a bad mask costs the mask, not its photograph."""
    spoil, message = CASES[case]
    spoil(Path("voc"))
    plan = plan_import(find_voc(Path("voc")), LENIENT)
    assert [line for line in lines_of(plan) if line.startswith(message)] == lines_of(plan) != []
    ids = {entry.image_id for entry in plan.manifest.entries}
    assert ids >= {f"i{k:02d}" for k in range(GOOD)}
    only_mask = plan.left_out[0].what == "mask"
    assert ("bad" in ids) == (only_mask or case in ("a path outside the root", "a duplicate id"))
    if only_mask and "ghost" not in message:
        assert next(e for e in plan.manifest.entries if e.image_id == "bad").mask_path is None


@pytest.mark.parametrize("case", [case for case, (_, message) in CASES.items() if "SegmentationClass" in message])
def test_a_mask_never_stops_an_import(here, case):
    """Tags do not pay for masks: even where no photograph may be left out, all are imported, and the mask is listed."""
    CASES[case][0](Path("voc"))
    plan = plan_import(find_voc(Path("voc")), STRICT)
    assert [item.what for item in plan.left_out] == ["mask"]
    assert len(plan.manifest.entries) == GOOD + 1


@pytest.mark.parametrize("case", [case for case, (_, message) in CASES.items() if "SegmentationClass" not in message])
def test_over_the_limit_nothing_is_imported(here, case):
    """The same message, in an error that says what to do; not one file is written."""
    spoil, message = CASES[case]
    spoil(Path("voc"))
    before = contents(here)
    with pytest.raises(DataError) as caught:
        plan_import(find_voc(Path("voc")), STRICT)
    assert any(line.strip().startswith(message) for line in caught.value.problem.splitlines())
    assert "max_bad_fraction" in caught.value.remedy
    assert contents(here) == before


STOPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a tag file that is not UTF-8": (
        lambda root: (root / "tags.csv").write_bytes("bad,caté\n".encode("latin-1")),
        "tags.csv: not readable: not UTF-8 text",
    ),
    "no list": (
        lambda root: [path.unlink() for path in (root / "ImageSets").iterdir()],
        "ImageSets: contains no list (<list>.txt)",
    ),
}


@pytest.mark.parametrize("case", list(STOPS))
def test_what_concerns_all_photographs_stops_every_import(here, case):
    """However many bad ones are allowed."""
    spoil, message = STOPS[case]
    spoil(Path("voc"))
    with pytest.raises(DataError) as caught:
        plan_import(find_voc(Path("voc")), dataclasses.replace(LENIENT, max_bad_fraction=1.0))
    assert f"  {message}" in caught.value.problem.splitlines()
    assert ": 1 problem\n" in caught.value.problem  # and nothing that follows from it


def test_all_problems_come_in_one_pass(here):
    """A broken photograph, a broken mask, an unknown tag and a missing file: four lines of one error."""
    root = Path("voc")
    (root / "JPEGImages/i03.png").write_bytes(b"")
    (root / "SegmentationClass/i04.png").write_bytes(b"x")
    (root / "JPEGImages/i05.png").unlink()
    tags("bad,owl\n")(root)
    with pytest.raises(DataError, match="4 problems") as caught:
        plan_import(find_voc(root), STRICT)
    for word in ("the file is empty", "not a readable mask", "does not exist", "'owl' is not a class"):
        assert word in caught.value.problem


# --- tables -----------------------------------------------------------------------------------------------------------

TABLES: dict[str, tuple[str, str]] = {
    "a path outside the root": ('{"path": "../secret.png", "tags": "cat"}', "'../secret.png' is outside of voc"),
    "an absolute path": ('{"path": "/etc/passwd", "tags": "cat"}', "'/etc/passwd' is outside of voc"),
    "a URL of this machine": ('{"path": "file:///etc/passwd", "tags": "cat"}', "URLs must begin with one of"),
    "a chained URL": ('{"path": "zip://a::http://x/y", "tags": "cat"}', "URLs must begin with one of"),
    "a missing file": ('{"path": "JPEGImages/no.png", "tags": "cat"}', "No such file or directory"),
    "a folder": ('{"path": "JPEGImages", "tags": "cat"}', "Is a directory"),
    "no path": ('{"path": "", "tags": "cat"}', "names no photograph"),
    "a path that is a number": ('{"path": 7, "tags": "cat"}', "7 is not a path"),
    "a path with a NUL": ('{"path": "a\\u0000b", "tags": "cat"}', "is not a path"),
    "half a character": ('{"path": "JPEGImages/\\ud800.png", "tags": "cat"}', "is not an image id"),
    "tags that are a broken number": ('{"path": "JPEGImages/bad.png", "tags": 3.5}', "the number 3.5 is not a class"),
    "a duplicate id": (
        '{"path": "JPEGImages/i00.jpg", "tags": "cat"}',
        "'JPEGImages/i00.png' (t.jsonl, row 1) and 'JPEGImages/i00.jpg' have the same id 'JPEGImages/i00'; "
        "--id-column path takes the path instead",
    ),
    "a tag that is not a class": (
        '{"path": "JPEGImages/bad.png", "tags": "cta"}',
        "tag 'cta' is not a class; did you mean `cat`?",
    ),
    "not JSON": ("{path: x}", "not JSON: "),
    "no object": ("[1, 2]", "is not a JSON object"),
}


@pytest.mark.parametrize("case", list(TABLES))
def test_one_bad_row_of_a_table_is_left_out(here, case):
    """Row, file, reason; the others are imported."""
    line, message = TABLES[case]
    rows = [json.dumps({"path": f"JPEGImages/i{k:02d}.png", "tags": ["cat"]}) for k in range(GOOD)]
    Path("voc/t.jsonl").write_text("\n".join([*rows, line]) + "\n", encoding="utf-8")
    plan = plan_import(find_table(Path("voc/t.jsonl")), dataclasses.replace(LENIENT, classes=("cat",)))
    assert len(plan.manifest.entries) == GOOD
    (said,) = lines_of(plan)
    assert said.startswith("t.jsonl, row 21")
    assert message in said


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "t.csv",
            "path,tags\nä,cat\n".encode("latin-1"),
            r"t.csv, row 2: not readable: not UTF-8 text; .*--encoding cp1252, which reads 'ä,cat'",
        ),
        ("t.csv", b"", r"t.csv: contains no row"),
        ("t.csv", b"path,tags\n", r"t.csv: contains no row"),
        ("t.csv", b"a,b\nc,d\n", r"t.csv: has no column of paths \(a, b\); name it with --path-column"),
        ("t.csv", b"path,path,tags\na,b,c\n", r"t.csv, row 1: two columns have the same name"),
        ("t.csv", b"path,tags\na," + b"x" * 200_000 + b"\n", r"t.csv, row 2: not readable as CSV: field larger"),
        ("t.parquet", b"PAR1 no", r"t.parquet: not readable as Parquet"),
        ("t.jsonl", b'{"tags": "cat"}\n', r"t.jsonl: has no column of paths"),
        ("t.xlsx", b"", r"t.xlsx: .xlsx is not a table format"),
    ],
)
def test_a_table_that_cannot_be_read_stops_the_import(here, name, data, message):
    """File, row where there is one, and the reason."""
    Path(name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        plan_import(find_table(Path(name)), LENIENT)


def test_an_id_may_hold_anything_and_its_files_are_safe(here):
    """Slashes, dots, blanks and other scripts are kept in the id and escaped in names of files; no two names are one."""
    ids = [
        "a/b",
        "../../etc/passwd",
        "..",
        ".hidden",
        "with blank",
        "été/猫",
        "a%2Fb",
        "A" * 300,
        "A" * 301,
        "-x",
        "a\\b",
    ]
    rows = [{"path": f"JPEGImages/i{k:02d}.png", "tags": ["cat"], "image_id": name} for k, name in enumerate(ids)]
    Path("voc/t.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    manifest = plan_import(find_table(Path("voc/t.jsonl")), STRICT).manifest
    assert [entry.image_id for entry in manifest.entries] == ids
    names = [file_name(name) for name in ids]
    assert len(set(names)) == len(ids)
    for name in names:
        assert Path(name).name == name
        assert name.isascii()
        assert len(name) <= 150
        assert not name.startswith(".")
        assert not set(name) & set(' /\\:*?"<>|')


# --- anything at all --------------------------------------------------------------------------------------------------

FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
cells = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.text(max_size=3))
)
json_rows = st.lists(st.dictionaries(st.sampled_from(["path", "tags", "id", "x"]), cells, max_size=4), max_size=4)
texts = st.text(st.sampled_from('path,tags\n";|\t[]{}:\0é1'), max_size=60)


@FUZZ
@given(
    data=st.one_of(
        st.binary(max_size=120),
        texts.map(lambda text: text.encode("utf-8", "ignore")),
        texts.map(lambda text: b"path,tags\n" + text.encode("utf-8", "ignore")),
        json_rows.map(lambda rows: "\n".join(json.dumps(row) for row in rows).encode()),
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]),
)
def test_any_table_is_read_or_refused(tmp_path, data, suffix):
    """No traceback, and nothing written beside it."""
    path = tmp_path / f"t{suffix}"
    path.write_bytes(data)
    before = contents(tmp_path)
    found = Findings(path)
    rows = read_rows(found, path)
    assert all(number >= 1 for number, _ in rows.rows)
    problem = ""
    try:
        plan_import(find_table(path), dataclasses.replace(LENIENT, max_bad_fraction=1.0))
    except DataError as error:
        problem = error.problem
    assert problem.startswith(str(path))  # no photograph is there, so every table ends so
    assert contents(tmp_path) == before


numbers = st.integers(-3, 40)
segmentations = st.one_of(
    st.none(),
    st.lists(st.lists(st.one_of(numbers, st.floats()), max_size=9), max_size=3),
    st.fixed_dictionaries(
        {"size": st.lists(numbers, max_size=3), "counts": st.one_of(st.text(max_size=9), st.lists(numbers))}
    ),
    st.fixed_dictionaries({"size": st.just([10, 12]), "counts": st.one_of(st.text(max_size=9), st.lists(numbers))}),
)
annotations = st.lists(
    st.fixed_dictionaries(
        {"image_id": st.integers(0, 2), "category_id": st.just(1), "segmentation": segmentations},
        optional={"iscrowd": st.sampled_from([0, 1])},
    ),
    max_size=3,
)


@pytest.mark.slow
@FUZZ
@given(listed=annotations, size=st.tuples(st.one_of(numbers, st.none()), st.one_of(numbers, st.just(12))))
def test_any_segmentation_is_drawn_or_refused(here, listed, size):
    """A mask that cannot be drawn costs the mask; no traceback, nothing written."""
    image = {"id": 1, "file_name": "i00.png", "height": size[0], "width": size[1]}
    good = {"id": 2, "file_name": "i01.png", "height": 10, "width": 12}
    region = {"image_id": 2, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 5]]}
    loaded = {"images": [image, good], "annotations": [region, *listed], "categories": [{"id": 1, "name": "cat"}]}
    Path("c.json").write_text(json.dumps(loaded))
    before = contents(here)
    plan = plan_import(
        find_coco(Path("c.json"), Path("voc/JPEGImages")), dataclasses.replace(LENIENT, max_bad_fraction=1.0)
    )
    assert {entry.image_id for entry in plan.manifest.entries} == {"i00", "i01"}
    assert contents(here) == before


def lines_of(plan: ImportPlan) -> list[str]:
    return [item.line for item in plan.left_out]


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder and its digest."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
