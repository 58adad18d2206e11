"""The pages: each shows what the command line answers, and nothing else than the data set, shards and ledger hold."""

import io
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from html_page import Page
from made_line import SIZE, MadeLine
from PIL import Image
from visiting import leave_scores, project, read, saying, visit

from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.rows.reader import RowReader
from labelfactory.schema import BACKGROUND, VOID, palette
from labelfactory.settings.wiring import read_wiring
from lineage.audit import audit_mask
from lineage.diff import diff
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.pixel import audit_pixel
from lineage.record import record
from lineage.withdraw import touched_by
from pages.chain import chain
from pages.image_query import PER_PAGE, ImageQuery
from pages.slow_query import SlowQuery
from pages.snapshot import Snapshot

pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")  # Starlette's own, about its test client


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> MadeLine:
    """Four images; everything was made twice, the second time with other masks, under a flow run. Tests copy it."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("made"))
    try:
        line = MadeLine()
        record()
        line.run(refine_crf="changed")
        record({"prefect.flow_run_id": "flow-42"})
    finally:
        os.chdir(before)
    return line


@pytest.fixture
def line(made, tmp_path, monkeypatch) -> MadeLine:
    """A copy of it, in which the test stands."""
    shutil.copytree(made.root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    return made


@pytest.fixture
def client(line):
    with visit(project()) as visitor:
        yield visitor


def picture(client, address: str) -> np.ndarray:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return np.array(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def mark(image_id: str, **changes) -> None:
    """Change an image's record in the data set."""
    dataset = read_dataset()
    records = tuple(replace(r, **changes) if r.image_id == image_id else r for r in dataset.records)
    write_dataset(replace(dataset, records=records))


# --- the line ---------------------------------------------------------------------------------------------------------


def test_the_line_shows_what_dvc_says(line):
    """Each stage with its state and reason; while DVC is asked for the first time, the page says so and does not wait."""
    states = [{"name": n, "state": "up to date", "reasons": []} for n in read_wiring() if n != "refine_crf"]
    states.append({"name": "refine_crf", "state": "stale", "reasons": ["params.yaml refine_crf.<b>: 1 → 2"]})
    look = SlowQuery(saying({"running": False, "stages": states}), lambda: 0)
    with visit(project(state=look)) as client:
        assert "DVC is being asked" in read(client, "/").words
        look.wait()
        page = read(client, "/")
        assert f"1 of {len(states)} stages have to run" in page.words
        assert "params.yaml refine_crf.<b>: 1 → 2" in page.words
        rows = {a.get("id") for a in page.all("tr")}
        assert {f"stage-{name}" for name in ("prepare", "train_segmenter", "evaluate")} <= rows
        assert "50.5" not in page.words
        assert "50.0" in page.words  # miou/val/model of metrics.json


def test_a_look_that_fails_is_said_and_tried_again(line):
    """The page shows the reason and goes on; the next look asks again."""
    look = SlowQuery(["sh", "-c", "echo 'error: DVC: <no> repo' >&2; exit 2"], lambda: 0, patience=0)
    with visit(project(state=look)) as client:
        read(client, "/")
        look.wait()
        assert "error: DVC: <no> repo" in read(client, "/state").words
        look.wait()
        assert look.number == 2


def test_a_run_that_is_under_way_is_said(line):
    """DVC is not asked meanwhile: no stage is called stale."""
    look = SlowQuery(saying({"running": True, "stages": [], "run": ["make_masks: 3 of 9 images"]}), lambda: 0)
    look.refresh()
    look.wait()
    with visit(project(state=look)) as client:
        words = read(client, "/").words
    assert "A run is under way. make_masks: 3 of 9 images." in words
    assert "have to run" not in words


def test_a_mask_of_known_bytes_names_the_first_with_them(line):
    """Among the masks that an image had: another key, the same mask."""
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["refine_crf"]["min_confidence"] = 0.25
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    line.run(refine_crf="changed")
    record()
    digest = audit_mask(Lookup(), "image-1")["versions"][-1]["digest"][:12]
    with visit(project()) as client:
        words = read(client, "/image?id=image-1").words
    assert f"mask 3 in data/ {digest} as 2 " in words
    assert f"mask 2 {digest} 20" in words


def test_runs_link_to_mlflow_and_prefect(line):
    """The executions that the ledger's last line names, where MLflow has them, and the flow run of their line."""
    lines = Ledger().events("line")
    run = lines[-1]["detail"]["stages"]["refine_crf"]
    look = SlowQuery(saying({run: {"run": "abc", "experiment": "7"}}), lambda: 0)
    look.refresh()
    look.wait()
    with visit(project(runs=look)) as client:
        links = {a["href"] for a in read(client, "/").all("a")}
    assert "http://127.0.0.1:5000/#/experiments/7/runs/abc" in links
    assert "http://127.0.0.1:4200/runs/flow-run/flow-42" in links


def test_runs_are_those_that_left_what_lies_there(line):
    """Not those of the newest line: as after `git checkout` and `dvc checkout` of an earlier commit."""
    line.report("refine_crf", number=1)
    line.commit()
    record()
    first = Ledger().events("line")[-1]["detail"]["stages"]["refine_crf"]
    line.report("refine_crf", number=2)
    line.commit()
    record()
    second = Ledger().events("line")[-1]["detail"]["stages"]["refine_crf"]
    look = SlowQuery(saying({run: {"run": run[:8], "experiment": "7"} for run in (first, second)}), lambda: 0)
    look.refresh()
    look.wait()
    line.report("refine_crf", number=1)
    line.commit()
    record()
    with visit(project(runs=look)) as client:
        links = {a["href"] for a in read(client, "/").all("a")}
    assert f"http://127.0.0.1:5000/#/experiments/7/runs/{first[:8]}" in links
    assert f"http://127.0.0.1:5000/#/experiments/7/runs/{second[:8]}" not in links


def test_an_empty_project_says_what_to_type(tmp_path, monkeypatch):
    """No import, no ledger: the pages are there and say so."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages: {}\n")
    with visit(project()) as client:
        assert "labelfactory import demo" in read(client, "/").words
        assert "labelfactory" in read(client, "/images", 404).words
        assert "labelfactory run" in read(client, "/models", 404).words
        assert "labelfactory run" in read(client, "/diff", 404).words


# --- images -----------------------------------------------------------------------------------------------------------


def ids(page: Page) -> list[str]:
    """The images of a grid, in order."""
    return [str(a["href"]).partition("id=")[2].partition("&")[0] for a in page.all("a") if "/image?" in str(a["href"])]


def test_the_grid_filters(line, client):
    """By class, part of the id, state, and quality; nothing that fits is said in words."""
    assert ids(read(client, "/images")) == [f"image-{k}" for k in range(4)]
    assert ids(read(client, "/images?tag=dog")) == ["image-2", "image-3"]
    assert ids(read(client, "/images?q=GE-1")) == ["image-1"]
    assert ids(read(client, "/images?state=masks&tag=cat")) == ["image-1", "image-3"]
    rows = RowReader(Path("data/masks"))
    agreement = {i: float(rows[i]["agreement"]) for i in rows.states}
    order = sorted(agreement, key=agreement.get)
    assert ids(read(client, "/images?order=low")) == order
    assert ids(read(client, "/images?order=high")) == order[::-1]
    middle = 100 * (agreement[order[1]] + agreement[order[2]]) / 2
    assert set(ids(read(client, f"/images?high={middle}"))) == set(order[:2])
    assert "No image fits" in read(client, "/images?tag=nothing").words


def test_what_is_set_aside_is_found_with_its_reason(line):
    """By `prepare`; the page of the image says it too."""
    mark("image-2", status="quarantined", reason="not an <image>", width=0, height=0)
    with visit(project()) as client:
        page = read(client, "/images?state=quarantined")
        assert ids(page) == ["image-2"]
        assert "quarantined by prepare: not an <image>" in page.words
        assert "Quarantined by prepare. not an <image>" in read(client, "/image?id=image-2").words


def test_changed_since_a_model_means_other_masks_than_it_learnt_from(line):
    """All of segmenter 1's masks were changed, none of segmenter 2's; then one image gets other tags and another mask."""
    with visit(project()) as client:
        assert len(ids(read(client, "/images?since=segmenter@1"))) == 4
        assert ids(read(client, "/images?since=segmenter@2")) == []
        assert len(ids(read(client, "/images?of=segmenter@2"))) == 4
        assert len(ids(read(client, "/images?since=24h"))) == 4
        read(client, "/images?since=segmenter@9", 404)
    line.run(random_walk="other", refine_crf="changed")  # an image without tags has no walk, so its mask stays
    record()
    with visit(project()) as client:
        assert ids(read(client, "/images?since=segmenter@2")) == ["image-1", "image-2", "image-3"]


def test_pages_follow_each_other(line):
    """Every image stands on one page; the last page is shown where a number is too large."""
    dataset = read_dataset()
    records = [replace(dataset.records[0], image_id=f"n{k:03d}", position=k) for k in range(2 * PER_PAGE + 5)]
    write_dataset(replace(dataset, records=tuple(records)))
    with visit(project()) as client:
        pages = [ids(read(client, f"/images?page={number}")) for number in (1, 2, 3)]
        assert [len(found) for found in pages] == [PER_PAGE, PER_PAGE, 5]
        assert [*pages[0], *pages[1], *pages[2]] == [r.image_id for r in records]
        assert ids(read(client, "/images?page=99")) == pages[2]


def test_a_page_follows_the_disk(line, monkeypatch):
    """A mask that is made anew is shown without a new start of the server."""
    monkeypatch.setattr("pages.project.STAMP_SECONDS", 0)
    asked = project()
    before = asked.row("image-1")["digest"]
    line.run(refine_crf="third")
    for _ in range(200):
        if asked.row("image-1")["digest"] != before:
            break
        time.sleep(0.05)
    assert asked.row("image-1")["digest"] == RowReader(Path("data/masks")).states["image-1"].digest


def test_a_damaged_shard_is_said(line):
    """With its name; the server goes on."""
    path = Path("data/masks/shard-00000.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with visit(project()) as client:
        words = read(client, "/images", 409).words
        assert "shard-00000.parquet" in words
        assert "labelfactory audit verify" in words
        read(client, "/models")


# --- one image --------------------------------------------------------------------------------------------------------


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


# --- models and differences -------------------------------------------------------------------------------------------


def test_models_are_listed_with_aliases_and_scores(line, client):
    page = read(client, "/models")
    for words in ("segmenter 2 latest", "segmenter 1", "affinity 1", "classifier 1"):
        assert words in page.words
    assert "50.0" in page.words


def test_a_model_shows_masks_parents_and_passport(line, client):
    """Which masks made it, from which networks; and a model of before says which of its masks were changed since."""
    page = read(client, "/models/segmenter/2")
    model = Lookup().model("2")
    assert set(ids(page)) == {f"image-{k}" for k in range(4)}
    assert model.passport.training_rows_digest in page.words
    for parent in model.passport.parents.values():
        assert parent[:12] in page.text
    assert "/diff?a=1&b=2" in {a["href"] for a in page.all("a")}
    assert "http://127.0.0.1:4200/runs/flow-run/flow-42" in {a["href"] for a in page.all("a")}
    assert "4 have another mask by now" in read(client, "/models/segmenter/1").words
    for address in ("/models/segmenter/9", "/models/nothing/1", "/models/segmenter/x", "/models/segmenter/-1"):
        read(client, address, 404)


def test_a_difference_names_what_was_set_otherwise(line):
    """A parameter of the CRF: by name with both values, as a cause, and in the pixels; the same as on the command line."""
    text = Path("params.yaml").read_text().replace("gt_prob: 0.7", "gt_prob: 0.6")
    Path("params.yaml").write_text(text)
    line.run(refine_crf="changed")
    line.run(refine_crf="again")
    record()
    answer = diff(Lookup(), "2", "3")
    assert {"stage": "refine_crf", "what": "refine_crf.method.gt_prob", "first": "0.7", "second": "0.6"} in answer[
        "settings"
    ]
    with visit(project()) as client:
        page = read(client, "/diff?a=2&b=3")
        assert "refine_crf.method.gt_prob 0.7 0.6" in page.words
        assert all(cause in page.words for cause in answer["causes"])
        assert f"{answer['masks']['changed']} masks changed" in page.words
        assert "val/model 0.500 0.500 +0.000" in page.words
        piece = read(client, "/diff/pixels?a=2&b=3")
        for name, counts in answer["classes"].items():
            assert f"{name} {counts['lost']:,} {counts['won']:,}" in piece.words
        assert [i["image_id"] for i in answer["worst"]] == ids(piece)
        pictures = [str(a["src"]) for a in piece.all("img")]
        assert len(pictures) == 3 * len(answer["worst"])
        assert {picture(client, address).shape[:2] for address in pictures[:3]} == {SIZE}


@pytest.mark.parametrize(
    "side", ["nothing", "data/masks", "..", "/etc", "-p", "HEAD~1:x", "a" * 65, "now;ls", "%2e%2e"]
)
def test_a_side_is_never_a_path(line, client, side):
    """A folder that the command line would take is no side of a page."""
    page = Page(client.get("/diff", params={"a": side, "b": "2"}).text)
    assert "masks changed" not in page.words
    assert client.get("/diff/pixels", params={"a": side, "b": "2"}).status_code == 404
    assert client.get("/diff/picture", params={"a": side, "b": "2", "id": "image-1", "side": "a"}).status_code == 404


def test_pages_write_nothing(line):
    """After a visit of every page each file is what it was, but for the ledger's index, which may be deleted at any time."""

    def files() -> dict[str, bytes]:
        paths = [p for p in Path().rglob("*") if p.is_file() and p.suffix != ".duckdb"]
        return {str(p): p.read_bytes() for p in paths}

    before = files()
    with visit(project()) as client:
        for address in ("/", "/images", "/image?id=image-3", "/models", "/models/segmenter/1", "/diff?a=1&b=2"):
            read(client, address)
        read(client, "/diff/pixels?a=1&b=now")
        read(client, "/image/pixel?id=image-3&x=1&y=1")
        client.get("/picture/thumb?id=image-3")
    assert files() == before


def test_the_snapshot_knows_each_image_once(line):
    """Several masks of an image through time make no second row of it."""
    snapshot = Snapshot(Lookup())
    assert (snapshot.count, snapshot.find(ImageQuery()).total) == (4, 4)
    assert snapshot.tags == {"cat": 2, "dog": 2}
    assert set(snapshot.some(["image-1", "nothing"])) == {"image-1"}
    assert json.dumps(snapshot.classes) == '["background", "cat", "dog"]'
