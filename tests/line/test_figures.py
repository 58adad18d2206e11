"""Each figure that is shown belongs to the digests that it was measured on.

No two evaluations have a figure alike here (`marked_line`), so a figure on any page, in any table or JSON tells which
evaluation measured it. For every way in which figures grow old, all places are read: what they show must be of what it stands
beside. A page or a command that is new must be named here before the tests pass.
"""

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.routing import APIRoute
from marked_line import LISTS, NAMES, MarkedLine
from visiting import project, visit

from app.main import COMMANDS
from flows.line.summary import as_markdown, read_summary
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.files import write_json
from labelfactory.settings.thresholds import Threshold, write_thresholds
from labelfactory.settings.wiring import METRICS, REPORTS
from labelfactory.stage.output_state import passport_of
from lineage.audit import audit_model
from lineage.diff import diff
from lineage.export import export_lineage
from lineage.ledger import Ledger, events_table
from lineage.lookup import Lookup
from lineage.outbox import Outbox
from lineage.record import record
from pages.site import make_site

pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")  # Starlette's own, about its test client

NOW = ("/", "/state", "/images?quality=masks", "/images?quality=model", "/image?id=image-3", "/report")
"""Pages of what is on disk."""
ROUTES = {"/", "/state", "/images", "/image", "/image/pixel", "/models", "/models/{name}/{version}", "/diff", "/diff/pixels",
          "/diff/picture", "/picture/{name}", "/report", "/tournament", "/static/{name}"}  # fmt: skip
"""All addresses that the tests below read, and those of pictures, styles and scripts. A tournament measures its figures itself, and
its page says whether it is of before (tests/pages/test_tournament_page.py)."""
SCORED = {"run", "report", "sweep", "tournament", "audit", "compare", "serve", "export", "package", "predict", "export-lineage",
          "quality", "review"}  # fmt: skip
"""Commands that print or write a figure of quality. `tournament`, `export`, `package`, `predict`, `quality` and `review` have
figures that they measure themselves."""
UNSCORED = {"import", "status", "parameters", "profile", "corrections", "quarantine", "record", "promote", "withdraw", "doctor",
            "up", "down", "deploy", "push", "pull", "gc", "new"}  # fmt: skip


@pytest.fixture
def line(tmp_path, monkeypatch) -> MarkedLine:
    """Everything was made once and recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "250")
    made = MarkedLine()
    record()
    return made


def page(address: str) -> str:
    """An address of the pages, asked by a visitor who sees what is on disk."""
    with visit(project()) as client:
        answer = client.get(address)
    assert answer.status_code == 200, f"{address}: {answer.status_code} {answer.text[-600:]}"
    return answer.text


def scores_now() -> dict[str, str]:
    """Everything that shows scores of what is on disk: name → text."""
    summary = read_summary()
    return {"table": as_markdown(summary), **{address: page(address) for address in NOW}}


def scores_of_model(number: int) -> dict[str, str]:
    """Everything that shows scores of a version of the segmenter: name → text."""
    rows = re.findall(r"<tr>.*?</tr>", page("/models"), re.DOTALL)
    (row,) = [row for row in rows if f">segmenter {number}<" in row]
    answer = json.dumps(audited("model", f"segmenter@{number}"))
    return {"models": row, "model": page(f"/models/segmenter/{number}"), "audit": answer}


def audited(*words: str) -> Any:
    """What `audit … --json` answers from the ledger as it is, without a record before."""
    lookup = Lookup()
    return audit_model(lookup, words[1]) if words[0] == "model" else diff(lookup, *words[1:])


def names_in(keys: set[str]) -> set[str]:
    """The scores that some keys are of, such as masks."""
    names = {key.split("/")[2].removesuffix("_at_best_threshold") for key in keys if key.startswith(("miou/", "iou/"))}
    return names | {key.partition("/")[2] for key in keys if key.startswith("image/")}


# --- the ways in which figures grow old -------------------------------------------------------------------------------


def other_cams(line: MarkedLine) -> None:
    """As `labelfactory run extract_cams` leaves it."""
    classifier = json.loads(Path("data/reports/train_classifier.json").read_text())["key"]
    line.rows("extract_cams", {"classifier": classifier}, "other")
    line.commit()


def other_masks(line: MarkedLine) -> None:
    """Masks that were made again from the same walks."""
    line.rows("refine_crf", {}, "other")
    line.commit()


def other_walk_threshold(line: MarkedLine) -> None:
    """Walks are scored at a threshold, which was chosen anew."""
    write_thresholds(Path("data/walk_threshold"), {"background": Threshold(0.6, "params")})


def other_model(line: MarkedLine) -> None:
    """Trained again with another seed, and not scored."""
    parents = {name: passport for name in ("classifier", "affinity") if (passport := passport_of(name))}
    line.train("segmenter", parents, seed=7)
    line.commit()


def another_image(line: MarkedLine) -> None:
    """Imported and prepared: the lists that were scored are others, though all rows are those of before."""
    manifest = read_manifest()
    write_manifest(
        manifest.__class__(**{**manifest.__dict__, "entries": (*manifest.entries, line._photograph("new", 9))})
    )
    line.prepare()


def a_file_of_before(line: MarkedLine) -> None:
    """metrics.json and images.parquet as an earlier version wrote them: they do not say what was measured."""
    content = json.loads(METRICS.read_text())
    del content["measured"]
    write_json(METRICS, content)
    report = REPORTS / "evaluate.json"
    write_json(report, {key: value for key, value in json.loads(report.read_text()).items() if key != "made"})
    images = METRICS.with_name("images.parquet")
    pq.write_table(pq.read_table(images).replace_schema_metadata(None), images)


def nothing(line: MarkedLine) -> None:
    """All that was scored is there."""


WAYS: list[tuple[Callable[[MarkedLine], None], set[str]]] = [
    (nothing, {"seeds", "walks", "masks", "model"}),
    (other_cams, {"walks", "masks", "model"}),
    (other_masks, {"seeds", "walks", "model"}),
    (other_walk_threshold, {"seeds", "masks", "model"}),
    (other_model, {"seeds", "walks", "masks"}),
    (another_image, set()),
    (a_file_of_before, set()),
]
"""What happens after an evaluation → the scores that still belong to what is on disk."""


@pytest.mark.parametrize(("happens", "left"), WAYS, ids=[way.__name__ for way, _ in WAYS])
def test_what_is_on_disk_has_its_own_scores_or_none(line, happens, left):
    """The table, the line, the grids, an image and the report: each way once."""
    happens(line)
    shown_on = {"/images?quality=masks": {"masks"}, "/images?quality=model": {"model"}}
    old = happens is not nothing
    for name, text in scores_now().items():
        shown = names_in({key for keys in line.found(text).values() for key in keys})
        wanted = shown_on.get(name, set(NAMES))
        if name == "/report":  # a document of its time, which says so
            assert ("This report is of earlier outputs" in text) == old
            continue
        assert shown == wanted & left, name
        if name in ("table", "/", "/state", "/image?id=image-3", *shown_on):
            assert ("not measured" in text) == bool(wanted - left), name
        if name in ("table", "/"):
            reason = "does not say what its scores" if happens is a_file_of_before else "changed after the last"
            assert (reason in text) == old, name


def test_figures_of_the_whole_line_need_the_whole_line(line):
    """The share of full supervision, thresholds and their cost belong to all outputs together."""
    assert "Of full supervision" in as_markdown(read_summary())
    other_cams(line)
    assert "Of full supervision" not in as_markdown(read_summary())


def test_a_damaged_output_has_no_scores_and_the_others_keep_theirs(line):
    """The table does not open rows to show a figure: it says that this one is not measured."""
    shard = Path("data/masks/shard-00000.parquet")
    shard.write_bytes(shard.read_bytes()[:-40] + bytes(40))
    shown = {key for keys in line.found(as_markdown(read_summary())).values() for key in keys}
    assert names_in(shown) == {"seeds", "walks", "model"}


def test_no_later_run_changes_the_scores_of_a_model(line):
    """Two runs, a target upstream, masks made again: the first model keeps the figures of its own evaluation."""
    before = scores_of_model(1)
    assert all(set(line.found(text)) == {1} for text in before.values())
    line.run(refine_crf="second", seed=2)
    record()
    other_cams(line)
    record()
    line.run(refine_crf="third", extract_cams="third", seed=2)
    record()
    for number in (1, 2, 3):
        for name, text in scores_of_model(number).items():
            found = line.found(text)
            assert set(found) == {number}, (number, name, found)
            wanted = set(NAMES) if name == "audit" else {"model"}
            assert names_in(found[number]) == wanted, (number, name)
    assert audited("model", "segmenter@1")["scores"] == json.loads(before["audit"])["scores"]


def test_masks_that_are_scored_later_are_not_those_of_a_model_of_before(line):
    """The same network with other masks: an evaluation of both gives the model its own score at most."""
    other_masks(line)
    line.evaluate()
    line.commit()
    record()
    (found,) = line.found(json.dumps(audited("model", "segmenter@1")["scores"])).items()
    assert found[0] == 1
    answer = audited("diff", "1", "now")
    assert answer["scores"] == [], "masks that no model learnt from have none"


def test_a_model_that_was_not_scored_is_not_measured(line):
    """Neither the scores of the masks that it shares with another model, nor that model's."""
    other_model(line)
    record()
    answer = audited("model", "segmenter@2")
    assert names_in(set(answer["scores"])) == {"seeds", "walks", "masks"}, "it learnt from masks that were scored"
    for name, text in scores_of_model(2).items():
        assert "model" not in names_in(line.found(text).get(1, set())), name
    assert "not measured" in page("/models/segmenter/2")
    assert "not measured" in page("/models")
    for item in audited("diff", "1", "2")["scores"]:
        assert (item["second"] is None) == item["name"].endswith("/model"), item
    assert "not measured" in page("/diff?a=1&b=2")


def test_a_sweep_gives_its_model_its_own_scores_and_no_alias(line):
    """It is a version, `latest` stays what data/ holds, and data/ has the scores that it had."""
    line.sweep(refine_crf="swept", seed=3)
    record()
    lookup = Lookup()
    assert [model.label for model in lookup.versions()] == ["segmenter 1", "segmenter 2"]
    assert lookup.model("latest").version == lookup.model("segmenter").version == 1
    for number in (1, 2):
        for name, text in scores_of_model(number).items():
            assert set(line.found(text)) == {number}, (number, name)
    for name, text in scores_now().items():
        assert set(line.found(text)) <= {1}, name
    shutil.rmtree("data/segmenter")
    with pytest.raises(Exception, match="data/segmenter holds none that is recorded"):
        Lookup().model("latest")
    assert Lookup().aliases() == {}


def test_the_command_line_says_what_is_not_measured(line, labelfactory):
    """In words for people, null in JSON: a model that no evaluation scored, and one side of a difference."""
    other_model(line)
    other_masks(line)
    text = labelfactory("audit", "diff", "1", "2")
    assert re.search(r"name miou/val/model, first 7108, second not measured", text)
    answer = json.loads(labelfactory("audit", "diff", "1", "2", "--json"))
    assert {"name": "miou/val/model", "first": 7108.0, "second": None} in answer["scores"]
    assert "scores  not measured" in labelfactory("audit", "model", "affinity")
    assert json.loads(labelfactory("audit", "model", "affinity", "--json"))["scores"] == {}
    assert set(line.found(labelfactory("report"))) == {1}
    assert "of earlier outputs" in labelfactory("report")


def test_a_promoted_model_keeps_its_scores(line):
    """The champion is an older one: its page and its audit have its figures, the line those of what is on disk."""
    first = Lookup().model("1")
    line.run(refine_crf="second", seed=2)
    record()
    detail = {"alias": "champion", "model": first.digest}
    ledger = Ledger()
    with ledger.locked():
        ledger.append("events", events_table([("promoted", first.digest, detail, datetime.now(UTC))]))
    assert audited("model", "champion")["aliases"] == ["champion"]
    assert set(line.found(json.dumps(audited("model", "champion")))) == {1}
    assert set(line.found(json.dumps(audited("model", "latest")))) == {2}
    for name, text in scores_now().items():
        assert set(line.found(text)) <= {2}, name


def test_a_difference_shows_each_side_its_own(line):
    """On the page and in JSON: the first column is of the first evaluation alone, the second of the second."""
    line.run(refine_crf="second", seed=2)
    line.run(refine_crf="third", seed=3, commit=False)
    record()
    for sides in (("1", "2"), ("2", "1")):
        answer = audited("diff", *sides)
        assert len(answer["scores"]) == len(LISTS) * len(NAMES) + 2
        for item in answer["scores"]:
            for side, version in zip(("first", "second"), sides, strict=True):
                number = {v: n for n, v in numbers_of(line).items()}[version]
                assert item[side] == line.figures[number][item["name"]], item
        text = page(f"/diff?a={sides[0]}&b={sides[1]}")
        assert set(line.found(text)) == {n for n, v in numbers_of(line).items() if v in sides}
        assert line.found(page(f"/diff/pixels?a={sides[0]}&b={sides[1]}")) == {}


def numbers_of(line: MarkedLine) -> dict[int, str]:
    """Number of an evaluation → version of the segmenter that it scored, by the weights that it names."""
    versions = {model.weights: str(model.version) for model in Lookup().versions()}
    events = [e["detail"] for e in Ledger().events("evaluation")]
    numbered = {}
    for detail in events:
        (number,) = line.found(json.dumps(detail["figures"]))
        weights = next(s["digest"] for s in detail["measured"] if s["name"] == "segmenter")
        numbered[number] = versions[weights]
    return numbered


def test_scores_on_other_true_masks_are_not_subtracted(line):
    """Both figures are true, their difference says nothing: it is left out, and the answer says why."""
    another_image(line)
    line.run(seed=2)
    record()
    items = audited("diff", "1", "2")["scores"]
    assert all("other true masks" in item["note"] for item in items)
    text = page("/diff?a=1&b=2")
    assert "measured on other true masks" in text
    assert "+100.000" not in text


def test_letters_to_mlflow_name_what_their_figures_were_measured_on(line):
    """The run of `evaluate` that was recorded after its inputs had changed has the digests of its own metrics."""
    line.run(refine_crf="second", seed=2)
    measured = {state["name"]: state["digest"] for state in json.loads(METRICS.read_text())["measured"]}
    other_masks(line)
    other_cams(line)
    record()
    letters = [letter.detail for letter in Outbox().letters() if letter.kind == "execution"]
    last = [detail for detail in letters if detail["stage"] == "evaluate"][-1]
    assert set(line.found(json.dumps(last["metrics"]))) == {2}
    inputs = {state["name"]: state["digest"] for state in last["inputs"]}
    assert inputs == {name: digest for name, digest in measured.items() if name in inputs}
    assert {"masks", "cams", "segmenter", "walk_threshold"} <= set(inputs)


def test_an_export_of_lineage_has_no_figures(line, tmp_path):
    """Digests of executions and models alone."""
    for path in export_lineage(Lookup(), tmp_path / "lineage"):
        assert line.found(path.read_text()) == {}, path


def test_every_page_and_command_is_known_here(line):
    """A new one has to say whose figures it shows: add it to ROUTES, or to a list of commands, and to the tests."""
    app: Any = make_site(project())
    while not hasattr(app, "routes"):
        app = next(value for value in vars(app).values() if callable(value) and not isinstance(value, type))
    assert {route.path for route in app.routes if isinstance(route, APIRoute)} == ROUTES
    assert set(COMMANDS) == SCORED | UNSCORED
    assert not SCORED & UNSCORED
