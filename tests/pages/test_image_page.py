"""The page of an image: its layers, its pixels, its provenance."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_line import SIZE
from rated import rate
from recorded_pages import client, line, made, mark, picture
from visiting import leave_scores, project, read, visit

from labelfactory.dataset.prepared import read_dataset
from labelfactory.rows.reader import RowReader
from labelfactory.schema import BACKGROUND, VOID, palette
from lineage.lookup import Lookup
from lineage.mask_audit import audit_mask
from lineage.pixel import audit_pixel
from lineage.record import record
from lineage.withdraw import touched_by
from pages.chain import chain
from pages.snapshot import Snapshot

__all__ = ["client", "line", "made"]
pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")  # Starlette's own, about its test client


def test_an_image_shows_its_layers(line):
    """CAM and walk per class, seed and mask; truth from what `evaluate` left, and only where it left it."""
    truth = np.random.default_rng(1).integers(0, 3, SIZE, dtype=np.uint8)
    truth[0] = VOID
    leave_scores({"image-1": truth, "image-2": truth, "image-3": truth})
    with visit(project()) as client:
        page = read(client, "/image?id=image-3")
        layers = {a["data-layer"]: a["src"] for a in page.all("img") if "data-layer" in a}
        assert list(layers) == ["cam", "seed", "walk", "mask", "prediction", "truth"]
        mask = RowReader(Path("data/masks"))["image-3"]["mask"]
        for shown, wanted in ((layers["mask"], mask), (layers["truth"], truth)):
            pixels = picture(client, shown)
            assert np.array_equal(pixels[..., 3] == 0, wanted == BACKGROUND)
            there = wanted != BACKGROUND
            assert np.array_equal(pixels[there][:, :3], palette()[wanted][there])
        assert picture(client, "/picture/cam-1?id=image-3").shape == (*SIZE, 4)
        assert picture(client, "/picture/photo?id=image-3").shape == (*SIZE, 4)
        assert client.get("/picture/cam-9?id=image-3").status_code == 404
        assert client.get("/picture/truth?id=image-0").status_code == 404
        assert "not scored" in read(client, "/image?id=image-0").words


def test_true_masks_themselves_are_never_opened(line):
    """The data set names a true mask; without evaluate's file the page shows none, whatever lies there."""
    Path("data/raw/truth.png").write_bytes(b"not a mask")
    mark("image-1", mask_path="data/raw/truth.png", mask_sha256="0" * 64)
    with visit(project()) as client:
        assert "not scored" in read(client, "/image?id=image-1").words
        assert client.get("/picture/truth?id=image-1").status_code == 404


def test_a_photograph_that_changed_is_not_shown(line, client):
    """Its bytes are not those of the import: the file may be anything."""
    Path("data/raw/image-1.png").write_bytes(Path("data/raw/image-2.png").read_bytes())
    answer = client.get("/picture/photo?id=image-1")
    assert (answer.status_code, "changed since" in answer.text) == (409, True)


def test_a_browser_asks_again_for_every_picture(line, client):
    """It may keep a picture, and is told that it is still the same; nothing else may be kept at all."""
    for address in (
        "/picture/photo?id=image-1&v=1",
        "/picture/mask?id=image-1",
        "/diff/picture?a=1&b=now&id=image-1&side=a",
    ):
        answer = client.get(address)
        assert answer.headers["cache-control"] == "private, no-cache"
        again = client.get(address, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(address, headers={"if-none-match": '"another"'}).content == answer.content
    Path("data/evaluation/report.html").write_text("a gallery")
    for address in ("/", "/image?id=image-1", "/report", "/picture/photo?id=nothing", "/picture/nothing?id=image-1"):
        assert client.get(address).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("place", [(0, 0), (15, 11), (7, 3)])
def test_a_pixel_is_explained_as_on_the_command_line(line, client, place):
    """The same scores, winner and sentence, and the numbers of the page are those of the answer."""
    x, y = place
    answer = audit_pixel("image-3", x, y)
    page = read(client, f"/image/pixel?id=image-3&x={x}&y={y}")
    assert answer["because"] in page.words
    assert f"Why is ({x}, {y}) {answer['class']}?" in page.words
    for step in answer["steps"]:
        for score in step["scores"].values():
            assert f"{score:.2f}" in page.words
    whole = read(client, f"/image?id=image-3&x={x}&y={y}")
    assert answer["because"] in whole.words


@pytest.mark.parametrize("query", ["x=16&y=0", "x=0&y=12", "x=-1&y=0", "x=a&y=b", "", "x=9999999&y=0", "x=²&y=1"])
def test_a_place_outside_is_refused(line, client, query):
    page = read(client, f"/image/pixel?id=image-3&{query}", 409)
    assert "Traceback" not in page.words


def test_provenance_is_that_of_the_ledger(line, client):
    """The chain's digests, every model that learnt from the image, and those that must go with it."""
    lookup = Lookup()
    answer = audit_mask(lookup, "image-3")
    page = read(client, "/image?id=image-3")
    for step in answer["chain"]:
        assert step["step"] == "tags" or step["digest"][:12] in page.text
    for user in answer["models"]:
        assert user["model"] in page.words
    touched = touched_by(lookup, ["image-3"])
    gone = page.words.partition("If it is withdrawn")[2]
    assert all(lookup.models[digest].label in gone for digest in touched.all_models)
    assert {a["href"] for a in page.all("a")} >= {"/models/segmenter/1", "/models/segmenter/2", "/models/classifier/1"}


def test_a_teacher_stands_in_the_chain_where_its_scores_walked(line):
    """It comes between CAM and walk, and the CAM itself did not walk."""
    with project().lookup() as lookup:
        answer = audit_mask(lookup, "image-3")
    plain = str(chain(answer, {}))
    place = next(k for k, step in enumerate(answer["chain"]) if step["step"] == "walk")
    teacher = {"step": "teacher", "digest": "c0ffee" * 10, "model": "teacher v1"}
    answer["chain"].insert(place, teacher)
    taught = str(chain(answer, {"teacher v1": "/models/teacher/1"}))
    assert "teacher" not in plain
    assert "teacher v1" in taught
    assert teacher["digest"][:12] in taught
    assert 'href="/models/teacher/1"' in taught
    # CAM to teacher and teacher to walk, none from CAM to walk: one more in each of the two drawings, wide and narrow
    assert taught.count('class="arrow') == plain.count('class="arrow') + 2


def test_a_line_that_came_halfway_is_shown(line):
    """CAMs are there, what follows is not: no threshold, no walk, no mask, no model."""
    for noun in ("seed_thresholds", "walks", "masks", "segmenter"):
        shutil.rmtree(f"data/{noun}")
    with visit(project()) as client:
        page = read(client, "/image?id=image-3")
        assert [a["data-layer"] for a in page.all("img") if "data-layer" in a] == ["cam"]
        assert "no mask" in read(client, "/images").words
        assert "has no mask" in read(client, "/image/pixel?id=image-3&x=1&y=1", 404).words


def test_the_provenance_is_that_of_the_mask_on_the_page(line):
    """Back at an earlier mask: its chain, and the model that learnt from it, though a newer mask is recorded."""
    line.run()
    record()
    earlier, later = audit_mask(Lookup(), "image-3", 1), audit_mask(Lookup(), "image-3", 2)
    with visit(project()) as client:
        page = read(client, "/image?id=image-3")
    assert f"mask 1 in data/ {earlier['versions'][0]['digest'][:12]}" in page.words
    assert "mask 2 in data/" not in page.words
    drawing = page.text.partition("Provenance")[2].partition("Models that learnt from it")[0]
    assert earlier["chain"][-1]["digest"][:12] in drawing
    assert later["chain"][-1]["digest"][:12] not in drawing
    learnt = page.words.partition("Models that learnt from it")[2].partition("If it is withdrawn")[0]
    assert "segmenter 1 this mask" in learnt
    assert "segmenter 2 mask 2" in learnt


def test_an_image_without_a_mask_has_the_newest_recorded_one_and_the_page_says_so(line):
    """What the ledger knows is not passed off as what lies there."""
    shutil.rmtree("data/masks")
    with visit(project()) as client:
        page = read(client, "/image?id=image-3")
    assert "This image has no mask now. Below is the newest recorded mask." in page.words
    assert "in data/ " not in page.words
    assert audit_mask(Lookup(), "image-3", 2)["chain"][-1]["digest"][:12] in page.words


def test_the_mask_in_data_is_listed_however_old_it_is(line, monkeypatch):
    """A page lists the newest masks; the one that lies there is never cut off."""
    monkeypatch.setattr("pages.images_page.LEAST_MASKS", 1)
    line.run()
    record()
    with visit(project()) as client:
        words = read(client, "/image?id=image-3").words
    assert "mask 2" in words
    assert "mask 1 in data/" in words


def test_the_chain_has_the_tags_of_its_mask(line):
    """Not those that the data set has by now."""
    mark("image-3", tags=("cat",))
    with visit(project()) as client:
        page = read(client, "/image?id=image-3")
    assert "cat, dog" in page.text.partition("Provenance")[2].partition("Models that learnt from it")[0]


def test_the_time_of_a_mask_is_that_of_its_own_version(line):
    """The same bytes were recorded again under another key, later: the mask that lies there is the first."""
    masks = Path("data/masks/shard-00000.parquet")
    first, shown = masks.read_bytes(), Snapshot(Lookup()).row("image-1")["time"]
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["refine_crf"]["min_confidence"] = 0.25
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    line.run(refine_crf="changed", commit=False)
    os.utime(masks, (shown / 1000 + 1000, shown / 1000 + 1000))
    record()
    assert Snapshot(Lookup()).row("image-1")["time"] == shown + 1_000_000
    masks.write_bytes(first)
    assert Snapshot(Lookup()).row("image-1")["time"] == shown


def test_a_mask_that_is_not_recorded_yet_is_said(line):
    """The page shows the disk; the ledger is older until somebody records."""
    line.run(refine_crf="fresh")
    with visit(project()) as client:
        assert "mask on disk is not recorded" in read(client, "/image?id=image-1").words
        record()
    with visit(project()) as client:
        assert "is not recorded" not in read(client, "/image?id=image-1").words


def test_neighbours_keep_to_the_filter(line, client):
    """The next image is the next that fits."""
    page = read(client, "/image?id=image-1&tag=cat")
    links = {a.get("rel"): a["href"] for a in page.all("a") if a.get("rel")}
    assert links == {"next": "/image?id=image-3&tag=cat"}
    assert "/images?tag=cat" in {a["href"] for a in page.all("a")}


def test_neighbours_follow_the_order_of_the_grid(line):
    """Worst first; those of a class by its own quality. An image that the filter leaves out by now still leads on."""
    dataset = read_dataset()
    quality = {"image-0": 0.9, "image-1": 0.5, "image-2": 0.7, "image-3": 0.6}
    rate(dataset.records, dataset.classes.names, quality, {"image-1": {0: 0.9, 1: 0.2}, "image-3": {1: 0.1, 2: 0.3}})
    expected = {
        "id=image-3": ("image-1", "image-2"),
        "id=image-1": (None, "image-3"),
        "id=image-1&tag=cat": ("image-3&tag=cat", None),
        "id=image-1&order=high": ("image-3&order=high", None),
        "id=image-1&order=import": ("image-0&order=import", "image-2&order=import"),
        "id=image-1&high=15&tag=cat": ("image-3&tag=cat&high=15", None),
    }
    with visit(project()) as client:
        for query, (before, after) in expected.items():
            links = {a.get("rel"): a["href"] for a in read(client, f"/image?{query}").all("a") if a.get("rel")}
            wanted = {"prev": before, "next": after}
            assert links == {rel: f"/image?id={image}" for rel, image in wanted.items() if image}, query
