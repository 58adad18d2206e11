"""A tournament in the ledger and in MLflow: once, a run for each contender under one parent, and again for a store that lost it."""

import pytest
from made_line import MadeLine

from labelfactory.tournament import BASELINE, Contender, Results, Run, ShownGain
from lineage.deliver import deliver
from lineage.ledger import Ledger
from lineage.mlflow_home import tracking_uri
from lineage.outbox import Outbox
from lineage.resend import resend
from lineage.tournament_record import EVENT, record_tournament
from lineage.tracking import PARENT, Tracking

GAIN = ShownGain(value=0.02, low=0.01, high=0.03, verdict="better")
RESULTS = Results(
    title="objectives",
    until="seeds",
    split="train",
    images=437,
    seeds=(0, 1),
    classes=("background", "cat"),
    with_truth=True,
    contenders=(
        Contender(name=BASELINE, state="finished", score=0.5, runs=(Run(seed=0, score=0.5),)),
        Contender(
            name="seam",
            overlay={"train_classifier.objective": {"name": "seam"}},
            supervision=("tags",),
            state="finished",
            score=0.52,
            gain=GAIN,
            class_gains={"cat": GAIN},
        ),
        Contender(name="eps", state="failed", problem="no maps"),
    ),
    rounds=(),
    commit="c" * 40,
    dirty=False,
    machine="a machine",
    time="2026-11-30T12:00:00+00:00",
    settings="0" * 64,
)


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A project without a record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return MadeLine()


def test_a_result_is_recorded_once(line):
    """The same one of a later time adds nothing; another figure is another event; a letter that is lost is made again."""
    assert record_tournament(RESULTS)
    assert not record_tournament(RESULTS.model_copy(update={"time": "2026-12-01T12:00:00+00:00"}))
    assert record_tournament(RESULTS.model_copy(update={"images": 436}))
    (first, _) = Ledger().events(EVENT)
    assert [c["name"] for c in first["detail"]["contenders"]] == [BASELINE, "seam", "eps"]
    assert first["detail"]["contenders"][1]["figures"]["gain_low"] == 0.01
    outbox = Outbox(Ledger().folder / "outbox")
    for letter in outbox.letters():
        letter.done()
    assert resend(Ledger(), outbox) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:mlflow")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_mlflow_has_a_run_for_each_contender(line):
    """Under one parent, with overlay and gain; who failed has failed; delivered again, nothing is added."""
    record_tournament(RESULTS)
    assert deliver().problem == ""
    tracking = Tracking(tracking_uri(), head={"digest": "", "sequence": 0})
    runs = {run.info.run_name: run for run in tracking.client.search_runs([tracking.experiment])}
    assert set(runs) == {"tournament objectives", BASELINE, "seam", "eps"}
    parent = runs["tournament objectives"].info.run_id
    assert {runs[name].data.tags[PARENT] for name in (BASELINE, "seam", "eps")} == {parent}
    assert runs["seam"].data.metrics["gain"] == 0.02
    assert runs["seam"].data.metrics["gain/cat"] == 0.02
    assert runs["seam"].data.params["train_classifier.objective.name"] == "seam"
    assert [runs[name].info.status for name in (BASELINE, "eps")] == ["FINISHED", "FAILED"]
    resend(Ledger(), Outbox(Ledger().folder / "outbox"))
    assert deliver().waiting == 0
    assert len(tracking.client.search_runs([tracking.experiment])) == 4
