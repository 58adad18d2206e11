"""A variant runs with what was planned, or it fails: no score stands under a name that promises other inputs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import modify_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.line import experiments
from flows.line.dvc_repo import open_repo
from flows.line.experiment_inputs import inputs_in, name_of
from flows.line.experiments import become, photograph_folders, run_variant
from labelfactory.dataset.corrections import CORRECTIONS, TABLE
from labelfactory.dataset.manifest import MANIFEST, Entry, Manifest, write_manifest
from labelfactory.errors import UserError
from labelfactory.schema import Classes
from labelfactory.settings.params import read_yaml

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # DVC's own, about libraries that it uses
PARAMS = (
    "# what is tuned\nevaluate:\n  epochs: 5  # each an hour\n  method: {name: crf, gt_prob: 0.7}\n  scales: [1.0]\n"
)
CODE = """
import json, pathlib, yaml
values = yaml.safe_load(open("params.yaml"))["evaluate"]
from stages import more
photograph = len(pathlib.Path("data/raw/a.png").read_bytes())
drawn = len(pathlib.Path("drawn/a.png").read_bytes())
scores = {"epochs": values["epochs"], "gt_prob": values["method"]["gt_prob"], "more": more.VALUE}
scores |= {"bytes": photograph, "bytes of the true mask": drawn}
pathlib.Path("data/evaluation").mkdir(parents=True, exist_ok=True)
pathlib.Path("data/evaluation/metrics.json").write_text(json.dumps(scores))
"""
MAP = MANIFEST.parent / "maps/a.png"
LINE = {
    "evaluate": {
        "cmd": f"{sys.executable} -m stages.evaluate",
        "deps": ["stages", "data/import", "data/corrections"],
        "params": ["evaluate"],
        "metrics": ["data/evaluation/metrics.json"],
    }
}


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


def imported(image_id: str) -> None:
    entry = Entry(image_id, "data/raw/a.png", "0" * 64, ("train",), (), "drawn/a.png", "1" * 64)
    write_manifest(Manifest(Classes(("cat",)), {}, "test", (entry,)))


@pytest.fixture
def project(tmp_path, monkeypatch) -> dict[str, Any]:
    """A project of one stage, with a change that is not committed and a file of code that git does not know; its plan."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for folder in (".dvc", "stages", "data/raw", "drawn", CORRECTIONS):
        Path(folder).mkdir(parents=True)
    Path(".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n    autostage = false\n")
    Path(".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    Path(".gitignore").write_text("/data\n/drawn\n/.labelfactory\n__pycache__\n")
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": LINE}))
    Path("params.yaml").write_text(PARAMS.replace("5", "4"))
    Path("stages/evaluate.py").write_text(CODE)
    Path("stages/__init__.py").touch()
    Path("data/raw/a.png").write_bytes(b"photograph")
    Path("drawn/a.png").write_bytes(b"drawn")
    imported("a")
    MAP.parent.mkdir()
    MAP.write_bytes(b"one")
    (CORRECTIONS / TABLE).write_bytes(b"none")
    git("init", "-q")
    for name, value in (("user.name", "test"), ("user.email", "test@localhost"), ("commit.gpgsign", "false")):
        git("config", name, value)
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    Path("params.yaml").write_text(PARAMS)
    Path("stages/more.py").write_text("VALUE = 1\n")
    return plan(0.6)


def plan(gt_prob: float) -> dict[str, Any]:
    params, inputs = read_yaml(Path("params.yaml")), inputs_in(Path())
    params["evaluate"]["method"]["gt_prob"] = gt_prob
    return {"name": name_of(params, inputs), "params": params, "inputs": inputs}


def run(planned: dict[str, Any]) -> dict[str, float]:
    """As the process that runs variants does: what is planned comes to it as JSON."""
    with open_repo() as repo:
        return run_variant(repo, **json.loads(json.dumps(planned)))


def tree() -> dict[str, bytes]:
    files = [path for path in Path().rglob("*") if path.is_file() and not {".git", ".dvc"} & set(path.parts)]
    return {str(path): path.read_bytes() for path in files if ".labelfactory" not in path.parts}


@pytest.mark.slow
def test_a_variant_has_all_the_parameters_that_were_planned(project):
    """Also those that nobody sweeps, whatever is typed meanwhile; comments stay, and so does the folder."""
    other = plan(0.8)
    for text in (PARAMS.replace("5", "1"), "evaluate:\n  epochs: 1\n  new: {a: 1}\n", PARAMS):
        Path("params.yaml").write_text(text)
        before = tree()
        planned = project if text != PARAMS else other
        gt_prob = planned["params"]["evaluate"]["method"]["gt_prob"]
        scores = {"epochs": 5, "gt_prob": gt_prob, "more": 1, "bytes": 10, "bytes of the true mask": 5}
        assert run(planned) == scores
        assert tree() == before
        revision = next(line.split()[0] for line in git("show-ref").splitlines() if line.endswith(planned["name"]))
        kept = git("show", f"{revision}:params.yaml")
        assert yaml.safe_load(kept) == planned["params"]
        assert ("# what is tuned" in kept, "# each an hour" in kept) == (True, True)
        assert not list(Path(".dvc/tmp/exps/standalone").glob("tmp*"))


CHANGES = {
    "import": lambda: imported("b"),
    "import with another map": lambda: MAP.write_bytes(b"two"),
    "corrections": lambda: (CORRECTIONS / TABLE).write_bytes(b"one"),
    "code": lambda: Path("stages/more.py").write_text("VALUE = 2\n"),
    "dvc.yaml": lambda: Path("dvc.yaml").write_text(yaml.safe_dump({"stages": LINE}) + "\n# changed\n"),
}


@pytest.mark.slow
def test_what_changed_since_the_plan_makes_a_variant_fail(project, monkeypatch):
    """By name, before its first stage runs, and as late as while its folder is filled; the rest of the sweep can go on."""
    copy = experiments._copy
    for late in (False, True):
        for name, change in CHANGES.items():
            before = {
                path: path.read_bytes()
                for path in (MANIFEST, MAP, CORRECTIONS / TABLE, Path("stages/more.py"), Path("dvc.yaml"))
            }

            def copied(path: Path, to: Path, change: Any = change) -> None:
                change()
                copy(path, to)

            with monkeypatch.context() as meanwhile:
                if late:
                    meanwhile.setattr(experiments, "_copy", copied)
                else:
                    change()
                if late and name == "dvc.yaml":  # as git has it: it came with the rest
                    continue
                with pytest.raises(
                    UserError, match=f"^changed since the sweep was planned: {name.split()[0]}\n"
                ) as caught:
                    run(project)
            assert "same sweep again" in caught.value.remedy
            assert project["name"] not in git("show-ref")
            assert not list(Path(".dvc/tmp/exps/standalone").glob("tmp*"))
            for path, data in before.items():
                path.write_bytes(data)
    assert run(project)["epochs"] == 5


MADE = {"train": {"cmd": "true", "outs": ["data/segmenter"]}, "later": {"cmd": "true", "outs": ["data/later"]}}


def locked(**digests: str) -> None:
    """A line of more stages, which have made these outputs; `evaluate` reads the segmenter."""
    evaluate = {**LINE["evaluate"], "deps": [*LINE["evaluate"]["deps"], "data/segmenter"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {**MADE, "evaluate": evaluate}}))
    outs = {
        name: [{"path": MADE[name]["outs"][0], "hash": "md5", "md5": digest * 32}] for name, digest in digests.items()
    }
    stages = {name: {"cmd": "true", "outs": out} for name, out in outs.items()}
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


@pytest.mark.slow
def test_outputs_that_do_not_run_but_are_scored_are_inputs(project):
    """With another network in the workspace, an experiment that stops before it has another name, and one that was planned
    fails; where all stages run, their outputs follow from the rest."""
    locked(train="1", later="1")
    planned = {**project, "inputs": inputs_in(Path(), ["evaluate"]), "stages": ["evaluate"]}
    every, both = inputs_in(Path()), inputs_in(Path(), ["train", "evaluate"])
    locked(train="1", later="2")
    assert inputs_in(Path(), ["evaluate"]) == planned["inputs"]
    locked(train="2", later="1")
    assert name_of({}, inputs_in(Path(), ["evaluate"])) != name_of({}, planned["inputs"])
    assert inputs_in(Path(), ["train", "evaluate"]) == both
    assert inputs_in(Path()) == every
    with pytest.raises(
        UserError, match=r"^changed since the sweep was planned: outputs of the stages that do not run\n"
    ):
        run(planned)
    assert project["name"] not in git("show-ref")


@pytest.mark.slow
def test_what_a_killed_sweep_has_queued_does_not_run(project):
    """Its import may have been another one; it would get today's."""
    with open_repo() as repo:
        repo.experiments.queue_one(repo.experiments.tempdir_queue, name="sweep-000000000000")
    assert run(project)["epochs"] == 5
    assert "sweep-000000000000" not in git("show-ref")
    with open_repo() as repo:
        assert not list(repo.experiments.tempdir_queue.iter_queued())


@pytest.mark.slow
def test_an_experiment_of_other_parameters_under_the_name_is_refused(project):
    """As an earlier version made them."""
    run({**project, "params": {"evaluate": {**project["params"]["evaluate"], "epochs": 1}}})
    with pytest.raises(UserError, match="other parameters than its name stands for") as caught:
        run(project)
    git(
        "update-ref",
        "-d",
        next(line.split()[1] for line in git("show-ref").splitlines() if line.endswith(project["name"])),
    )
    assert f"dvc exp remove {project['name']}" in caught.value.remedy
    assert run(project)["epochs"] == 5


values = st.recursive(
    st.one_of(
        st.integers(-(2**31), 2**31),
        st.booleans(),
        st.none(),
        st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
        st.text("ab1e-: '", max_size=5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from(["x", "y", "z"]), values, min_size=1, max_size=3)


@settings(deadline=None, max_examples=60)
@given(old=mappings, new=mappings)
def test_any_params_become_any_others(tmp_path_factory, old, new):
    """Exactly, types included, as the stages read them."""
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(yaml.safe_dump(old))
    with modify_yaml(path) as found:
        become(found, new)
    assert json.dumps(yaml.safe_load(path.read_text()), sort_keys=True) == json.dumps(new, sort_keys=True)


def test_photographs_in_the_project_are_taken_along():
    """Their folders, once each; those elsewhere stay where they are, and the import is there already."""
    paths = ["data/raw/demo/a.png", "data/raw/b.png", "data/import/c.png", "/far/c.png", "../d.png", "e.png"]
    assert photograph_folders(paths) == [Path("data/raw"), Path("e.png")]
