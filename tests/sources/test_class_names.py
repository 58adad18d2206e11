"""Names of classes as people type and mistype them, classes without a photograph, one photograph under two ids."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app._import_options import import_options
from labelfactory.dataset.images import encode_mask
from labelfactory.errors import DataError
from labelfactory.typed_names import split_names, split_pair, typed
from sources._batch import Batch, Candidate
from sources._findings import first_lines
from sources._import_plan import ImportOptions, plan_import
from sources._tag_typos import typos
from sources.folder import find_folder
from sources.table import find_table

EASY = ImportOptions(val_fraction=0.5)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for k in range(6):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(f"{k}.png")
    return tmp_path


def table(tags: list[list[str]]) -> Batch:
    """Photographs with these tags, in a table."""
    rows = [{"path": f"{k}.png", "tags": cell} for k, cell in enumerate(tags)]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return find_table(Path("t.jsonl"))


NAMES = st.lists(st.text(min_size=1, max_size=6).filter(lambda name: "\r" not in name), min_size=1, max_size=4)


@given(names=NAMES)
def test_every_name_can_be_typed(names):
    """With commas, blanks at its ends, equals signs, backslashes and what cannot be seen; and what is typed is printable."""
    text = ",".join(map(typed, names))
    assert split_names(text) == names
    assert split_pair(f"{typed(names[0])}={typed(names[-1])}") == (names[0], names[-1])
    assert text.isprintable()


def test_what_needs_no_backslash_stays_as_it_was_typed():
    """Blanks around commas go, those inside a name stay, and a backslash before any other character is one."""
    assert split_names(r" house cat ,été, a\b, ,") == ["house cat", "été", r"a\b"]
    assert split_pair("sofa = couch") == ("sofa", "couch")
    assert split_pair("a=b=c") == ("a", "b=c")
    assert (split_pair("cat"), split_pair("=x")) == (None, None)


def test_names_with_commas_and_invisible_characters_are_chosen_and_renamed(here):
    """As the messages write them; and the manifest states the command so that it can be typed again."""
    batch = dataclasses.replace(
        table([["cup, mug"], ["cat\u200b"], ["a\x1b"], []]), names=("cup, mug", "cat\u200b", "a\x1b")
    )
    options = import_options(
        r"pot,cat\u200b", [r"cup\, mug=pot", r"a\x1b="], 0.5, append=False, replace=False, dry_run=False
    )
    manifest = plan_import(batch, options).manifest
    assert manifest.classes.names == ("pot", "cat\u200b")
    assert manifest.source.partition("--classes ")[2] == (
        r"pot,cat\u200b --rename cup\, mug=pot --rename a\x1b= --val-fraction 0.5"
    )
    for name, said in (("cat", r"did you mean `cat\u200b`"), ("cup", r"did you mean `cup\, mug`")):
        with pytest.raises(DataError) as caught:
            plan_import(batch, dataclasses.replace(EASY, classes=(name,)))
        assert said in caught.value.problem
    with pytest.raises(DataError) as caught:
        plan_import(batch, EASY)
    assert r"--rename 'a\x1b=NEW' gives another one" in caught.value.problem


NEAR = [
    ("dog", "dgo"), ("cat", "cats"), ("bus", "buses"), ("berry", "berries"), ("horse", "hrose"), ("sheep", "shep"),
    ("cat", "Cat"), ("traffic light", "traffic_light"), ("traffic light", "Traffic-Light"), ("cat", "cat\u200b"),
    ("café", "cafe\u0301"), ("café", "cafe"), ("cat", "\uff43at"), ("house cat", "house\u00a0cat"), ("zebra", "zebar"),
]  # fmt: skip
APART = [
    ("cat", "car"), ("cat", "cow"), ("bus", "bed"), ("class 1", "class 2"), ("0", "1"), ("n01440764", "n01440765"),
    ("site_a", "site_b"), ("dog", "hot dog"), ("1", "10"), ("person", "sheep"), ("bottle", "bird"),
]  # fmt: skip


@pytest.mark.parametrize("counts", [(1, 1), (3, 2), (1, 40)])
def test_near_names_are_found_at_any_count(counts):
    """Letters, case, plural, blanks, Unicode; short names that differ in a letter and numbered ones are classes."""
    for a, b in NEAR:
        assert len(typos(dict(zip((a, b), counts, strict=True)))) == 1, (a, b)
    for a, b in APART:
        assert typos(dict(zip((a, b), counts, strict=True))) == [], (a, b)
    assert typos({"Cat": 1, "cat": 1}) == typos({"cat": 1, "Cat": 1}) == [("Cat", "cat")]


def test_near_names_are_said_with_all_other_problems(here):
    """In a table of five, with a file that is missing; and with what to type, which works."""
    batch = table([["cat"], ["cta"], ["cat"], ["dog"], ["dog"]])
    Path("4.png").unlink()
    with pytest.raises(DataError, match="1 problem\n") as caught:
        plan_import(batch, EASY)
    note = "the class 'cta' (images: 1) may be 'cat' (2) mistyped; if so, import again with --rename cta=cat"
    assert f"  also: {note}" in caught.value.problem.splitlines()
    lenient = dataclasses.replace(EASY, max_bad_fraction=0.5)
    assert plan_import(batch, lenient).notes == (note,)
    assert plan_import(batch, dataclasses.replace(lenient, rename={"cta": "cat"})).notes == ()


def test_classes_of_a_source_that_no_photograph_has_are_dropped_and_said(here):
    """Their numbers in the masks become void. A class that was typed is missed."""
    batch = table([["cat"], ["dog"], [], []])
    names = ("cat", *(f"n{k}" for k in range(30)), "dog")
    batch = dataclasses.replace(batch, names=names, mask_values=dict(enumerate(names, 1)))
    plan = plan_import(batch, EASY)
    assert plan.manifest.classes.names == ("cat", "dog")
    assert plan.manifest.mask_ids == {0: 0, 1: 1, 32: 2}
    assert plan_import(dataclasses.replace(batch, mask_values={}), EASY).manifest.mask_ids == {0: 0, 1: 1, 32: 2}
    (said,) = plan.decisions
    assert said.startswith("not used: 'n0', 'n1', ")
    assert said.endswith("'n19' and 10 more (30 of 32 classes; no photograph is tagged with them)")
    with pytest.raises(DataError, match="  --classes: no photograph is tagged 'n0'"):
        plan_import(batch, dataclasses.replace(EASY, classes=("cat", "n0")))
    nothing = dataclasses.replace(table([[], []]), names=names)
    with pytest.raises(DataError, match="1 problem\n  no photograph has a tag\n"):
        plan_import(nothing, EASY)


def test_tags_that_say_that_nothing_is_there_are_named(here):
    """Each with what to type, which leaves its photographs as negatives."""
    batch = table([["cat"], ["No Finding"], ["negative"], ["cat"]])
    notes = plan_import(batch, EASY).notes
    assert [note.partition("; if so")[0] for note in notes] == [
        "the class 'No Finding' (images: 1) may say that there is none",
        "the class 'negative' (images: 1) may say that there is none",
    ]
    assert "--rename 'No Finding='" in notes[0]
    mended = plan_import(batch, dataclasses.replace(EASY, rename={"No Finding": "", "negative": ""}))
    assert [e.tags for e in mended.manifest.entries] == [("cat",), (), (), ("cat",)]


def test_more_classes_than_a_mask_holds_are_a_problem_among_the_others(here):
    """With examples: they may come from the wrong column."""
    batch = table([[f"t{k}" for k in range(300)], ["t0"]])
    with pytest.raises(
        DataError, match="1 problem\n  300 classes, such as 't0', 't1', 't10'; a mask holds at most 254: choose"
    ):
        plan_import(batch, EASY)
    assert plan_import(batch, dataclasses.replace(EASY, classes=("t0",), rename={f"t{k}": "" for k in range(1, 300)}))


def test_equal_problems_are_one_line_with_a_count_and_three_examples():
    """Whatever differs: a row, a file, a name. Three or fewer, and all with --dry-run, are lines of their own."""
    lines = [f"t.csv, row {k}: 'x{k}' is not a list" for k in range(80)] + ["t.csv: other"] + ["same"] * 5
    assert first_lines(lines, 20) == [
        "80 times: t.csv, row [0: 'x0' | 1: 'x1' | 2: 'x2' | …] is not a list", "t.csv: other", "5 times: same"
    ]  # fmt: skip
    assert first_lines(lines, 1)[1:] == ["… and 6 more"]
    assert first_lines(lines, None) == lines
    assert first_lines(lines[:3], 20) == lines[:3]


def test_one_photograph_in_two_folders_has_both_tags(here):
    """Its masks would call the other animal background. On train and val it stays an error, as any such pair."""
    for name, files in {"cat": "012", "dog": "034", "owl": "5"}.items():
        Path("p", name).mkdir(parents=True)
        for k in files:
            Path("p", name, f"{k}.png").write_bytes(Path(f"{k}.png").read_bytes())
    plan = plan_import(find_folder(Path("p")), EASY)
    assert {e.image_id: e.tags for e in plan.manifest.entries} == {
        "cat/0": ("cat", "dog"), "cat/1": ("cat",), "cat/2": ("cat",), "dog/3": ("dog",), "dog/4": ("dog",), "owl/5": ("owl",)
    }  # fmt: skip
    assert plan.decisions == (
        "the same photograph with different tags, 1 times: one photograph with all of them ('cat/0' cat = 'dog/0' dog)",
    )
    assert plan.twins == ()


def test_an_appended_photograph_that_is_here_with_other_tags_is_said(here):
    """What is here stays, so both are there until they are imported together."""
    old = plan_import(table([["cat"], ["dog"]]), EASY).manifest
    Path("5.png").write_bytes(Path("0.png").read_bytes())
    batch = dataclasses.replace(table([]), candidates=(Candidate("new", Path("5.png"), ("dog",)),), problems=())
    plan = plan_import(batch, dataclasses.replace(EASY, append=True), old)
    assert plan.notes[0].startswith(
        "1 new photographs are ones that are here with other tags ('new' dog = '0' cat); each mask"
    )
    again = dataclasses.replace(batch, candidates=(Candidate("new", Path("5.png"), ("cat",)),))
    assert plan_import(again, dataclasses.replace(EASY, append=True), old).notes == ()


@pytest.mark.parametrize(
    ("lists", "typed_for_it"),
    [
        (("train", "test"), "--set prepare.val_list=test --set 'evaluate.lists=[train,test]'"),
        (("train_aug", "val"), "--set prepare.train_list=train_aug --set 'evaluate.lists=[train_aug,val]'"),
        (("train", "val", "test"), ""),
    ],
)
def test_a_list_that_the_line_needs_is_missed_at_the_import(here, lists, typed_for_it):
    """Not hours later: with the option that deals, and the parameters that choose another list."""
    candidates = [Candidate(f"{k}", Path(f"{k}.png"), ("cat",), (name,)) for k, name in enumerate(lists)]
    notes = plan_import(
        dataclasses.replace(table([]), candidates=tuple(candidates), problems=()), ImportOptions()
    ).notes
    assert len(notes) == bool(typed_for_it)
    assert not notes or ("--val-fraction 0.2" in notes[0] and notes[0].endswith(f"labelfactory profile {typed_for_it}"))


def test_the_mask_of_one_of_two_tags_is_no_truth_of_both(here):
    """It stays only where all have the same."""
    for name, value in (("a", 1), ("b", 2)):
        Path(f"{name}-mask.png").write_bytes(encode_mask(np.full((8, 8), value, np.uint8)))

    def masks(*names: str) -> list[str | None]:
        candidates = [
            Candidate(f"{k}", Path("0.png"), (tag,), mask=Path(f"{name}-mask.png"))
            for k, (tag, name) in enumerate(zip(("cat", "dog"), names, strict=True))
        ]
        batch = Batch(Path(), "import x", (), candidates=tuple(candidates))
        return [entry.mask_path for entry in plan_import(batch, EASY).manifest.entries]

    assert masks("a", "b") == [None]
    assert masks("a", "a") == ["a-mask.png"]
