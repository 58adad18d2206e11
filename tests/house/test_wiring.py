"""dvc.yaml, params.yaml, stages and profiles say the same: one name in five places, deps that cover imports, no orphans."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from labelfactory.errors import ParamsError
from labelfactory.settings.closure import reached
from labelfactory.settings.overlay import lay_over as overlay
from labelfactory.settings.params import Section, check_sections, read_yaml
from labelfactory.settings.registry import MethodConfig
from labelfactory.settings.source_file import read_source
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.base import Stage
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import stage_class
from labelfactory.stage.training import TrainingStage

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("labelfactory", "models", "reporting", "sources", "stages")
WIRING = read_wiring(ROOT / "dvc.yaml")
PARAMS = read_yaml(ROOT / "params.yaml")
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))
STAGES: dict[str, type[Stage[Any]]] = {name: stage_class(name) for name in WIRING}

each_stage = pytest.mark.parametrize("name", list(WIRING))


# --- one name, five places --------------------------------------------------------------------------------------------


def test_the_same_names_stand_in_all_five_places():
    """Stage, module, section, command and report: a stage forgotten in one is found."""
    names = list(WIRING)
    assert sorted(p.stem for p in (ROOT / "stages").glob("*.py") if not p.stem.startswith("_")) == sorted(names)
    assert list(PARAMS) == names
    assert [wiring.command for wiring in WIRING.values()] == [f"python -m stages.{name}" for name in names]
    assert [wiring.metrics[-1] for wiring in WIRING.values()] == [f"data/reports/{name}.json" for name in names]


def test_the_contract_on_independence_covers_every_stage():
    """It names the parts that stages share, never a stage, so a new stage needs no line of it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = next(c for c in contracts if c["type"] == "independence")
    shared = sorted(p.stem for p in (ROOT / "stages").glob("_*.py") if p.stem != "__init__")
    assert contract["modules"] == ["stages.*"]
    assert contract["ignore_imports"] == [f"stages.* -> stages.{name}" for name in shared]


@each_stage
def test_a_stage_knows_its_name_and_its_section(name):
    """The class is found by the file's name, and its docstring says what it reads and writes."""
    kind = STAGES[name]
    assert kind.stage_name() == name
    assert issubclass(kind.section, Section)
    text = sys.modules[kind.__module__].__doc__ or ""
    assert re.search(r"^Reads ", text, re.MULTILINE)
    assert re.search(rf"^Writes +data/{kind.writes}\b", text, re.MULTILINE)


@each_stage
def test_params_of_a_stage_are_its_own_section_and_those_it_borrows(name):
    """DVC reruns a stage when a section changes that it reads, and for no other."""
    assert WIRING[name].params == (name, *STAGES[name].borrows)


@each_stage
def test_data_that_a_stage_reads_are_its_deps_and_what_it_writes_are_its_outs(name):
    """What a class declares and what dvc.yaml wires cannot drift apart."""
    kind, wiring = STAGES[name], WIRING[name]
    assert [d for d in wiring.deps if d.startswith("data/")] == [f"data/{noun}" for noun in kind.reads]
    made = [out for out in (*wiring.outs, *wiring.metrics) if not out.startswith("data/reports/")]
    assert made
    assert all(Path(out).parts[:2] == ("data", kind.writes) for out in made)
    if issubclass(kind, PerImageStage):
        assert set(kind.reads_rows) <= set(kind.reads)


def test_every_output_has_one_writer_and_every_dep_on_data_has_a_writer_above():
    """The line is a line: what a stage reads, an earlier one wrote; the import and corrections come from commands."""
    written = {"import", "corrections"}
    for name, kind in STAGES.items():
        assert set(kind.reads) <= written, name
        assert kind.writes not in written, name
        written.add(kind.writes)


# --- the graph, said once ---------------------------------------------------------------------------------------------


KINDS = {PerImageStage: "rows", TrainingStage: "network"}


@each_stage
def test_the_meta_of_a_stage_is_what_its_class_is(name):
    """A stage without a kind, or of another, would be missing in the ledger, on the pages and in the report."""
    meta, kind = WIRING[name].meta, STAGES[name]
    expected = next((word for base, word in KINDS.items() if issubclass(kind, base)), "")
    assert meta.kind in ([expected] if expected else ["prepare", "thresholds", "report"])
    assert meta.optional == ("enabled" in kind.section.model_fields or hasattr(kind.section, "enabled"))
    if expected == "rows":
        assert WIRING.rows_behind(kind.writes)[-len(kind.reads_rows) :] == kind.reads_rows or not kind.reads_rows
        assert not meta.scores.column or meta.scores.column in kind.columns
    assert not meta.scores.thresholds or WIRING.maker(meta.scores.thresholds).meta.kind == "thresholds"
    assert not meta.replaces or meta.replaces in WIRING.row_outputs
    assert not meta.rates or (expected == "rows" and meta.rates in WIRING.rows_behind(kind.writes))
    assert not meta.predicts or (expected == "rows" and meta.predicts in {*WIRING.networks} & {*kind.reads})


def test_the_shipped_line_by_hand():
    """What ledger, pages, report, exports and flows derive, written out once."""
    assert WIRING.networks == ("classifier", "affinity", "teacher", "segmenter", "upper_bound")
    rows = ("priors", "cams", "affinity_labels", "walks", "masks", "predictions", "quality")
    assert WIRING.row_outputs == rows
    assert [s.noun for s in WIRING.of_kind("thresholds")] == ["seed_thresholds", "walk_threshold"]
    assert (WIRING.masks.name, WIRING.model.name) == ("refine_crf", "train_segmenter")
    assert [s.meta.scores.name for s in WIRING.scored] == ["seeds", "walks", "masks", "model", "upper_bound"]
    assert [s.name for s in WIRING.values() if s.meta.optional] == ["make_priors", "train_teacher", "train_upper_bound"]
    assert WIRING.rows_behind("masks") == ("cams", "walks")
    assert WIRING.predicting("segmenter").name == "segment_images"
    assert WIRING.predicting("upper_bound") is None
    assert (WIRING.rating("masks").name, WIRING.rating("walks")) == ("rate_masks", None)
    assert WIRING.maker("corrections") is None
    assert WIRING.before("calibrate_walks") == ("prepare", "label_affinity", "random_walk")
    assert WIRING.upstream("label_affinity") == (
        "prepare",
        "make_priors",
        "train_classifier",
        "extract_cams",
        "calibrate_seeds",
    )
    assert WIRING.learning == tuple(s.name for s in WIRING.of_kind("network", "thresholds"))


def test_dvc_yaml_is_parsed_once_for_each_state(tmp_path, monkeypatch):
    """The same file gives the same object; a changed one is read again, and a damaged `meta` is refused by name."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages: {a: {cmd: a, meta: {kind: rows}, outs: [data/x]}}\n")
    first = read_wiring()
    assert read_wiring() is first
    assert first.row_outputs == ("x",)
    Path("dvc.yaml").write_text("stages: {a: {cmd: a, meta: {kind: network}, outs: [data/x]}}\n")
    assert read_wiring().networks == ("x",)
    Path("dvc.yaml").write_text("stages: {a: {cmd: a, meta: {optionl: true}}}\n")
    with pytest.raises(ParamsError, match=r"a\.optionl: unknown key; did you mean `optional`"):
        read_wiring()
    with pytest.raises(ParamsError, match="0 stages of kind rows have `result: true`"):
        _ = first.masks


@each_stage
def test_folders_are_kept_between_runs(name):
    """Without `persist` DVC deletes a folder first, and no row could be reused. Plain files are rewritten anyway."""
    body = read_yaml(ROOT / "dvc.yaml")["stages"][name]
    for out in body["outs"]:
        if isinstance(out, dict):
            assert list(out.values()) == [{"persist": True}]
        else:
            assert Path(out).suffix


# --- deps cover imports -----------------------------------------------------------------------------------------------


def files_run(name: str) -> set[Path]:
    """Files of ours that a stage runs, of every method that it may choose; those that compute nothing are left out."""
    return {ROOT / path for path in reached(f"stages.{name}", root=ROOT) if read_source(ROOT / path).digest}


def code_deps(name: str) -> Iterator[Path]:
    return ((ROOT / dep) for dep in WIRING[name].deps if not dep.startswith("data/"))


def under(path: Path, dep: Path) -> bool:
    return path == dep or dep in path.parents


@each_stage
def test_deps_cover_every_file_that_a_stage_imports(name):
    """DVC asks a stage when a dep changes: a changed file that is no dep would leave old rows as current ones."""
    deps = list(code_deps(name))
    missing = [str(f.relative_to(ROOT)) for f in files_run(name) if not any(under(f, d) for d in deps)]
    assert sorted(missing) == []


@each_stage
def test_no_dep_is_code_that_a_stage_does_not_import(name):
    """A dep too many asks a stage for nothing."""
    used = files_run(name)
    needless = [str(d.relative_to(ROOT)) for d in code_deps(name) if not any(under(f, d) for f in used)]
    assert needless == []


@each_stage
def test_deps_exist_in_order_and_once(name):
    """A dep that was renamed fails here and not in somebody's run."""
    deps = list(code_deps(name))
    assert [d for d in deps if not d.exists()] == []
    assert deps == sorted(set(deps))


def test_every_family_is_written_out_where_a_method_of_it_is_loaded():
    """A family in a variable would be in no key: `load_method(FAMILY, name)` hides which methods a stage runs."""
    hidden = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("models", "stages")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("load_method", "method_of")
        if not isinstance(node.args[0], ast.Constant)
    ]
    assert hidden == []


# --- no orphan parameter ----------------------------------------------------------------------------------------------


def fields_of(model: type[BaseModel], prefix: str = "") -> dict[str, bool]:
    """Dotted name of every field, those of mappings inside too → whether it must be given."""
    found = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, MethodConfig):  # its knobs are its own
            found[prefix + name] = field.is_required()
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= fields_of(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field.is_required()
    return found


def keys_of(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted names of all keys."""
    found: set[str] = set()
    for key, value in values.items():
        inside = isinstance(value, dict) and "name" not in value  # a method is one key, whatever knobs it is given
        found |= keys_of(value, f"{prefix}{key}.") if inside else {prefix + key}
    return found


@each_stage
def test_params_hold_every_field_and_nothing_else(name):
    """A default in the code would be a second place for a number, so params.yaml states even what has one."""
    assert keys_of(PARAMS[name]) == set(fields_of(STAGES[name].section))


@each_stage
def test_every_field_is_read_somewhere(name):
    """A parameter that nothing reads is a promise that nothing keeps."""
    code = "\n".join(p.read_text() for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
    unread = [f for f in fields_of(STAGES[name].section) if not re.search(rf"\.{f.rsplit('.', 1)[-1]}\b", code)]
    assert unread == []


def test_params_are_valid_as_shipped():
    """The file in the repository passes its own check."""
    check_sections(PARAMS, {name: kind.section for name, kind in STAGES.items()}, "params.yaml")


# --- profiles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"evaluate": {"scales": [1.0, -1]}}, "evaluate.scales.1: -1 is below the minimum 0.1"),
        ({"extract_cams": {"scales": [0]}}, "extract_cams.scales.0: 0 is below the minimum 0.1"),
        ({"random_walk": {"teacher_scales": [100]}}, "random_walk.teacher_scales.0: 100 is above the maximum 4.0"),
        (
            {"train_affinity": {"method": {"depths": [0, 32, 64]}}},
            "train_affinity.method.depths.0: 0 is below the minimum 4",
        ),
        (
            {"train_affinity": {"method": {"depths": [32, 32, 7]}}},
            "train_affinity.method.depths.2: 7: input should be a multiple of 4",
        ),
        ({"train_segmenter": {"net": {"rates": [3, -3]}}}, "train_segmenter.net.rates.1: -3 is below the minimum 1"),
        ({"calibrate_seeds": {"background": 7}}, "calibrate_seeds.background: a threshold must be auto or in [0, 1]"),
        ({"train_classifier": {"weights": "classifier"}}, "train_classifier: weights: this is the classifier itself"),
    ],
)
def test_values_out_of_range_are_refused(change, said):
    """Also each of a list, before any stage runs."""
    values = read_yaml(Path("params.yaml"))
    overlay(values, change, [])
    with pytest.raises(ParamsError, match=re.escape(f"1 problem\n  {said}")):
        check_sections(values, {name: stage_class(name).section for name in WIRING}, "params.yaml")


@each_stage
def test_every_number_has_a_lower_end(name):
    """A width of 0, a scale of -1: no field takes what no stage can work with, and none is forgotten here."""
    assert list(unbounded(stage_class(name).section, [], name)) == []


def unbounded(annotation: Any, limits: list[Any], name: str) -> Iterator[str]:
    """Names of the fields, also inside lists and mappings, that hold a number of any size."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from unbounded(inner, [each for field in more for each in getattr(field, "metadata", [field])], name)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for key, field in annotation.model_fields.items():
            yield from unbounded(field.annotation, field.metadata, f"{name}.{key}")
    elif get_args(annotation):
        for inner in get_args(annotation):
            yield from unbounded(inner, limits, name)
    elif annotation in (int, float) and not {type(limit).__name__ for limit in limits} & {"Ge", "Gt", "AfterValidator"}:
        yield name


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_a_profile_is_valid_over_params(path):
    """Every shipped profile can be laid over the shipped params.yaml, and its first line says what it is for."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    overlay(values, read_yaml(path), [])
    check_sections(values, {name: kind.section for name, kind in STAGES.items()}, path.name)
    assert path.read_text().startswith("# ")


def test_all_profiles_set_the_same_keys():
    """So that a profile laid over another leaves nothing of it behind."""
    assert {p.stem for p in PROFILES} >= {"demo", "photographs-cpu", "voc-animals-cpu", "voc12-resnet50"}
    keys = {path.stem: keys_of(read_yaml(path)) for path in PROFILES}
    union = set().union(*keys.values())
    assert {name: sorted(union - own) for name, own in keys.items() if own != union} == {}


def test_own_photographs_have_the_settings_that_were_measured():
    """Those of the animals, but with the lists that every import deals."""
    own, measured = (read_yaml(ROOT / f"profiles/{name}.yaml") for name in ("photographs-cpu", "voc-animals-cpu"))
    assert own["prepare"] == {"train_list": "train", "val_list": "val"}
    assert {**own, "prepare": measured["prepare"]} == measured


# --- contracts and documents ------------------------------------------------------------------------------------------


def test_import_contracts_hold():
    """Floors, independence of stages, true masks, DVC: as pyproject.toml states them."""
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert re.search(r"[1-9] kept, 0 broken", done.stdout)
