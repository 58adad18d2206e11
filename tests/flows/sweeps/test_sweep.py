"""A sweep: which variants there are, the table and the plot that they end in, and one that really runs as DVC experiments."""

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from math import nan
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from workspace import ROOT, call

from app.sweep import _print
from flows.sweeps.plan import parse, scored_until, variants
from flows.sweeps.plot import as_svg
from flows.sweeps.table import Outcome, as_csv, as_markdown, scores_of
from labelfactory.errors import ParamsError
from labelfactory.level.paired import Gain
from labelfactory.settings.wiring import read_wiring

BETA, STEPS = "random_walk.beta", "random_walk.method.steps"
names = st.from_regex(r"[a-z_]{1,8}\.[a-z_]{1,8}", fullmatch=True)
values = st.lists(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.sampled_from(["auto", "tiny"])),
    min_size=1,
    max_size=4,
)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """params.yaml, dvc.yaml, the code and an import's manifest, as far as variants are named by them."""
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name in ("labelfactory", "models", "reporting", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data/import").mkdir(parents=True)
    (tmp_path / "data/import/manifest.parquet").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@settings(deadline=None)  # the first use of YAML takes longer
@given(wanted=st.dictionaries(names, values, min_size=1, max_size=3))
def test_what_is_typed_is_what_is_swept(wanted):
    """Numbers stay numbers, words stay words, in the order in which they were typed."""
    words = [f"{name}={','.join(yaml.safe_dump(v).splitlines()[0] for v in found)}" for name, found in wanted.items()]
    assert parse(words) == wanted
    assert list(parse(words)) == list(wanted)


def test_a_list_is_one_value():
    """As params.yaml writes it."""
    assert parse(["extract_cams.scales=[1.0],[0.5, 1.0]"]) == {"extract_cams.scales": [[1.0], [0.5, 1.0]]}


@pytest.mark.parametrize("word", ["beta=4", "random_walk.beta", "random_walk.beta=", "random_walk.beta=[4", "=4"])
def test_what_is_no_parameter_with_values_is_refused(word):
    """With an example of how to type it."""
    with pytest.raises(ParamsError, match=r"is not of the form|not readable as YAML") as caught:
        parse([word])
    assert "labelfactory sweep" in caught.value.remedy
    with pytest.raises(ParamsError, match="appears twice"):
        parse(["random_walk.beta=4", "random_walk.beta=8"])


def test_variants_are_all_combinations(project):
    """Two values times three, the last parameter fastest; six experiments of six names."""
    made = variants({BETA: [4, 8], STEPS: [16, 32, 64]})
    assert [tuple(v.settings.values()) for v in made] == [(4, 16), (4, 32), (4, 64), (8, 16), (8, 32), (8, 64)]
    assert len({v.name for v in made}) == 6
    assert str(made[0]) == "random_walk.beta=4, random_walk.method.steps=16"


def test_a_name_says_what_a_result_depends_on(project):
    """The same question has the same name; another value, parameter, import, map, correction or line of code has another."""
    (name,) = {v.name for v in variants({BETA: [4]})}
    assert [v.name for v in variants({BETA: [4]})] == [name]
    (project / "data/import/manifest.parquet").write_bytes(b"two")
    other = variants({BETA: [4]})[0].name
    (project / "data/import/manifest.parquet").write_bytes(b"one")
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(re.sub(r"epochs: \d+", "epochs: 77", text, count=1))
    assert len({name, other, variants({BETA: [4]})[0].name}) == 3
    (project / "params.yaml").write_text(text)
    for path in ("data/import/maps/a.png", "data/import/maps/deep/b.png", "data/corrections/a.png"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        named = {variants({BETA: [4]})[0].name}
        for content in (b"one", b"two"):
            (project / path).write_bytes(content)
            named.add(variants({BETA: [4]})[0].name)
        assert len(named) == 3
        (project / path).unlink()
    (project / "data/import/account.json").write_text("{}")  # for people: no stage reads it
    assert variants({BETA: [4]})[0].name == name
    (project / "models/grids.py").write_text("")
    assert variants({BETA: [4]})[0].name != name


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, "needs a parameter"),
        ({BETA: []}, "needs a parameter"),
        ({"random_walk.betta": [4]}, "no random_walk.betta: 'betta' is unknown; did you mean `beta`?"),
        ({"random_wlak.beta": [4]}, "'random_wlak' is unknown; did you mean `random_walk`?"),
        ({"random_walk.beta.x": [4]}, "'x' is unknown"),
        ({STEPS: [16, 0]}, "random_walk.method.steps: 0 is below the minimum 1"),
    ],
)
def test_what_cannot_run_is_said_before_anything_runs(project, wanted, said):
    """A misspelt name, a value that a stage would refuse in the second of two variants."""
    with pytest.raises(ParamsError) as caught:
        variants(wanted)
    assert said in str(caught.value)


OUTCOMES = [
    Outcome("sweep-b", {BETA: 8}, {"train/masks": 0.5, "val/model": 0.25}),
    Outcome("sweep-a", {BETA: 4}, {"train/masks": 0.625, "val/model": 0.125}),
    Outcome("sweep-c", {BETA: 16}, {}, "the stage random_walk failed\nerror: too | blue"),
]


def test_the_table_has_a_row_a_variant():
    """By hand: the best of each column is bold, and a failure says why in its row."""
    assert as_markdown(OUTCOMES).splitlines() == [
        "| experiment | random_walk.beta | mIoU train/masks, % | mIoU val/model, % |  |",
        "| --- | --- | ---: | ---: | --- |",
        "| sweep-b | 8 | 50.0 | **25.0** |  |",
        "| sweep-a | 4 | **62.5** | 12.5 |  |",
        "| sweep-c | 16 |  |  | the stage random_walk failed error: too / blue |",
    ]
    rows = list(csv.DictReader(io.StringIO(as_csv(OUTCOMES))))
    assert [row["miou/train/masks"] for row in rows] == ["0.5", "0.625", ""]
    assert scores_of({"miou/train/masks": 0.5, "iou/train/masks/cat": 0.4}) == {"train/masks": 0.5}


def test_gains_stand_beside_their_scores():
    """In the table, in the CSV as fractions, in the terminal one a line; a gain of few images has no interval."""
    gains = {"train/masks": Gain(0.0125, 0.004, 0.0204), "val/model": Gain(-0.5, nan, nan)}
    some = [replace(OUTCOMES[1], gains=gains), OUTCOMES[0], OUTCOMES[2]]
    assert as_markdown(some).splitlines()[2:4] == [
        "| sweep-a | 4 | **62.5** (+1.2 [0.4, 2.0] better) | 12.5 (-50.0) |  |",
        "| sweep-b | 8 | 50.0 | **25.0** |  |",
    ]
    first, second, _ = csv.DictReader(io.StringIO(as_csv(some)))
    assert [first[f"{part}/train/masks"] for part in ("gain", "low", "high")] == ["0.0125", "0.004", "0.0204"]
    assert [first[f"{part}/val/model"] for part in ("gain", "low", "high")] == ["-0.5", "", ""]
    assert second["gain/train/masks"] == ""
    console = Console(width=60, file=io.StringIO())
    _print(some, console)
    assert re.search(r"1 │ train/masks │ \+1.2 \[0.4, 2.0\] better", console.file.getvalue())
    same = replace(OUTCOMES[1], gains={"train/masks": Gain(0.0, 0.0, 0.0)})
    assert "(+0.0" not in as_markdown([same])
    for outcomes in (OUTCOMES, [same]):
        console = Console(width=60, file=io.StringIO())
        _print(outcomes, console)
        assert "Gain" not in console.file.getvalue()


@pytest.mark.parametrize("width", [80, 60, 200])
def test_the_printed_table_fits_its_terminal(width):
    """Scores are divided among tables; a header breaks at its dots and slashes alone; the best of each score is bold."""
    ends = ("", "_at_best_threshold", "2")
    many = [
        Outcome(
            o.name,
            {**o.settings, "train_segmenter.method.rates": [6, 12]},
            {f"{name}{end}": score for name, score in o.scores.items() for end in ends},
            o.problem,
        )
        for o in OUTCOMES
    ]
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system="standard", highlight=False)
    _print(many, console)
    lines = console.file.getvalue().splitlines()
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    assert max(map(len, plain)) <= width
    words = " ".join(plain)
    for part in ("random_walk", "beta", "masks_at_best_threshold", "train", "train_segmenter", "1: sweep-b"):
        assert part in words
    assert sum(line.count("\x1b[1m62.5") for line in lines) == 3
    assert not any("\x1b[1m50.0" in line for line in lines)


def test_a_sweep_without_true_masks_has_a_row_a_variant():
    console = Console(width=80, file=io.StringIO())
    _print([Outcome("sweep-a", {BETA: 4}, {}), Outcome("sweep-b", {BETA: 8}, {})], console)
    assert "beta" in console.file.getvalue()


def test_a_sweep_may_stop_before_the_stages_that_learn_last(project):
    """What the stage needs runs, and the one that scores; scores of what did not run are not shown; another experiment."""
    (whole,), (until,) = variants({BETA: [4]}), variants({BETA: [4]}, "refine_crf")
    assert whole.stages == ()
    assert whole.name != until.name
    assert until.stages[-1] == "evaluate"
    assert "train_affinity" in until.stages
    assert "train_segmenter" not in until.stages
    names = scored_until("refine_crf")
    metrics = {"miou/train/masks": 0.5, "miou/val/model": 0.4, "miou/train/walks_at_best_threshold": 0.3}
    assert scores_of(metrics, names) == {"train/masks": 0.5, "train/walks_at_best_threshold": 0.3}
    with pytest.raises(ParamsError, match="did you mean `refine_crf`"):
        variants({BETA: [4]}, "refine_crff")
    with pytest.raises(ParamsError, match="nothing up to that stage is scored"):
        variants({BETA: [4]}, "prepare")


@pytest.mark.parametrize("until", [stage.name for stage in read_wiring(ROOT / "dvc.yaml").scored])
def test_a_score_is_cut_at_a_threshold_of_its_own_variant(project, until):
    """Thresholds are chosen behind what they cut: their stages run too, whatever the sweep stops at."""
    (variant,) = variants({BETA: [4]}, until)
    wiring, names = read_wiring(), scored_until(until)
    shown = [stage for stage in wiring.scored if stage.meta.scores.name in names]
    assert wiring[until] in shown
    assert {stage.name for stage in shown} <= set(variant.stages)
    for stage in shown:
        if stage.meta.scores.thresholds:
            assert wiring.maker(stage.meta.scores.thresholds).name in variant.stages
    for name in variant.stages[:-1]:
        assert set(wiring.upstream(name)) <= set(variant.stages)


def test_the_model_is_scored_by_rows_of_its_own_variant(project):
    """Predictions are made behind the network: a sweep that stops there makes them too, and one that stops before does not."""
    (variant,), (before,) = (variants({BETA: [4]}, until) for until in ("train_segmenter", "refine_crf"))
    assert "segment_images" in variant.stages
    assert "segment_images" not in before.stages


def test_the_stages_of_thresholds_add_no_training(project):
    """As the line is wired: a sweep of CAMs or walks stays as short as that."""
    for until, choosing in {"extract_cams": "calibrate_seeds", "random_walk": "calibrate_walks"}.items():
        (variant,) = variants({BETA: [4]}, until)
        assert set(variant.stages) == {*read_wiring().upstream(until), until, choosing, "evaluate"}


def test_the_plot_runs_along_one_numeric_parameter_else_from_variant_to_variant():
    """Well-formed, the same bytes twice, a point for each variant that has scores; with no scores at all it is empty."""
    along, names = as_svg(OUTCOMES), as_svg([Outcome("a", {"x.method": "cam"}, {"train/masks": 0.5})])
    assert along == as_svg(OUTCOMES)
    texts = [element.text for element in ElementTree.fromstring(along).iter("{http://www.w3.org/2000/svg}text")]
    assert {"random_walk.beta", "mIoU, %", "train/masks", "val/model"} <= set(texts)
    assert "method=cam" in names
    ElementTree.fromstring(as_svg(OUTCOMES[2:]))


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.timeout(1800)
def test_a_sweep_really_runs(imported, finished):
    """Two values of one parameter, the first as it is already: DVC experiments, one table, one plot, and all else untouched."""
    words = ("labelfactory", "sweep", "evaluate.scales=[1.0],[0.5]")
    assert "has not finished here" in call(imported, *words, code=2)
    folder = finished
    before = state(folder)
    out = call(folder, *words)
    assert "sweep: 2 of 2: evaluate.scales=[0.5]" in out
    rated = ["segment_images", "rate_masks"]
    assert re.findall(r"Running stage '(\w+)'", out) == [*rated, "evaluate"]
    assert state(folder) == before
    (table,) = (folder / "data/sweeps").glob("*/table.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["evaluate.scales"] for row in rows] == ["[1.0]", "[0.5]"]
    metrics = json.loads((folder / "data/evaluation/metrics.json").read_text())
    assert [float(rows[0][f"miou/{name}"]) for name in ("train/masks", "val/model")] == [
        metrics["miou/train/masks"],
        metrics["miou/val/model"],
    ]
    assert rows[1]["miou/train/masks"] == rows[0]["miou/train/masks"]  # masks are not made by `evaluate`
    assert [rows[0][f"{part}/train/masks"] for part in ("gain", "low", "high")] == ["0.0"] * 3
    assert rows[1]["gain/train/masks"] == ""  # scored with other settings
    ElementTree.parse(table.parent / "plot.svg")
    shown = call(folder, "dvc", "exp", "show", "--csv")
    assert all(row["experiment"] in shown for row in rows)

    again = call(folder, *words)
    assert "Running stage" not in again
    assert list(csv.DictReader(table.read_text().splitlines())) == rows

    # other code, other experiments; a variant whose stage fails says why in the table, and the next one runs
    path = folder / "stages/evaluate.py"
    work, failure = "    main(Evaluate)\n", "    raise SystemExit('the stage fell over')\n"
    assert work in path.read_text()
    path.write_text(path.read_text().replace(work, failure))
    call(folder, *words, code=2)
    assert ["the stage fell over" in row["problem"] for row in csv.DictReader(table.read_text().splitlines())] == [
        True,
        True,
    ]


def state(folder: Path) -> dict[str, bytes]:
    """Params, lock and outputs of a workspace; a variant's rows may be in the store, where all variants look."""
    files = [folder / "params.yaml", folder / "dvc.lock", *sorted((folder / "data").rglob("*.*"))]
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.is_file() and not {"sweeps", "store"} & {*path.parts}
    }
    git = subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, check=True)
    return {**found, "git": git.stdout}
