"""The command line: complete help, errors in two parts, and every command that the README shows."""

import importlib.metadata
import re
import socket
import subprocess
import sys

import pytest
import typer
import yaml
from commands import COMMANDS, EVERYTHING
from typer.testing import CliRunner
from voc_folders import two_parts, voc_folder
from workspace import BIN, ROOT, call

from app import main as app_main
from app import status as app_status
from flows.line.cost import Cost
from flows.line.stage_states import StageState
from labelfactory.settings.thresholds import read_thresholds
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import run_guarded

# --- help -------------------------------------------------------------------------------------------------------------


def test_there_is_a_command_for_everything_and_nothing_more():
    """The commands are those that the documents name."""
    root = typer.main.get_command(EVERYTHING)
    names = {
        f"{name} {sub}".strip()
        for name, command in root.commands.items()
        for sub in (command.commands if hasattr(command, "commands") else [""])
    }
    assert names == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_is_complete(name):
    """A sentence on the command, and a text beside each of its options and arguments."""
    command = typer.main.get_command(EVERYTHING)
    for word in name.split():
        command = command.commands[word]
    assert command.help
    assert [p.name for p in command.params if not getattr(p, "help", None)] == []
    shown = CliRunner().invoke(EVERYTHING, [*name.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.output)
    assert all(option in plain for p in command.params for option in p.opts if option.startswith("--"))


def test_the_installed_command_answers():
    """The script that pip installs starts the same program; no command at all shows the help."""
    done = subprocess.run([BIN / "labelfactory", "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "doctor" in done.stdout


def test_it_says_its_version(monkeypatch, capsys):
    """That of the installed package, and nothing else."""
    monkeypatch.setattr(sys, "argv", ["labelfactory", "--version"])
    with pytest.raises(SystemExit) as left:
        app_main.main()
    assert left.value.code == 0
    assert capsys.readouterr().out == f"labelfactory {importlib.metadata.version('labelfactory')}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (("--help",), ("torch", "dvc", "mlflow", "prefect")),
        (("status", "--help"), ("mlflow", "prefect")),
        (("import", "demo", "--help"), ("torch", "mlflow", "prefect")),
        (("profile", "--help"), ("torch", "mlflow", "prefect")),
        (("record", "--help"), ("torch", "mlflow", "prefect")),
    ],
)
def test_no_command_loads_what_it_does_not_need(words, heavy):
    """Loading these takes seconds; the list of commands has no use for any of them."""
    program = f"""
import sys, app.main
sys.argv = ["labelfactory", *{words}]
try:
    app.main.main()
except SystemExit:
    sys.exit(", ".join(name for name in {heavy} if name in sys.modules) or None)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=120, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: labelfactory" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("module", ["stages.refine_crf", "stages.evaluate", "flows.label_factory"])
def test_who_does_not_train_or_draw_does_not_load_what_does(module):
    """Fabric brings torch's compiler along: seconds for each process of a stage, and for each flow that looks a stage up."""
    program = f"import sys, {module}; sys.exit(bool({{'lightning_fabric', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=120, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_status_of_what_is_up_to_date_does_not_load_networks():
    """A run costs nothing then; torch takes longer to load than all else takes together."""
    program = """
import sys
from app.status import _costs
from flows.line.planned import StageState
costs = _costs([StageState(name, "up to date", ()) for name in ("prepare", "evaluate")], retrain=True)
sys.exit("torch" in sys.modules or any(cost.runs for cost in costs.values()) or [*costs] != ["prepare", "evaluate"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=120, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_read_enough_is_no_bug():
    """`labelfactory profile | head -1`: exit code 1 is kept for bugs."""
    words = [sys.executable, "-u", "-c", "from app.main import main; main()", "profile"]
    running = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout
    running.stdout.close()
    _, said = running.communicate(timeout=120)
    assert (running.returncode, said) == (0, "")


@pytest.mark.parametrize("value", ["1e400", "inf"])
def test_no_limit_of_the_store_is_infinite(here, labelfactory, value):
    """Played: `labelfactory gc --keep 1e400`, which no number of bytes is."""
    assert "is not a number of GB" in labelfactory("gc", "--keep", value, code=2)


def test_what_is_no_host_is_no_traceback(here, labelfactory):
    """Played: 300 letters, of which Python's codec for host names says that a part is too long."""
    assert "it is not the name of a host" in labelfactory("serve", "--host", "a" * 300, code=2)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_streams_that_were_closed_are_open_for_all_that_a_command_starts(closed, tmp_path):
    """Played: `labelfactory run >&-`. The next file that was opened, such as a lock, was the standard output of stages."""
    program = (
        "import sys, os; sys.argv[0] = 'labelfactory'; import app, subprocess; print('said', flush=True);"
        "streams = [os.readlink(f'/proc/self/fd/{n}') for n in range(3)];"
        "names = [stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)];"
        "below = 'import sys; sys.exit(None in (sys.stdin, sys.stdout, sys.stderr))';"
        "code = subprocess.run([sys.executable, '-c', below]).returncode;"
        "open(sys.argv[1], 'w').write(repr((streams.count('/dev/null'), code)))"
    )
    told = tmp_path / "told"
    words = ["bash", "-c", f'exec "$@" {closed}', "bash", sys.executable, "-c", program, str(told)]
    with (tmp_path / "file").open("w+") as file:
        done = subprocess.run(words, cwd=ROOT, stdin=file, stdout=file, stderr=file, timeout=60)
    assert done.returncode == 0
    assert told.read_text() == repr((closed.count("&-"), 0))


def test_the_list_of_commands_says_what_each_says_of_itself():
    """It is written apart from the commands, so that reading it loads none of them."""
    for name, command in typer.main.get_command(EVERYTHING).commands.items():
        assert " ".join(command.help.split("\n\n")[0].split()) == app_main.COMMANDS[name].does


@pytest.mark.parametrize("words", [("deploy",), ("run", "--on", "cpu")])
def test_a_server_that_is_down_is_said_at_once(here, labelfactory, monkeypatch, words):
    """None known here, and none that answers at the address that is set."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    problem, remedy = two_parts(labelfactory(*words, code=2))
    assert "no Prefect server is known here" in problem
    assert "labelfactory up" in remedy
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    problem, remedy = two_parts(labelfactory(*words, code=2))
    assert "http://127.0.0.1:9/api: no Prefect server answers" in problem
    assert "PREFECT_API_URL" in remedy


def test_up_refuses_a_pool_that_is_none_and_a_port_that_is_taken(here, labelfactory):
    """Before anything is started."""
    problem, remedy = two_parts(labelfactory("up", "--pool", "gpus", code=2))
    assert "'gpus' is not a pool; did you mean `gpu`?" in problem
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        problem, remedy = two_parts(labelfactory("up", "--port", port, code=2))
    assert f"127.0.0.1:{port} cannot be used" in problem
    assert "--port" in remedy
    assert "`labelfactory up` started nothing here" in labelfactory("down")


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "line", "said"),
    [
        ("random_walk", "betta: 1", "random_walk.betta: unknown key; did you mean `beta`?"),
        ("random_walk", "{method: chebyshev, steps: 0}", "random_walk.method.steps: 0 is below the minimum 1"),
        ("extract_cams", "method: cams", "extract_cams.method: 'cams' is unknown; did you mean `cam`?"),
        ("train_segmenter", "net: unet", "train_segmenter.net: 'unet' is unknown; known: deeplab_v2, deeplab_v3"),
        ("train_classifier", "crop: many", "train_classifier.crop: 'many': input should be a valid integer"),
        ("random_wolk", "beta: 1", "random_wolk: unknown section; did you mean `random_walk`?"),
    ],
)
def test_a_wrong_parameter_stops_the_run_before_anything(here, labelfactory, section, line, said):
    """Misspelt, out of range, unknown method: which key, what is wrong, what is near; exit 2."""
    values = yaml.safe_load((here / "params.yaml").read_text())
    values.setdefault(section, {}).update(yaml.safe_load(line))
    (here / "params.yaml").write_text(yaml.safe_dump(values))
    problem, remedy = two_parts(labelfactory("run", code=2))
    assert said in problem
    assert remedy == "Mend params.yaml and run `dvc repro` again."
    assert not (here / "data").exists()


def test_every_problem_is_listed_at_once(here, labelfactory):
    """Three mistakes, one run."""
    wrong = ["--set=random_walk.beta=-1", "--set=evaluate.gallery=99", "--set=prepare.lists=x"]
    problem, _ = two_parts(labelfactory("profile", *wrong, code=2))
    assert "3 problems" in problem
    for key in ("random_walk.beta: -1", "evaluate.gallery: 99", "prepare.lists: unknown key"):
        assert key in problem
    assert (here / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_an_unknown_profile_names_the_near_one(here, labelfactory):
    """`dem` is no profile, `demo` is."""
    problem, remedy = two_parts(labelfactory("profile", "dem", code=2))
    assert "did you mean `demo`?" in problem
    assert remedy == "Type `labelfactory profile` to list them."


@pytest.mark.parametrize("setting", ["beta=3", "random_walk.beta", "=", "random_walk.beta=[1"])
def test_a_setting_that_cannot_be_read_is_refused(here, labelfactory, setting):
    """--set wants section.key=value, value in YAML."""
    problem, remedy = two_parts(labelfactory("profile", "--set", setting, code=2))
    assert setting in problem
    assert "--set random_walk.beta=10" in remedy


def test_an_unknown_target_names_the_near_stage(here, labelfactory):
    """`run refine_crff` says what is near, before DVC is asked."""
    problem, remedy = two_parts(labelfactory("run", "refine_crff", code=2))
    assert "'refine_crff' is not a stage; did you mean `refine_crf`?" in problem
    assert remedy == "Type `labelfactory status` to list them."


def test_a_run_without_an_import_says_what_to_import(here, labelfactory):
    """The first thing that a newcomer forgets."""
    problem, remedy = two_parts(labelfactory("run", code=2))
    assert "nothing was imported yet" in problem
    assert "labelfactory import demo" in remedy


def test_thresholds_that_contradict_each_other_are_refused(here, labelfactory, capsys):
    """Given numbers are taken, `auto` lies around the background, the lower one at most at the cap; a wrong order is refused."""
    (here / "data/seed_thresholds").mkdir(parents=True)
    (here / "data/seed_thresholds/evidence.csv").write_text("of an earlier run")
    labelfactory("profile", "--set", "calibrate_seeds.background=0.4", "--set", "calibrate_seeds.foreground_margin=0.1")
    assert run_guarded("calibrate_seeds") == 0
    found = read_thresholds(here / "data/seed_thresholds")
    assert {name: (t.value, t.source) for name, t in found.items()} == {
        "background": (0.4, "params"),
        "affinity_foreground": (0.5, "auto"),
        "affinity_background": (0.2, "auto"),
    }
    labelfactory(
        "profile", "--set", "calibrate_seeds.background_most=0.5", "--set", "calibrate_seeds.background_margin=0.1"
    )
    assert run_guarded("calibrate_seeds") == 0
    assert read_thresholds(here / "data/seed_thresholds")["affinity_background"].value == 0.3
    assert not (here / "data/seed_thresholds/evidence.csv").exists()
    labelfactory("profile", "--set", "calibrate_seeds.affinity_background=0.6")
    capsys.readouterr()
    assert run_guarded("calibrate_seeds") == 2
    problem, remedy = two_parts(capsys.readouterr().err)
    assert "affinity_background is 0.6, above affinity_foreground, which is 0.5" in problem
    assert remedy == "Set both in params.yaml, or leave both at auto."


def test_a_misspelt_command_is_no_traceback(here, labelfactory):
    """The parser's own error has exit code 2 too."""
    assert "No such command" in labelfactory("stauts", code=2)


def test_a_report_that_does_not_exist_yet_names_the_command(here, labelfactory):
    """`report` before `run`."""
    problem, remedy = two_parts(labelfactory("report", code=2))
    assert "there is no report yet" in problem
    assert remedy == "Type `labelfactory run`."


def test_a_missing_checkpoint_names_the_stage_to_run(here, labelfactory, capsys):
    """A stage that is run alone, before the classifier is there."""
    labelfactory("import", "demo", "--count", "12")
    assert run_guarded("prepare") == 0
    capsys.readouterr()
    assert run_guarded("extract_cams") == 2
    problem, remedy = two_parts(capsys.readouterr().err)
    assert "data/classifier/checkpoint.safetensors: no such checkpoint" in problem
    assert "dvc repro" in remedy


def test_a_class_without_a_tagged_image_is_refused(here, labelfactory, capsys):
    """At the import where no list has one; in `prepare` where the training list has none."""
    folder = voc_folder(here / "photos")
    problem, _ = two_parts(labelfactory("import", "voc", str(folder), "--classes", "cat,dog,sheep", code=2))
    assert "no photograph is tagged 'sheep'" in problem
    (folder / "tags.csv").write_text("a,cat\nb,cat\nc,dog\n")
    labelfactory("import", "voc", str(folder), "--classes", "cat,dog")
    assert run_guarded("prepare") == 2
    problem, remedy = two_parts(capsys.readouterr().err)
    assert "no usable image on the list 'train' is tagged dog" in problem
    assert "--classes" in remedy


def test_a_tag_that_is_no_class_is_refused_with_its_row(here, labelfactory):
    """File, row and what is near."""
    folder = voc_folder(here / "photos", "a,cat\nb,dgo\nc,cat|dog\n")
    problem, _ = two_parts(labelfactory("import", "voc", str(folder), code=2))
    assert "tags.csv, row 2" in problem or "tags.csv:2" in problem
    assert "'dgo' is not a class; did you mean `dog`?" in problem


def test_an_empty_list_is_refused(here, labelfactory, capsys):
    """At the import a list without a row; in `prepare` a list that no image stands on, with the lists that exist."""
    folder = voc_folder(here / "photos")
    (folder / "ImageSets/empty.txt").write_text("\n")
    problem, _ = two_parts(labelfactory("import", "voc", str(folder), "--classes", "cat,dog", code=2))
    assert "the list is empty" in problem
    (folder / "ImageSets/empty.txt").unlink()
    labelfactory("import", "voc", str(folder), "--classes", "cat,dog")
    labelfactory("profile", "--set", "prepare.val_list=vla")
    assert run_guarded("prepare") == 2
    problem, remedy = two_parts(capsys.readouterr().err)
    assert "the list 'vla' has no usable image" in problem
    assert "train (2), val (1)" in remedy


# --- profile ----------------------------------------------------------------------------------------------------------


def test_a_profile_keeps_comments_and_says_what_it_changes(here, labelfactory):
    """Each change as `was → is`; comments and untouched values stay; the same again changes nothing."""
    labelfactory("profile", "voc-animals-cpu", "--seed", "0")
    text = (here / "params.yaml").read_text()
    output = labelfactory("profile", "--set", "random_walk.beta=9.5", "--seed", "3")
    assert re.search(r"random_walk\.beta: [\d.]+ → 9\.5", output)
    assert "train_segmenter.seed: 0 → 3" in output
    changed = (here / "params.yaml").read_text()
    values = yaml.safe_load(changed)
    assert values["random_walk"]["beta"] == 9.5
    assert {name: s["seed"] for name, s in values.items() if "seed" in s} == dict.fromkeys(
        ("train_classifier", "train_affinity", "train_segmenter"), 3
    )
    assert re.findall(r"#.*", changed) == re.findall(r"#.*", text)
    different = [pair for pair in zip(text.splitlines(), changed.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(different) == 4
    assert "has these values already" in labelfactory("profile", "--set", "random_walk.beta=9.5")
    assert "random_walk.nonsense: unknown key" in labelfactory("profile", "--set", "random_walk.nonsense=", code=2)


def test_one_profile_after_another_leaves_nothing_of_the_first(here, labelfactory):
    """The order in which profiles were tried does not matter."""
    labelfactory("profile", "demo")
    demo = yaml.safe_load((here / "params.yaml").read_text())
    for name in ("voc-animals-cpu", "voc12-resnet50", "demo"):
        labelfactory("profile", name)
    assert yaml.safe_load((here / "params.yaml").read_text()) == demo


def test_profiles_are_listed_with_what_they_are_for(here, labelfactory):
    """`labelfactory profile` alone."""
    output = labelfactory("profile")
    for path in (ROOT / "profiles").glob("*.yaml"):
        assert f"{path.stem}  {path.read_text().splitlines()[0].lstrip('# ')}" in output


# --- status, doctor ---------------------------------------------------------------------------------------------------


def test_status_of_a_fresh_project_says_never_run(template):
    """Every stage, and the command that comes next."""
    output = call(template, "labelfactory", "status")
    assert output.count("never run") == len(read_wiring())
    assert "`labelfactory run`" in output


def test_status_does_not_call_up_to_date_what_a_run_will_come_to(monkeypatch, capsys):
    """A stage below a stale one follows it; one that has nothing to do is up to date."""
    states = [
        StageState("refine_crf", "stale", ()),
        *(StageState(n, "up to date", ()) for n in ("evaluate", "prepare")),
    ]
    costs = [Cost("refine_crf", True, 5), Cost("evaluate", True), Cost("prepare", False)]
    monkeypatch.setattr("flows.line.stage_states.line_status", lambda: states)
    monkeypatch.setattr("flows.line.cost.costs", lambda states, retrain: costs)
    monkeypatch.setattr(app_status, "last_runs", dict)
    app_status.status()
    shown = capsys.readouterr().out
    assert re.findall(r"(refine_crf|evaluate|prepare) +│ (.+?) +│", shown) == [
        ("refine_crf", "stale"),
        ("evaluate", "follows"),
        ("prepare", "up to date"),
    ]


def test_doctor_says_what_to_type(here, labelfactory, monkeypatch):
    """Without an import it ends in 2 and names the command; with one all is well."""
    output = labelfactory("doctor", code=2)
    assert "nothing is imported yet" in output
    assert "labelfactory import demo" in output
    labelfactory("import", "demo", "--count", "10")
    output = labelfactory("doctor")
    assert "BAD" not in output
    for word in ("Python", "torch", "DVC", "git", "GiB free", "params.yaml", "computes on cpu; precision auto is "):
        assert word in output
    monkeypatch.setenv("LABELFACTORY_DEVICE", "tpu2")
    assert "BAD  LABELFACTORY_DEVICE='tpu2' is not a device" in labelfactory("doctor", code=2)


def test_strict_refuses_a_tree_that_no_commit_holds(here, labelfactory):
    """Before anything else is looked at; once it is committed, the run goes on to the next question."""
    (here / "params.yaml").write_text((here / "params.yaml").read_text() + "# mine\n")
    shown = labelfactory("run", "--strict", code=2)
    assert "the git tree is not clean: dirty: 1 file differs from the commit: params.yaml" in shown
    subprocess.run(["git", "checkout", "-q", "params.yaml"], cwd=here, check=True)
    assert "git tree" not in labelfactory("run", "--strict", code=2)  # there is no import yet


# --- export -----------------------------------------------------------------------------------------------------------


def test_an_unknown_format_names_the_near_one(here, labelfactory):
    """`export coc` says what is near."""
    problem, remedy = two_parts(labelfactory("export", "coc", "--out", "out", code=2))
    assert "'coc' is not a format; did you mean `coco`?" in problem
    assert "label_studio" in remedy
