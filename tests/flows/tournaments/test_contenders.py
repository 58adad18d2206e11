"""Who takes part in a tournament: families, lines of a YAML file, and what is refused before anything runs."""

from pathlib import Path

import pytest
from contest import make_project
from typer.testing import CliRunner

from app.main import command_line
from flows.tournaments.contenders import entrants, families
from flows.tournaments.setup import Wish, set_up
from labelfactory.errors import ParamsError, UserError
from labelfactory.settings.registry import method_names
from labelfactory.tournament import BASELINE, Contender, Results, write_results


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    """A project with an import; nothing runs."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str) -> str:
    """A file of contenders."""
    Path("c.yaml").write_text(text)
    return "c.yaml"


def test_a_family_enters_every_method_but_the_one_that_params_yaml_has():
    """By its own defaults, the baseline first."""
    found = entrants(["objectives"])
    assert [e.name for e in found] == [BASELINE, *(n for n in method_names("models.objectives") if n != "tags")]
    assert found[1].overlay == {"train_classifier.objective": {"name": found[1].name}}
    assert found[1].sections["train_classifier"].objective.name == found[1].name


def test_each_family_that_a_section_chooses_from_can_be_entered():
    """By the name of its folder; a family of one method has nobody beside the baseline."""
    assert {"objectives", "cams", "backbones", "refinement", "segmenters", "priors"} <= set(families())
    for family in families():
        others = method_names(f"models.{family}")
        if len(others) > 2:
            assert len(entrants([family])) >= 2


def test_a_backbone_goes_to_every_network_that_may_share_it():
    """The segmenter starts from the classifier: both get it."""
    (resnet,) = [e for e in entrants(["backbones"]) if e.name == "resnet50"]
    assert (
        resnet.values["train_classifier"]["backbone"]
        == resnet.values["train_segmenter"]["backbone"]
        == {"name": "resnet50"}
    )


def test_one_line_of_yaml_is_a_contender():
    """With dotted names, or as params.yaml is written; a method comes with its own knobs, not with the baseline's."""
    found = entrants([write("a: {random_walk.beta: 16}\nb: {random_walk: {beta: 4, radius: 3}}\n")])
    assert [e.name for e in found] == [BASELINE, "a", "b"]
    assert found[1].sections["random_walk"].beta == 16
    assert found[2].overlay == {"random_walk.beta": 4, "random_walk.radius": 3}
    knobs = entrants([write("a: {random_walk.method.steps: 64}\n")])[1]
    assert (knobs.sections["random_walk"].method.name, knobs.sections["random_walk"].method.steps) == ("chebyshev", 64)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {random_walk.betta: 4}", "unknown key; did you mean `beta`"),
        ("a: {random_wlak.beta: 4}", "did you mean `random_walk`"),
        ("a: {random_walk.beta: -4}", "beta"),
        ("a: {random_walk.beta: 8}", "a is the same as baseline"),
        ("a: {random_walk.beta: 4}\nb: {random_walk.beta: 4}", "b is the same as a"),
        ("a: {}", "has no parameters"),
        ("baseline: {random_walk.beta: 4}", "is params.yaml as it stands"),
        ("../a: {random_walk.beta: 4}", "is not a name of letters"),
        ("a: {random_walk: 4}", "not of the form section.key"),
        ("a: {random_walk.beta: 4, random_walk: {beta: 5}}", "given twice"),
        ("a: {prepare.train_list: val}", "the same photographs are for all"),
        ("a: {evaluate: {lists: [val]}}", "the same photographs are for all"),
        ("{}", "nobody to hold against"),
    ],
)
def test_what_is_not_valid_is_said_before_anything_runs(text, said):
    """A parameter that is unknown, two contenders that are the same, a name that is a path."""
    with pytest.raises(UserError) as caught:
        entrants([write(text)])
    assert said in str(caught.value)


def test_an_unknown_family_is_named_with_a_near_one():
    """And all of them."""
    with pytest.raises(ParamsError, match="did you mean `objectives`") as caught:
        entrants(["objectivs"])
    assert "cams" in caught.value.remedy


def test_a_method_that_lacks_something_is_not_in_the_way_of_the_others(monkeypatch):
    """An objective that reads maps, where no stage makes any: it fails in the table."""
    setup = set_up(Wish(("objectives",), seeds=1))
    from flows.tournaments.rounds import Tournament

    played = Tournament(setup.course, setup.plans, setup.entrants, perform=lambda job: None, show=lambda line: None)
    played._enter(setup.plans[0])
    failed = {s.name: s.problem for s in played.standings.values() if s.state == "failed"}
    assert list(failed) == ["eps"]
    assert "learns from data/priors" in failed["eps"]


@pytest.mark.parametrize(
    ("contenders", "until"),
    [
        ("objectives", "seeds"),
        ("cams", "seeds"),
        ("affinity_labels", "walks"),
        ("refinement", "masks"),
        ("segmenters", "model"),
    ],
)
def test_a_tournament_ends_at_the_first_score_that_a_contender_changes(contenders, until):
    """Nobody waits for a model to learn which CAMs are better."""
    course = set_up(Wish((contenders,))).course
    assert course.until == until
    assert course.scored == ("val" if until == "model" else "train")
    assert ("train_segmenter" in course.stages) == (until == "model")


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"until": "mask"}, "did you mean `masks`"),
        ({"split": "trian"}, "did you mean `train`"),
        ({"seeds": 0}, "not between 1 and"),
        ({"images": 3}, "below the minimum"),
        ({"images": -3}, "below the minimum"),
    ],
)
def test_options_are_checked_first(wish, said):
    """With a remedy."""
    with pytest.raises(ParamsError) as caught:
        set_up(Wish(("objectives",), **wish))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a tournament needs contenders"),
        (["objectives", "--budget", "soon"], "--budget 'soon' is not a time"),
        (["objectives", "--runner", "dask"], "needs a worker"),
        (["--adopt", "seam"], "not readable"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words, said):
    """Exit code and two lines come from the program's own handling of a UserError."""
    result = CliRunner().invoke(command_line("tournament"), ["tournament", *words])
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)


def test_the_forecast_names_a_method_that_lacks_something(monkeypatch):
    """In its row, as the table of the tournament does; the others have their time."""
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(command_line("tournament"), ["tournament", "objectives", "--dry-run"])
    assert result.exit_code == 0, result.exception
    rows = {line.split("│")[1].strip(): line for line in result.output.splitlines() if line.startswith("│")}
    assert set(method_names("models.objectives")) - {"tags"} | {BASELINE, "all"} == set(rows)
    assert "learns from data/priors" in rows["eps"]
    assert rows["seam"].split("│")[2].strip().endswith("s")


@pytest.mark.parametrize(
    ("word", "name"),
    [("propagation", "chebyshev"), ("a: {random_walk.method: {name: chebyshev, tolerance: 0.01}}", "a")],
)
def test_what_is_adopted_is_what_ran(word, name):
    """The method that params.yaml has, with other knobs: what the contender does not name has its default again."""
    text = Path("params.yaml").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("  method: chebyshev")]
    Path("params.yaml").write_text(text.replace(line, "  method: {name: chebyshev, steps: 16}"))
    (contender,) = [e for e in entrants([word if word.isalpha() else write(word)]) if e.name == name]
    shown = [Contender(name=BASELINE), Contender(name=name, overlay=dict(contender.overlay))]
    made = {"title": word, "until": "walks", "split": "train", "images": 8, "seeds": (0,), "classes": ("background",)}
    moment = {"commit": "", "dirty": False, "machine": "", "time": "", "settings": "0" * 64}
    write_results(Results(**made, **moment, with_truth=True, contenders=tuple(shown), rounds=()))
    result = CliRunner().invoke(command_line("tournament"), ["tournament", "--adopt", name])
    assert result.exit_code == 0, result.exception
    baseline = entrants(["objectives"])[0]
    assert baseline.sections == contender.sections


def test_two_families_may_share_the_name_of_a_method():
    """The second of them has its family's name before it."""
    names = [entrant.name for entrant in entrants(["affinity_labels", "refinement", "blocks", "affinity"])]
    assert len(names) == len(set(names))
    assert {"psa", "affinity.psa"} <= set(names)


def test_the_command_that_repeats_it_has_its_options():
    """Quoted for the shell, and read back by the command itself to the same wish."""
    wish = Wish(("objectives", "my file.yaml"), "masks", 1, "train", 40, 5400.0)
    assert wish.command == (
        "labelfactory tournament objectives 'my file.yaml' --until masks --seeds 1 --list train --images 40 --budget 5400s"
    )
    assert Wish(("cams",)).command == "labelfactory tournament cams --seeds 2"
    assert set_up(Wish(("cams",))).command == "labelfactory tournament cams --seeds 2"
