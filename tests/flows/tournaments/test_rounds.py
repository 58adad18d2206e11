"""The rounds of a tournament with made-up runs: gains, who drops out, what has no time, who fails, and what ranks without truth."""

from dataclasses import replace
from math import isclose
from pathlib import Path

import numpy as np
import pytest
from contest import make_project, performing, scored_run, unscored_run

from flows.tournaments.forecast import Forecast
from flows.tournaments.jobs import job_of
from flows.tournaments.nodes import DONE
from flows.tournaments.result import save_results
from flows.tournaments.rounds import Tournament
from flows.tournaments.setup import Wish, set_up
from flows.tournaments.standings import how_right
from flows.tournaments.table import as_markdown, rows
from flows.tournaments.work import NodeError
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.errors import UserError
from labelfactory.tournament import BASELINE, Contender, read_results
from reporting.tournament_words import verdict

THREE = """
good: {train_classifier.objective: seam}
equal: {train_classifier.objective: oaa}
bad: {train_classifier.objective: cian}
"""
NOISE = np.random.default_rng(0).uniform(-0.1, 0.1, size=(2, 1000))
SHARES = {
    BASELINE: lambda k: 0.5 + NOISE[0, k],
    "good": lambda k: 0.7 + NOISE[1, k],
    "equal": lambda k: 0.5 + NOISE[0, k ^ 2],  # as good on other photographs of the class
    "bad": lambda k: 0.2 + NOISE[1, k],
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A project of 160 photographs, and three contenders."""
    make_project(tmp_path, images=160)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "three.yaml").write_text(THREE)
    return tmp_path


def played(wish, perform=None, performed=None, **options):
    """A tournament with made-up runs, played to its end, and its result."""
    setup = set_up(wish)
    perform = perform or performing(SHARES, [] if performed is None else performed)
    tournament = Tournament(
        setup.course, setup.plans, setup.entrants, perform, lambda line: None, budget=wish.budget, **options
    )
    tournament.play()
    return save_results(tournament, setup)


def by_name(results) -> dict[str, Contender]:
    """The contenders."""
    return {contender.name: contender for contender in results.contenders}


def test_gains_tell_the_better_from_the_worse_and_from_the_same():
    """Two seeds; the mean of the gains, with an interval; the baseline first, then by score."""
    results = played(Wish(("three.yaml",)))
    found = by_name(results)
    assert next(iter(found)) == BASELINE
    assert [name for name in found if name != BASELINE] == sorted(
        ("good", "equal", "bad"), key=lambda name: -found[name].score
    )
    assert {name: c.gain.verdict for name, c in found.items() if c.gain} == {
        "good": "better",
        "equal": "cannot be told",
        "bad": "worse",
    }
    good = found["good"]
    assert isclose(good.gain.value, good.score - found[BASELINE].score, abs_tol=1e-6)
    assert good.gain.low < good.gain.value < good.gain.high
    assert set(good.by_seed) == {0, 1}
    assert set(good.class_gains) == {"background", "cat", "dog"}
    assert results.winner == good
    assert good.cost == 1.0
    assert read_results() == results


def test_contenders_share_what_is_equal():
    """The same folder stands for what follows from the same settings; each has a classifier of its own for each seed."""
    setup = set_up(Wish(("three.yaml",)))
    jobs = [job_of(e, n, setup.plans[0].selection, setup.course) for e in setup.entrants for n in range(2)]
    folders = {
        stage: {node.folder for job in jobs for node in job.node.chain if node.stage == stage}
        for stage in setup.course.stages
    }
    assert len(folders["prepare"]) == 1
    assert len(folders["train_classifier"]) == len(folders["extract_cams"]) == 8
    other = set_up(Wish(("cams",)))
    cams = [job_of(e, 0, other.plans[0].selection, other.course) for e in other.entrants]
    assert len({node.folder for job in cams for node in job.node.chain if node.stage == "train_classifier"}) == 1
    assert len({job.node.folder for job in cams}) == len(cams)


def test_a_run_says_what_it_depends_on(project):
    """Another parameter of a stage, another line of its code, another correction: another folder from that stage on."""

    def nodes():
        setup = set_up(Wish(("three.yaml",), until="masks"))
        return {
            node.stage: node.key
            for node in job_of(setup.entrants[0], 0, setup.plans[0].selection, setup.course).node.chain
        }

    def changed(before):
        after = nodes()
        return [stage for stage in before if before[stage] != after[stage]]

    before = nodes()
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("  beta: 8\n", "  beta: 9\n"))
    assert changed(before)[0] == "random_walk"
    assert "calibrate_seeds" not in changed(before)
    (project / "params.yaml").write_text(text)
    assert changed(before) == []
    (project / "data/corrections").mkdir()
    (project / "data/corrections/a.png").write_bytes(b"drawn")
    assert changed(before) == ["refine_crf", "evaluate"]
    (project / "data/corrections/a.png").unlink()
    code = project / "models/seeds.py"
    code.write_text(code.read_text() + "\nMORE = 1\n")
    assert changed(before)[0] == "label_affinity"


def test_with_a_budget_who_is_certainly_behind_the_leader_drops_out():
    """A quarter of the photographs with one seed, then all, then both seeds: the worse ones cost a part of their time."""
    performed: list[str] = []
    results = played(Wish(("three.yaml",), budget=1e9), performed=performed)
    assert [(r.images, r.seeds) for r in results.rounds] == [(40, 1), (160, 1), (160, 2)]
    assert set(results.rounds[0].dropped) == {"bad", "equal"}
    found = by_name(results)
    assert (found["bad"].state, found["good"].state, found[BASELINE].state) == ("dropped", "finished", "finished")
    assert "dropped after round 1, of 40 images" in [row[-1] for row in rows(results)]
    assert found["bad"].gain.verdict == "worse"  # as of the round in which it dropped out
    assert [line for line in performed if line.startswith("bad")] == ["bad 0 40"]
    assert len(found["good"].runs) == 2


def test_the_baseline_never_drops_out():
    """Gains are gains over it, however far it is behind."""
    results = played(Wish(("three.yaml",), budget=1e9), performing({**SHARES, BASELINE: lambda k: 0.05}, []))
    assert by_name(results)[BASELINE].state == "finished"
    assert all(BASELINE not in r.dropped for r in results.rounds)


def test_what_has_no_time_says_so(monkeypatch):
    """The budget lasts for the baseline and for the first contender."""
    monkeypatch.setattr(Forecast, "seconds", lambda self, nodes: 10.0)
    results = played(Wish(("three.yaml",), images=40, seeds=1, budget=25.0), clock=iter(range(0, 10**6, 3)).__next__)
    states = {contender.name: contender.state for contender in results.contenders}
    assert states == {BASELINE: "finished", "good": "finished", "equal": "finished", "bad": "not finished"}
    assert by_name(results)["bad"].score is None


def test_a_budget_too_small_for_the_first_round_is_refused(monkeypatch):
    """Before anything runs, where the pace is known; it says how long it takes."""
    performed: list[str] = []
    monkeypatch.setattr(
        Forecast, "seconds", lambda self, nodes: 600.0 * len({n for n in nodes if n.stage == "evaluate"})
    )
    with pytest.raises(UserError, match="about 20 minutes, 1 are given"):
        played(Wish(("three.yaml",), budget=60.0), performed=performed)
    assert performed == []


def test_one_that_fails_has_its_error_in_the_table_and_the_others_go_on():
    """Of a stage, with its last words; the table tells it."""
    usual = performing(SHARES, [])

    def perform(job):
        if job.entrant.name == "good":
            raise NodeError("error: extract_cams: no room\nMake some.")
        usual(job)

    results = played(Wish(("three.yaml",)), perform)
    found = by_name(results)
    assert (found["good"].state, found["good"].problem) == ("failed", "extract_cams: no room")
    assert found["equal"].state == "finished"
    assert results.contenders[-1].name == "good"
    assert any("failed: extract_cams: no room" in row[-1] for row in rows(results))


def test_a_baseline_that_fails_ends_the_tournament():
    """There is nothing to hold anybody against."""

    def perform(job):
        raise NodeError("error: prepare: nothing there")

    with pytest.raises(UserError, match="baseline: prepare: nothing there"):
        played(Wish(("three.yaml",)), perform)


def test_without_true_masks_the_line_ranks_by_what_it_knows():
    """By the colours that the seeds explain; there is no gain and no winner, and the sentence says that it is a guess."""
    manifest = read_manifest()
    write_manifest(
        replace(manifest, entries=tuple(replace(e, mask_path=None, mask_sha256=None) for e in manifest.entries))
    )
    guesses = {BASELINE: 0.2, "good": 0.3, "equal": 0.25, "bad": 0.1}
    results = played(Wish(("three.yaml",), seeds=1), lambda job: unscored_run(job, guesses[job.entrant.name]))
    assert not results.with_truth
    assert [c.name for c in results.contenders] == [BASELINE, "good", "equal", "bad"]
    assert [c.guess for c in results.contenders] == [0.2, 0.3, 0.25, 0.1]
    assert results.winner is None
    assert verdict(results).kind == "guess"
    assert "`good`" in verdict(results).sentence
    assert verdict(results).sentence in as_markdown(results)
    halved = played(
        Wish(("three.yaml",), seeds=1, budget=1e9), lambda job: unscored_run(job, guesses[job.entrant.name])
    )
    assert by_name(halved)["bad"].state == "dropped"


def test_how_far_the_guess_was_right():
    """Kendall's tau by hand: of three pairs two agree, one does not, so 1/3; it would have chosen b, five points behind."""
    made = [
        Contender(name=name, state="finished", score=score, guess=guess)
        for name, score, guess in (("a", 0.6, 0.5), ("b", 0.55, 0.7), ("c", 0.4, 0.1))
    ]
    right = how_right(made)
    assert (right.tau, right.chosen, round(right.behind, 6)) == (0.333, "b", 0.05)
    assert how_right(made[:1]) is None
    assert how_right(made[:2]).tau is None


def test_the_guess_is_judged_on_one_set_of_photographs():
    """Who dropped out after a part of the photographs has figures of these alone: no rank among the others' figures."""
    guesses = {BASELINE: 0.2, "good": 0.3, "equal": 0.25, "bad": 0.9}

    def perform(job):
        unscored_run(job, guesses[job.entrant.name])
        performing(SHARES, [])(job)

    halved = played(Wish(("three.yaml",), seeds=1, budget=1e9), perform)
    assert halved.rounds[0].dropped
    assert (halved.guess_was_right.tau, halved.guess_was_right.chosen) == (None, "good")
    assert played(Wish(("three.yaml",), seeds=1), perform).guess_was_right.chosen == "bad"


def test_the_seeds_of_params_yaml_name_the_runs_of_all(project):
    """Also of a contender that has seeds of its own: it is held against the baseline's run beside which it stands."""
    text = (project / "params.yaml").read_text()
    first, *others = text.split("  seed: 0\n")
    (project / "params.yaml").write_text("  seed: 5\n".join([f"{first}  seed: 3\n{others[0]}", *others[1:]]))
    (project / "two.yaml").write_text("good: {train_classifier.seed: 11}\n")
    results = played(Wish(("two.yaml",)))
    good = by_name(results)["good"]
    assert [run.seed for run in good.runs] == [3, 4] == list(results.seeds)
    assert good.gain.verdict == "better"
    setup = set_up(Wish(("two.yaml",)))
    job = job_of(setup.entrants[1], 1, setup.plans[0].selection, setup.course)
    assert [job.entrant.values[name]["seed"] for name in ("train_classifier", "train_affinity")] == [12, 6]


def test_a_damaged_note_of_a_stage_is_named_with_a_remedy(project):
    """JSON of another shape, as of a program that came between."""

    def perform(job):
        performing(SHARES, [])(job)
        if job.entrant.name == "good":
            (job.node.chain[-2].folder / DONE).write_text("{}")

    good = by_name(played(Wish(("three.yaml",), seeds=1), perform))["good"]
    assert good.state == "failed"
    assert "done.json: damaged" in good.problem


def test_true_masks_for_a_part_only_are_counted():
    """The score is that of the images that have one."""
    manifest = read_manifest()
    some = tuple(
        replace(e, mask_path=None, mask_sha256=None) if k % 4 == 0 else e for k, e in enumerate(manifest.entries)
    )
    write_manifest(replace(manifest, entries=some))

    def perform(job):
        scored_run(job, {k: SHARES[job.entrant.name](k) for k in range(160) if k % 4})

    results = played(Wish(("three.yaml",), seeds=1), perform)
    assert (results.images, results.partly) == (120, 40)
    assert by_name(results)["good"].gain.verdict == "better"


def test_a_budget_that_ends_early_keeps_what_is_known(monkeypatch):
    """A round that it does not last for is not begun, and takes nobody's figures; in one that it ends in, what is done counts."""
    monkeypatch.setattr(Forecast, "seconds", lambda self, nodes: 10.0 * sum(not node.is_done for node in nodes))
    clock = {"now": 0.0, "a run": 100.0}
    perform = performing(SHARES, performed := [])

    def slow(job):
        clock["now"] += 0.0 if job.node.is_done else clock["a run"]
        perform(job)

    results = played(Wish(("three.yaml",), images=60, budget=401.0), slow, clock=lambda: clock["now"])
    assert [(r.images, r.seeds) for r in results.rounds] == [(60, 1)]
    assert (results.images, results.seeds) == (60, (0,))
    assert by_name(results)["good"].gain.verdict == "better"
    assert results.winner.name == "good"
    assert not [line for line in performed if line.split()[1] == "1"]

    clock |= {"now": 0.0, "a run": 150.0}  # again, and the baseline takes longer than was expected
    results = played(Wish(("three.yaml",), images=60, budget=130.0), slow, clock=lambda: clock["now"])
    assert [(r.images, r.seeds) for r in results.rounds] == [(60, 1), (60, 2)]
    good = by_name(results)["good"]
    assert (good.state, len(good.runs), good.gain.verdict) == ("not finished", 1, "better")
    assert verdict(results).sentence == "No contender has finished, so there is nothing to choose from yet."

    clock["now"] = 0.0  # the baseline's is gone and takes all of the time; the other's is there
    (Path(by_name(results)[BASELINE].runs[0].project) / DONE).unlink()
    results = played(Wish(("three.yaml",), images=60, seeds=1, budget=130.0), slow, clock=lambda: clock["now"])
    assert by_name(results)["good"].state == "finished"


def test_a_budget_counts_once_what_the_baseline_and_a_contender_share(monkeypatch):
    """A read-out needs no classifier of its own."""
    setup = set_up(Wish(("cams",), seeds=1))
    monkeypatch.setattr(Forecast, "seconds", lambda self, nodes: 10.0 * len(set(nodes)))
    tournament = Tournament(setup.course, setup.plans, setup.entrants, lambda job: None, lambda line: None)
    baseline, other = (next(tournament._jobs_of(s, setup.plans[0]).__iter__()) for s in tournament._going()[:2])
    shared = set(baseline.node.chain) & set(other.node.chain)
    assert {"prepare", "train_classifier"} <= {node.stage for node in shared}
    own = len(set(baseline.node.chain) | set(other.node.chain))
    assert tournament._least(setup.plans[0]) == 10.0 * own


def test_a_score_of_nothing_is_a_score():
    """0 is a figure that has a gain, as any other."""
    setup = set_up(Wish(("three.yaml",), seeds=1))

    def perform(job):
        performing(SHARES, [])(job)
        if job.entrant.name == "bad":
            scored_run(job, dict.fromkeys(range(160), 0.0), background=0.0)

    tournament = Tournament(setup.course, setup.plans, setup.entrants, perform, lambda line: None)
    tournament.play()
    bad = by_name(save_results(tournament, setup))["bad"]
    assert bad.score == 0
    assert bad.gain.verdict == "worse"
