"""The pages: each shows what the command line answers, and nothing else than the data set, shards and ledger hold."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from html_page import Page
from made_line import SIZE
from rated import rate
from recorded_pages import client, line, made, mark, picture
from visiting import project, read, saying, visit

from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.rows.reader import RowReader
from labelfactory.settings.wiring import read_wiring
from lineage.diff import diff
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.mask_audit import audit_mask
from lineage.record import record
from pages.image_query import PER_PAGE, ImageQuery
from pages.slow_query import SlowQuery
from pages.snapshot import Snapshot

__all__ = ["client", "line", "made"]
pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")  # Starlette's own, about its test client


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
    assert ids(read(client, "/images?quality=agreement&order=low")) == order
    assert ids(read(client, "/images?quality=agreement&order=high")) == order[::-1]
    middle = 100 * (agreement[order[1]] + agreement[order[2]]) / 2
    assert set(ids(read(client, f"/images?quality=agreement&high={middle}"))) == set(order[:2])
    assert "No image fits" in read(client, "/images?tag=nothing").words


def test_the_worst_masks_come_first(line):
    """By the quality that the masks on disk have; in the grid of a class by the expected IoU of that class."""
    dataset = read_dataset()
    quality = {"image-0": 0.9, "image-1": 0.5, "image-2": 0.7, "image-3": 0.6}
    of_classes = {"image-1": {0: 0.9, 1: 0.1}, "image-3": {0: 0.9, 1: 0.05, 2: 0.85}, "image-2": {0: 0.6, 2: 0.8}}
    rate(dataset.records, dataset.classes.names, quality, of_classes)
    with visit(project()) as client:
        page = read(client, "/images")
        assert ids(page) == ["image-1", "image-3", "image-2", "image-0"]
        assert "expected mIoU of the mask, found without its truth" in page.words
        cats, dogs = (read(client, f"/images?tag={tag}") for tag in ("cat", "dog"))
        assert ids(cats) == ["image-3", "image-1"]
        assert ids(dogs) == ["image-2", "image-3"]
        assert "expected IoU of cat in the mask" in cats.words
        assert ids(read(client, "/images?tag=cat&low=8")) == ["image-1"]
        assert ids(read(client, "/images?order=import")) == [f"image-{k}" for k in range(4)]
        assert "50.0 %" in read(client, "/image?id=image-1").words
    line.run(refine_crf="third")
    with visit(project()) as client:  # of other masks nothing is known, so the import's order is left
        assert ids(read(client, "/images")) == [f"image-{k}" for k in range(4)]


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
