"""Every command that README.md and docs/commands.md show: it exists, it parses, and it runs."""

import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
import typer
from commands import COMMANDS, EVERYTHING
from workspace import ROOT, call

from labelfactory.dataset.images import decode_mask, encode_mask

README, COMMANDS_PAGE, LINEAGE_PAGE = (
    (ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/commands.md", "docs/lineage.md")
)


def commands_in(text: str) -> set[str]:
    """Every `labelfactory …` and `make …` of a page, in a block or in a line."""
    blocks = re.findall(r"```(?:bash|console)?\n(.*?)```", text, re.DOTALL)
    lines = [line.split("#")[0].strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`((?:labelfactory|make) [^`]*)`", text)
    return {line for line in lines if line.startswith(("labelfactory ", "make "))}


def shown_commands() -> list[str]:
    """The commands of README.md and docs/commands.md together."""
    return sorted(commands_in(README) | commands_in(COMMANDS_PAGE))


def rows_of(text: str) -> list[str]:
    """The first cell of each row of a page's tables of commands."""
    return re.findall(r"^\| `(labelfactory [^`]*)` \|", text, re.MULTILINE)


def plain(command: str) -> list[str]:
    """The words of a command, optional parts in [brackets] included."""
    return shlex.split(re.sub(r"[\[\]]", "", command))


def test_the_page_of_commands_lists_every_command():
    """Once each; `run` has a second row for runs on a worker."""
    rows = [" ".join(plain(row)) + " " for row in rows_of(COMMANDS_PAGE)]
    for name in COMMANDS:
        word = "export coco" if name == "export" else name
        assert len([row for row in rows if row.startswith(f"labelfactory {word} ")]) == 1 + (name == "run"), name
    assert len(rows) == len(COMMANDS) + 1


def test_the_readme_has_eleven_commands_and_a_link_to_all():
    """Each spelled as in docs/commands.md."""
    assert len(rows_of(README)) == 11
    assert set(rows_of(README)) <= set(rows_of(COMMANDS_PAGE))
    assert "](docs/commands.md)" in README
    assert {"make demo", "make test", "make check"} <= commands_in(README)


@pytest.mark.parametrize("command", [c for c in shown_commands() if c.startswith("make ")])
def test_make_targets_exist(command):
    """make itself plans the target without running it."""
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in shown_commands() if c.startswith("labelfactory ")])
def test_commands_parse(command):
    """The parser accepts each of them, optional parts in [brackets] included."""
    words = plain(command)[1:]
    group = typer.main.get_command(EVERYTHING)
    while hasattr(group, "commands"):
        if not words:
            return
        assert words[0] in group.commands, command
        group = group.commands[words.pop(0)]
    if "--help" not in words:
        group.make_context(command, words).close()


HERE = {
    "labelfactory doctor": "doctor",
    "labelfactory status": "status",
    "labelfactory report": "report",
    "labelfactory quality [--json]": "quality --json",
    "labelfactory record": "record",
    "labelfactory run": "run",
    "labelfactory run --help": "run --help",
    "labelfactory run [refine_crf] [--no-retrain] [--force]": "run refine_crf --no-retrain --force",
    "labelfactory audit": "audit --help",
    "labelfactory audit model latest": "audit model latest",
    "labelfactory audit mask IMAGE_ID [--version 2]": "audit mask {image} --version 1",
    "labelfactory audit pixel IMAGE_ID 120 80": "audit pixel {image} 120 80",
    "labelfactory audit verify [--deep]": "audit verify --deep",
    "labelfactory promote [latest]": "promote latest",
    "labelfactory export-lineage [DIR]": "export-lineage lineage_page",
    "labelfactory export coco --out coco": "export coco --out coco",
    "labelfactory export coco --out DIR [--split train] [--what predictions] [--min-quality 0.8] [--min-area 20]": (
        "export coco --out predicted --split train --what predictions --min-quality 0.1"
    ),
    "labelfactory predict IMAGE --out DIR": "predict {photograph} --out predictions",
    "labelfactory corrections add PATH [--nearest] [--audit] [--dry-run]": "corrections add drawn",
    "labelfactory corrections list": "corrections list",
    "labelfactory corrections remove IMAGE_ID": "corrections remove {image}",
    "labelfactory quarantine list": "quarantine list",
    "labelfactory gc [--keep 5] [--dry-run]": "gc --keep 5 --dry-run",
    "labelfactory parameters [extract_cams]": "parameters extract_cams",
    "labelfactory withdraw IMAGE_ID [--dry-run]": "withdraw {image} --dry-run",
    "labelfactory profile [demo] [--set random_walk.beta=10] [--seed 1]": "profile demo --set random_walk.beta=10 --seed 1",
    "labelfactory profile photographs-cpu": "profile photographs-cpu",
    "labelfactory profile voc-animals-cpu": "profile voc-animals-cpu",
    "labelfactory import table photos/tags.csv": "import table photos/tags.csv --replace",
    "labelfactory import table FILE [--tags-column TAGS] [--tag-columns cat,dog] [--rename old=new]": (
        "import table photos/tags.csv --tags-column tags --rename fox=red_fox --replace"
    ),
    "labelfactory import folder DIR [--class-depth 2] [--val-fraction 0.2] [--append] [--dry-run]": (
        "import folder sorted --class-depth 1 --val-fraction 0.2 --dry-run"
    ),
    "labelfactory import hf DIR [--tag-columns A,B] [--check-masks]": "import hf hf --check-masks --replace",
    "labelfactory import voc DIR --classes cat,cow,dog,horse,person,sheep": "import voc voc --classes fox,owl --replace",
    "labelfactory import voc DIR [--classes A,B] [--tags FILE] [--lists A,B] [--append]": "import voc voc --lists train --replace",
    "labelfactory import demo [--count 200] [--seed 0] [--classes fox,owl] [--append] [--replace]": (
        "import demo --count 12 --seed 0 --classes fox,owl --replace"
    ),
}
"""Command on a page → what the test types for it, in order, in a project whose line has run."""
ELSEWHERE = {
    "labelfactory up": "test_pools.py",
    "labelfactory up [--pool gpu] [--port 4200]": "test_pools.py",
    "labelfactory down": "test_orchestration.py",
    'labelfactory deploy [--cron "0 3 * * *"] [--pool gpu]': "test_orchestration.py",
    'labelfactory deploy --cron "0 3 * * *"': "test_orchestration.py",
    "labelfactory run --on cpu [--runner dask] [--strict]": "test_orchestration.py",
    "labelfactory serve": "test_serve.py",
    "labelfactory serve [--port 8600]": "test_serve.py",
    "labelfactory sweep random_walk.beta=4,8 [--until refine_crf]": "test_sweep.py",
    "labelfactory tournament cams": "test_tournament.py",
    "labelfactory tournament objectives [--until masks] [--seeds 2] [--budget 2h] [--dry-run]": "test_tournament.py",
    "labelfactory package [--out segmenter.onnx]": "test_package.py",
    "labelfactory pull [--give-up]": "test_storage.py",
    "labelfactory push [--give-up]": "test_storage.py",
    "labelfactory quarantine release IMAGE_ID": "test_quarantine.py",
    "labelfactory quarantine retry --stage all [--no-retrain]": "test_quarantine.py",
    "labelfactory new ../birds": "test_new.py",
    "labelfactory review sample [--count 50] [--points 30] [--more 20] [--out DIR]": "test_review.py",
    "labelfactory review list": "test_review.py",
    "labelfactory review points FILE.csv": "test_review.py",
    "labelfactory review estimate [--json]": "test_review.py",
    "labelfactory compare 2 3": "test_compare.py",
    "labelfactory audit diff 2 3 [--pictures DIR]": "test_audit.py",
    "labelfactory import coco INSTANCES.json --images DIR [--list train]": "test_import_commands.py",
}
"""Commands that need a server, a remote, two models or much time → the file of tests that types them."""


def test_every_command_is_typed_by_a_test():
    """Here, or in the named file, which contains the command's words."""
    assert sorted([*HERE, *ELSEWHERE]) == [c for c in shown_commands() if c.startswith("labelfactory ")]
    for command, file in ELSEWHERE.items():
        group, *words = plain(command)[1:]
        word = words[0] if group in ("audit", "import", "quarantine") else group
        assert re.search(rf'["\']{word}["\'" ]', next((ROOT / "tests").rglob(file)).read_text(encoding="utf-8")), (
            command,
            file,
        )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_runs(finished):
    """In one project, after its line has run; and the two lines of Python in docs/lineage.md."""
    folder = finished
    photographs = sorted((folder / "data/raw/demo/images").iterdir())
    image, photograph = photographs[0].stem, f"data/raw/demo/images/{photographs[0].name}"
    for kind in ("voc", "hf"):
        call(folder, "labelfactory", "export", kind, "--out", kind)
    (folder / "drawn").mkdir()
    mask = decode_mask((folder / f"voc/SegmentationClass/{image}.png").read_bytes())
    (folder / f"drawn/{image}.png").write_bytes(encode_mask(np.where(mask == 0, np.uint8(1), mask)))
    for name in ("photos", "sorted/fox"):
        (folder / name).mkdir(parents=True)
        shutil.copy(folder / photograph, folder / name / "a.png")
    (folder / "photos/tags.csv").write_text("file,tags\na.png,fox\n")
    programs = re.findall(r"python -c \"(.*)\"", LINEAGE_PAGE)
    assert len(programs) == 2
    for program in programs:
        assert call(folder, "python", "-c", program).strip().startswith("{")
    for command, typed in HERE.items():
        words = shlex.split(typed.format(image=image, photograph=photograph))
        assert "Traceback" not in call(folder, "labelfactory", *words), command
    assert "miou/train/masks" in call(folder, "dvc", "metrics", "diff")
