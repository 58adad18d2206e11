"""What the documents say is so: examples, messages, commands, parameters, columns, links and the drawing of the line."""

import ast
import doctest
import importlib
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml

from app._effects import EFFECTS
from app.main import COMMANDS, command_line
from app.parameters import page as parameters_page
from labelfactory.settings.params import read_yaml
from labelfactory.settings.registry import Family
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import stage_class
from models.backbones import build_backbone
from models.classifier import Classifier

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("labelfactory", "models", "reporting", "sources", "exports", "stages", "lineage", "flows", "app")
PAGES = {
    path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
PARAMS = read_yaml(ROOT / "params.yaml")
BLANK = "…"
EVERYTHING = command_line(*COMMANDS)


# --- the FAQ ----------------------------------------------------------------------------------------------------------


@cache
def literals() -> str:
    """Every text in the code, a row each; what is filled in is `…`."""
    found = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else BLANK for p in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n\0\n".join(found)


def is_in_the_code(message: str) -> bool:
    """Whether one text holds the message's pieces in order, with something filled in wherever it has `…`."""
    pieces = [re.escape(piece.strip()) for piece in message.split(BLANK) if piece.strip()]
    return re.search(r"[^\0]*?".join(pieces), literals()) is not None


MESSAGES = re.findall(r"^### `(.+)`$", PAGES["faq.md"], re.MULTILINE)


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_of_the_faq_is_one_of_ours(message):
    """A message that was reworded takes its answer along."""
    assert is_in_the_code(message)


def test_the_faq_is_no_empty_list_and_the_search_can_fail():
    """A message that nobody prints is not found; each stands there once."""
    assert len(MESSAGES) == len(set(MESSAGES)) > 20
    assert all(len(message.replace(BLANK, "").strip()) >= 10 for message in MESSAGES)
    assert not is_in_the_code("the … is out of cheese")
    assert not is_in_the_code("to append to … there is nothing")


# --- examples in docstrings -------------------------------------------------------------------------------------------


def with_examples() -> list[str]:
    """Modules whose docstrings show what one types and what Python answers."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    examples = [path for path in files if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in examples]


@pytest.mark.parametrize("name", with_examples())
def test_examples_in_docstrings_give_what_stands_under_them(name):
    """Python's own doctest; a module that holds none would be an error of ours."""
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


# --- a method in one file ---------------------------------------------------------------------------------------------


def test_the_cam_method_of_the_readme_is_one():
    """As it stands there: a map for each class, at least 0, and a mirrored photograph gives the mirrored map."""
    code = re.findall(r"```python\n(.*?)```", PAGES["README.md"], re.DOTALL)
    (method,) = [text for text in code if "def activation_maps" in text]
    module: dict[str, Any] = {}
    exec(compile(method, "models/cams/mine.py", "exec"), module)
    torch.manual_seed(0)
    net = Classifier(build_backbone("tiny", output_stride=16, state=None, pretrained=False), 3).eval()
    torch.nn.init.normal_(net.classifier.weight, std=0.3)
    features, classes = torch.randn(2, 96, 5, 6).relu(), torch.tensor([0, 2])
    maps = module["activation_maps"](net, features, classes)
    assert maps.shape == (2, 2, 5, 6)
    assert float(maps.min()) >= 0
    assert float(maps.max()) > 0
    torch.testing.assert_close(module["activation_maps"](net, features.flip(3), classes).flip(3), maps)


# --- commands, parameters, links --------------------------------------------------------------------------------------


def shown() -> list[tuple[str, str]]:
    """Page and each `labelfactory …` that it shows, in a block or in a line."""
    found = set()
    for name, text in PAGES.items():
        blocks = re.findall(r"^ *```(?:bash|console)?\n(.*?)```", text, re.DOTALL | re.MULTILINE)
        lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]*labelfactory [^`]*)`", text)
        found |= {(name, match.group()) for line in lines if (match := re.search(r"labelfactory [a-z].*", line))}
    return sorted(found)


@pytest.mark.parametrize(("page", "line"), shown())
def test_commands_and_options_that_a_page_names_exist(page, line):
    """The command is there, and each option belongs to it."""
    words = re.sub(r"[\[\]'\"`]", " ", line).split()[1:]
    node = typer.main.get_command(EVERYTHING)
    while hasattr(node, "commands") and words and words[0] not in ("…", "--help"):
        names = words.pop(0).split("|")
        assert set(names) <= set(node.commands), line
        node = node.commands[names[0]]
    if hasattr(node, "commands"):
        return  # `labelfactory import …` means all of them
    known = {"--help"} | {
        option for parameter in node.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, line


def test_the_list_of_commands_is_not_empty():
    """Every page but the drawing ones shows some."""
    assert {"README.md", "faq.md", "data-formats.md", "lineage.md", "deployment.md"} <= {page for page, _ in shown()}


@pytest.mark.parametrize("page", PAGES)
def test_parameters_that_a_page_names_exist(page):
    """`section.key` of params.yaml, nested ones too."""
    names = re.findall(rf"(?<![\w./])((?:{'|'.join(PARAMS)})(?:\.[a-z_]+)+)\b(?!\()", PAGES[page])
    wrong = [n for n in names if not n.endswith((".py", ".json", ".parquet")) and not _is_parameter(n)]
    assert wrong == (["random_walk.betta"] if page == "README.md" else [])  # an error that the README shows


def _is_parameter(name: str) -> bool:
    """Whether params.yaml has the key, or the section takes it: a method's knob, or an older spelling that still works."""
    section, key, *knobs = name.split(".")
    model = stage_class(section).section
    if not knobs:
        return key in model.model_fields or key in model.moved
    families = [mark for mark in model.model_fields[key].metadata if isinstance(mark, Family)]
    models = [family.config(method) for family in families for method in family.names()]
    return any(knobs[0] in each.model_fields for each in models)


def test_the_page_of_parameters_is_the_output_of_its_command():
    """Meanings, ranges and defaults are those that the code checks; the values are those of params.yaml as it is committed, or
    as it is on the disk before a commit.
    """
    committed = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=ROOT, capture_output=True, text=True).stdout
    texts = (committed, (ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert PAGES["parameters.md"] in [parameters_page(yaml.safe_load(text)) for text in texts if text], (
        "Type `make docs`."
    )


def test_every_effect_is_of_a_parameter_and_the_stages_of_masks_have_all():
    """A knob that is renamed must take its effect along."""
    told = {}
    for title, part in re.findall(
        r"^##+ `([\w/]+)`\n(.*?)(?=^##|\Z)", PAGES["parameters.md"], re.MULTILINE | re.DOTALL
    ):
        method = ""
        for row in [line for line in part.splitlines()[2:] if line]:
            first, *cells = [cell.strip(" `") for cell in row.split("|")[1:-1]]
            method = first or method
            place = f"{title.removeprefix('models/')}/{method}.{cells[0]}" if "/" in title else f"{title}.{first}"
            told[place] = cells[-1]
    wildcards = {re.sub(r"/\w+\.", "/*.", place) for place in told}
    assert EFFECTS.keys() <= told.keys() | wildcards
    masks = ("calibrate_seeds.", "random_walk.", "calibrate_walks.", "refine_crf.")
    assert [place for place, text in told.items() if place.startswith(masks) and not text] == [
        "calibrate_seeds.precision",
        "random_walk.precision",
    ]


def test_every_parameter_and_every_knob_has_a_meaning():
    """No empty cell under *meaning*; a method's is the first line of its file."""
    rows = re.findall(r"^\| (`[\w.]+`|) \| (?:(`[\w.]+`|) \| )?([^|]*) \|", PAGES["parameters.md"], re.MULTILINE)
    assert len(rows) > 100
    assert [row for row in rows if not row[2].strip()] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """Files that are named in (…) exist, from the page's own folder."""
    home = ROOT if page == "README.md" else ROOT / "docs"
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]) if "://" not in link]
    assert [link for link in links if link and not (home / link).exists()] == []


# --- where things are -------------------------------------------------------------------------------------------------

PLACES = re.findall(r"^\| ([^|`]+) \| `([\w/]+\.py)` \| `(\w+)` \|$", PAGES["architecture.md"], re.MULTILINE)


@pytest.mark.parametrize(("what", "file", "name"), PLACES)
def test_each_place_of_the_table_is_there(what, file, name):
    """The file defines the class or function that the row names."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}, what


def test_the_table_of_places_and_the_rooms():
    """Ten places or more; every room of the ground floor and of flows has its row, and no other."""
    assert len(PLACES) >= 10
    for package in ("labelfactory", "flows"):
        table = PAGES["architecture.md"].partition(f"| room of `{package}/` |")[2].partition("\n\n")[0]
        rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert set(re.findall(r"^\| `(\w+)/` \|", table, re.MULTILINE)) == rooms


# --- the drawing ------------------------------------------------------------------------------------------------------


def test_the_drawn_line_is_the_wired_one():
    """Each arrow of the drawing is a dependency of dvc.yaml, and each dependency an arrow, `dataset` and `evaluate` aside."""
    drawing = re.search(r"```mermaid\n(.*?)```", PAGES["architecture.md"], re.DOTALL)
    assert drawing is not None
    drawn = set(re.findall(r"(\w+) -->\|(\w+)\| (\w+)", drawing[1]))
    writers = {"import": "import", "corrections": "corrections"}
    wired = set()
    for name, wiring in read_wiring(ROOT / "dvc.yaml").items():
        writers |= {Path(out).parts[1]: name for out in wiring.outs}
        nouns = [dep.split("/")[1] for dep in wiring.deps if dep.startswith("data/")]
        wired |= {(writers[noun], noun, name) for noun in nouns if noun != "dataset" and name != "evaluate"}
    assert drawn == wired


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_readme_names_the_parts_of_the_report_in_their_order():
    """Each heading of the page, in bold; the notes on top have none."""
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", (ROOT / "reporting/report.html.jinja").read_text(encoding="utf-8"))
    told = PAGES["README.md"].partition("## How to read the report")[2].partition("\n## ")[0]
    assert re.findall(r"\*\*(.*?)\*\*", told) == headings
