"""Samples of a project and what is estimated from its audits: the commands, their files and their errors."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from reviewed import CLASSES, SIZE, Reviewed, answer, audited, made, rows_of, sampled

from app.doctor import _audits
from exports import _audit_folder
from exports._audit_folder import write_audit_folder
from labelfactory.dataset.audits import (
    AUDITS,
    MASKS,
    SAMPLE,
    read_audits,
    read_points,
    read_sample,
    write_points,
    write_sample,
)
from labelfactory.dataset.level_record import LEVEL, read_level
from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.dataset.withdrawn import REMEMBERED
from labelfactory.destinations import command_of, is_as_written
from labelfactory.digests import digest_file
from labelfactory.files import temporary_path
from labelfactory.review import estimate as review_estimate
from labelfactory.review.areas import areas_of, point_areas
from labelfactory.review.estimate import estimate_level
from labelfactory.review.points import drawn_points
from labelfactory.review.sample import draw_sample
from lineage.ledger import Ledger

__all__ = ["made"]

pytestmark = pytest.mark.slow  # they type commands over ninety images


def test_the_level_is_found(made, labelfactory):
    """From forty of ninety images: the true mIoU of masks and model lies in the intervals, which are narrow."""
    audited(made, labelfactory)
    shown = labelfactory("review", "estimate")
    level = read_level()
    for what, masks in (("masks", made.masks), ("model", made.predictions)):
        found = level.estimates[what].miou
        assert found.low <= made.true_miou(masks) <= found.high
        assert found.half < level.estimates[what].half_without
        assert tuple(level.estimates[what].iou) == ("background", *CLASSES)
    assert "Estimated from 40 audited images of 90 on train" in shown
    assert "masks: with expected areas ±" in shown
    assert "Kept in data/audits/estimate.json with the digests that it was measured on; seed 0." in shown
    assert "mIoU" in shown
    assert (
        json.loads(labelfactory("review", "estimate", "--json").partition("\n}\n")[0] + "\n}")
        == json.loads(LEVEL.read_text())["record"]
    )


def test_a_set_that_is_audited_whole_has_the_metrics_of_evaluate(made, labelfactory):
    """IoU as `labelfactory.metrics` counts it, void of the truth left out, without any error."""
    audited(made, labelfactory, 90)
    labelfactory("review", "estimate")
    level = read_level().estimates["masks"]
    assert level.miou.value == pytest.approx(made.true_miou(made.masks), abs=1e-6)
    assert level.miou.half == pytest.approx(0, abs=1e-6)
    assert level.more == 0


def test_without_expected_areas_it_is_the_plain_estimate(workspace, labelfactory):
    """λ is 0, which the output says."""
    made = Reviewed(workspace, quality=False)
    audited(made, labelfactory)
    shown = labelfactory("review", "estimate")
    level = read_level().estimates["masks"]
    assert level.weight == 0
    assert level.miou.half == pytest.approx(level.half_without)
    assert "no rows of expected quality (data/quality), so that this is the plain estimate (λ = 0)" in shown


def test_a_second_sample_is_refused_with_what_to_type(made, labelfactory):
    """More of them, or another one: then answers stay, and those that are drawn again count."""
    assert "of 90 images of train are in the sample" in labelfactory("review", "sample", "--count", "20")
    first = sampled()
    refused = labelfactory("review", "sample", "--count", "20", code=2)
    assert "a sample of 20 images is open, 0 of them audited" in refused
    assert "--more 20" in refused
    assert "a sample of 20 images is open" in labelfactory("review", "sample", code=2)
    labelfactory("corrections", "add", str(made.draw(*first)), "--audit")
    assert "20 images were added, 40 of 90 are in the sample" in labelfactory("review", "sample", "--more", "20")
    assert set(first) < set(sampled())
    assert read_sample().draws == (20, 20)
    labelfactory("review", "sample", "--anew", "--count", "20")
    assert set(sampled()) == set(first)  # every image keeps its number
    assert "every image of the sample has an answer" in labelfactory("review", "sample", "--more", "0")
    labelfactory("review", "sample", "--anew", "--count", "20", "--seed", "1")
    assert set(sampled()) != set(first)


def test_chances_stand_in_the_sample(made, labelfactory):
    """Of each stratum, as many as its chance says; the head has design, seed and the digest of the population."""
    labelfactory("review", "sample", "--count", "30", "--seed", "5")
    sample = read_sample()
    for stratum in {image.stratum for image in sample.images}:
        members = [image for image in sample.images if image.stratum == stratum]
        drawn = [image for image in members if image.is_drawn]
        assert {image.probability for image in members} == {len(drawn) / len(members)}
        assert sorted(members, key=lambda image: image.number)[: len(drawn)] == sorted(
            drawn, key=lambda image: image.number
        )
    head = json.loads(pq.read_schema(SAMPLE).metadata[b"labelfactory"])
    assert (head["seed"], head["list"], head["draws"], head["population"]) == (5, "train", [30], sample.population)


def test_answers_of_a_class_that_was_renamed_do_not_count(made, labelfactory, monkeypatch):
    """Its pixels would be void, and the class of the new name one that nobody saw."""
    audited(made, labelfactory, 30)
    dogs = sum(bool((made.truth[image_id] == CLASSES.index("dog") + 1).any()) for image_id in sampled())
    made.workspace.classes = tuple("hound" if name == "dog" else name for name in CLASSES)
    monkeypatch.setattr("reviewed.CLASSES", made.workspace.classes)
    made.write()  # a run has made every row anew
    shown = labelfactory("review", "estimate")
    assert f"{dogs} audited images do not count: they show a class that was renamed or is gone" in shown
    assert 0 < dogs < 30
    assert f"from {30 - dogs} audited images" in shown


def test_new_and_changed_photographs_are_strata_of_their_own(made, labelfactory):
    """`--more` takes them in; what is drawn already stays, and what is gone leaves the population."""
    audited(made, labelfactory, 30)
    before = sampled()
    changed, gone = before[0], before[1]
    for k in range(90, 100):
        made.add(f"i{k:03d}", 1)
    made.repaint(changed)
    made.workspace.remove(gone)
    made.write()
    assert "10 images of train came after the sample was drawn" in (shown := labelfactory("review", "estimate"))
    assert "1 audited images do not count: photograph changed since." in shown
    assert "1 audited images do not count: no longer on the list." in shown
    assert read_level().lost == {"photograph changed since": 1, "no longer on the list": 1}
    assert "8 images were added" in labelfactory("review", "sample", "--more", "8")
    sample = read_sample()
    assert set(before) - {changed, gone} <= set(sampled())
    assert gone not in {image.image_id for image in sample.images}
    fresh = {image.image_id for image in sample.images if "from draw 2" in image.stratum}
    assert fresh == {f"i{k:03d}" for k in range(90, 100)} | {changed}
    assert fresh & set(sampled())
    labelfactory("review", "estimate")
    assert read_level().not_covered == 0


def test_only_images_of_the_sample_are_taken(made, labelfactory):
    """Of another image, of another size, a second mask of one, of a photograph that has changed: nothing is added."""
    assert "no sample of images was drawn" in labelfactory(
        "corrections", "add", str(made.draw("i001")), "--audit", code=2
    )
    labelfactory("review", "sample", "--count", "20")
    outside = next(image.image_id for image in read_sample().images if not image.is_drawn)
    inside, second = sampled()[:2]
    shown = labelfactory("corrections", "add", str(made.draw(outside, inside, folder="other")), "--audit", code=2)
    assert f"{outside} is not in the sample: images that a person chooses say nothing of the rest" in shown
    made.truth[inside] = made.truth[inside][:, :-3]
    assert "its photograph 32×24" in labelfactory("corrections", "add", str(made.draw(inside)), "--audit", code=2)
    made.repaint(second)
    shown = labelfactory("corrections", "add", str(made.draw(second, folder="changed")), "--audit", code=2)
    assert "its photograph has changed since the sample was drawn" in shown
    assert "`labelfactory review sample --more 1`" in shown
    assert not MASKS.exists()
    shutil.rmtree("drawn")
    third = sampled()[2]
    shutil.copy(made.draw(third) / f"{third}.png", f"drawn/1234abcd-{third}.png")
    assert f"a second mask for {third}" in labelfactory("corrections", "add", "drawn", "--audit", code=2)


def test_a_mask_that_equals_ours_is_an_answer(made, labelfactory):
    """Agreeing is an answer; a better mask of the same image replaces it, and its file goes."""
    labelfactory("review", "sample", "--count", "20")
    image_id = sampled()[0]
    true, made.truth[image_id] = made.truth[image_id], made.masks[image_id]
    assert "would be taken as audits; nothing was written" in labelfactory(
        "corrections", "add", str(made.draw(image_id)), "--audit", "--dry-run"
    )
    assert not AUDITS.joinpath("audits.parquet").exists()
    assert "1 of 20 images of the sample have one" in labelfactory("corrections", "add", "drawn", "--audit")
    first = read_audits()[image_id].path(AUDITS)
    made.truth[image_id] = true
    assert f"earlier audits are replaced: {image_id}" in labelfactory(
        "corrections", "add", str(made.draw(image_id)), "--audit"
    )
    assert not first.exists()
    assert len(list(AUDITS.glob("*.png"))) == 1
    assert f"{image_id}  mask drawn" in labelfactory("review", "list")
    assert not Path("data/corrections/corrections.parquet").exists()


def test_a_killed_command_leaves_no_mask_without_a_row(made, labelfactory):
    """The next one deletes it."""
    audited(made, labelfactory, 20)
    image_id = sampled()[0]
    stray = AUDITS / f"{image_id}.{'0' * 16}.png"
    stray.write_bytes(b"half")
    Path(".labelfactory").mkdir(exist_ok=True)
    Path(".labelfactory/audits.json").write_text(json.dumps([image_id]))
    labelfactory("corrections", "add", "drawn", "--audit")
    assert not stray.exists()


def test_points_in_place_of_masks(made, labelfactory):
    """Thirty answers an image: the true mIoU lies in the interval, which is wider than with masks."""
    killed = temporary_path(Path("kit")).name.replace(f"-{os.getpid()}.", "-4194303.")
    Path(killed, "photographs").mkdir(parents=True)
    labelfactory("review", "sample", "--count", "40", "--points", "30", "--out", "kit")
    assert not Path(killed).exists()
    assert {command_of(path) for path in Path("kit/points").iterdir()} == {"labelfactory review sample"}
    assert not list(Path("kit").rglob("*mask*"))
    assert {path.name for path in Path("kit").iterdir()} == {
        *("images.csv", "photographs", "classes.txt", "labelmap.txt", "legend.png", "points.csv", "points")
    }
    assert len(list(Path("kit/photographs").iterdir())) == len(list(Path("kit/points").iterdir())) == 40
    answer(Path("kit/points.csv"), made)
    assert "the points of 40 images are answered" in labelfactory("review", "points", "kit/points.csv")
    assert "by points" in labelfactory("review", "estimate")
    level = read_level()
    assert level.by_points == 40
    by_points = level.estimates["masks"].miou
    assert by_points.low <= made.true_miou(made.masks) <= by_points.high
    labelfactory("corrections", "add", str(made.draw(*sampled())), "--audit")
    labelfactory("review", "estimate")
    assert read_level().by_points == 0  # a mask says more
    assert read_level().estimates["masks"].miou.half < by_points.half


def test_answers_that_are_not_taken(made, labelfactory):
    """All of them with their row; then none is. Points without an answer leave their image out."""
    labelfactory("review", "sample", "--count", "20")
    assert "the sample has no points to answer" in labelfactory("review", "points", "kit.csv", code=2)
    labelfactory("review", "sample", "--more", "0", "--points", "5", "--out", "kit")
    path = Path("kit/points.csv")
    answer(path, made, skip=2)
    assert "2 points have no answer yet" in labelfactory("review", "points", str(path))
    assert len(read_points()) == 19
    good = path.read_text()
    rows = good.splitlines()
    for row, problem in (
        ("i999,1,3,3,cat", "'i999' is not in the sample"),
        (rows[1].rpartition(",")[0] + ",catt", "'catt' is not a class; did you mean `cat`?"),
        (f"{sampled()[0]},9,31,23,cat", "(31, 23) is not one of its drawn points"),
        (rows[1], "is answered twice"),
        (f"{sampled()[0]},9,a,23,cat", "is not a pixel"),
    ):
        path.write_text("\n".join([*rows, row]))
        assert problem in labelfactory("review", "points", str(path), code=2)
    path.write_text(good.replace("answer", "antwort"))
    assert "has no column answer" in labelfactory("review", "points", str(path), code=2)
    path.write_text("\ufeff" + good.replace(",", ";"))
    assert "19 images are answered, 19 of them again" in labelfactory("review", "points", str(path))


def test_an_estimate_needs_answers_and_says_what_it_lacks(made, labelfactory):
    """None, one, a few; a class that no audited image shows; audited images that were corrected."""
    assert "no sample of images was drawn" in labelfactory("review", "estimate", code=2)
    assert "--more adds to a sample, and none was drawn" in labelfactory("review", "sample", "--more", "3", code=2)
    labelfactory("review", "sample", "--count", "20")
    assert "0 audited images have a mask; an estimate needs at least 2" in labelfactory("review", "estimate", code=2)
    cats = [i for i in sampled() if (made.truth[i] == 1).any()][:4]
    labelfactory("corrections", "add", str(made.draw(*cats)), "--audit")
    shown = labelfactory("review", "estimate")
    assert "masks: the mIoU is without dog and fox, of which no audited image shows or predicts anything." in shown
    assert "masks: fewer than 10 audited images give no interval." in shown
    assert read_level().estimates["masks"].miou.low is None
    labelfactory("corrections", "add", str(made.draw(*cats)))
    assert "that a person corrected" not in labelfactory("review", "estimate")  # no run has taken them up
    made.corrected.update(cats)
    made.write()
    assert "4 images of the sample have a mask that a person corrected" in labelfactory("review", "estimate")


def test_doctor_counts_answers_and_finds_damage(made):
    """Of the sample, without opening a mask."""
    assert list(_audits()) == []
    write_sample(draw_sample(read_dataset(), "train", count=20, seed=0, points=0))
    assert list(_audits()) == [(True, "audits: 0 of 20 images of the sample have an answer", "")]
    SAMPLE.write_bytes(b"PAR1")
    ((passed, _, remedy),) = _audits()
    assert not passed
    assert "backup" in remedy


def test_damaged_tables_are_errors_with_a_remedy(made, labelfactory):
    """And a damaged estimate is none: it is computed again."""
    audited(made, labelfactory, 20)
    LEVEL.write_text("{")
    assert read_level() is None
    mask = next(AUDITS.glob("*.png"))
    mask.write_bytes(mask.read_bytes()[:-9])
    shown = labelfactory("review", "estimate", code=2)
    assert "changed since it was added" in shown
    assert "corrections add PATH --audit" in shown
    MASKS.write_bytes(b"PAR1")
    assert "Restore it from a backup" in labelfactory("review", "estimate", code=2)


def test_a_list_without_masks_has_the_level_of_the_model_alone(made, labelfactory):
    """Photographs of a list for scores have predictions and no mask."""
    for k, record in enumerate(made.workspace.records):
        if k % 2 == 0:
            made.workspace.records[k] = replace(record, lists=("val",), split="score")
    made.write()
    shutil.rmtree("data/masks")
    labelfactory("review", "sample", "--count", "20", "--list", "val")
    assert {image.image_id for image in read_sample().images} == {
        r.image_id for r in made.workspace.records if "val" in r.lists
    }
    labelfactory("corrections", "add", str(made.draw(*sampled())), "--audit")
    labelfactory("review", "estimate")
    assert tuple(read_level().estimates) == ("model",)
    assert "the list 'vall' has no usable image" in labelfactory("review", "sample", "--anew", "--list", "vall", code=2)


def test_the_model_has_no_level_on_what_it_learnt_from(made, labelfactory, monkeypatch):
    """Photographs that were on the training list when it was trained are no part of its level on the validation list."""
    for k, record in enumerate(made.workspace.records):
        if k % 2 == 0:
            made.workspace.records[k] = replace(record, lists=("val",), split="score")
    made.write()
    labelfactory("review", "sample", "--count", "20", "--list", "val")
    labelfactory("corrections", "add", str(made.draw(*sampled())), "--audit")
    labelfactory("review", "estimate")
    before = read_level().estimates["model"]
    seen = sampled()[:5]
    monkeypatch.setattr(review_estimate, "not_new", lambda folder, dataset: frozenset(seen))
    labelfactory("review", "estimate")
    after = read_level().estimates["model"]
    assert (after.images, after.population) == (before.images - 5, before.population - 5)


def test_points_are_the_mean_of_areas():
    """All pixels as points are the areas of the masks."""
    random = np.random.default_rng(0)
    truth, mask = (random.choice([0, 1, 2, 255], SIZE).astype(np.uint8) for _ in range(2))
    points = point_areas(truth.ravel(), mask.ravel(), truth.size, 3)
    assert points.mean(axis=0) == pytest.approx(areas_of(truth, mask, 3))


def test_points_lie_in_the_photograph_and_more_keep_the_first():
    """Uniform over it, from the seed and the photograph's digest."""
    x, y = drawn_points(0, "ab", 5000, (20, 30))
    assert (x.min(), x.max(), y.min(), y.max()) == (0, 29, 0, 19)
    assert np.histogram(x, 3)[0] == pytest.approx(5000 / 3, rel=0.1)
    assert (drawn_points(0, "ab", 10, (20, 30))[0] == x[:10]).all()
    assert (drawn_points(1, "ab", 10, (20, 30))[0] != x[:10]).any()


def test_the_folder_for_a_person_is_new(made, labelfactory):
    """It is not written into the project or over something."""
    labelfactory("review", "sample", "--count", "20")
    Path("kit").mkdir()
    Path("kit/mine.txt").write_text("")
    assert "exists and is not an empty folder" in labelfactory("review", "sample", "--out", "kit", code=2)
    assert "belongs to the project" in labelfactory("review", "sample", "--out", "data/kit", code=2)
    assert "has the photographs of 20 images, a legend" in labelfactory("review", "sample", "--out", "kit2")
    assert [row["image_id"] for row in rows_of(Path("kit2/images.csv"))] == sampled()
    for image_id in sampled()[:3]:  # a mask that is drawn beside classes.txt is read by its numbers
        Path("kit2/masks").mkdir(exist_ok=True)
        shutil.copy(made.draw(image_id) / f"{image_id}.png", "kit2/masks")
    for path in Path("kit2/photographs").iterdir():  # as they were imported: their digests tell whose they are
        assert path.stem in sampled()
        assert digest_file(path) in {record.sha256 for record in read_dataset().usable}
    shutil.rmtree("kit2/photographs")
    Path("kit2/legend.png").unlink()
    assert "3 masks" in labelfactory("corrections", "add", "kit2", "--audit")


def test_a_photograph_that_was_encoded_anew_bears_a_seal(made, labelfactory):
    """EXIF turns it, so that it is another file than the one that was imported; its pixels are upright."""
    labelfactory("review", "sample", "--count", "20")
    dataset, turned = read_dataset(), sampled()[0]
    record = next(record for record in dataset.usable if record.image_id == turned)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(record.photograph()).save("turned.jpg", exif=exif)
    change = {"path": "turned.jpg", "sha256": digest_file(Path("turned.jpg"))}
    records = (replace(r, **change) if r.image_id == turned else r for r in dataset.records)
    write_dataset(replace(dataset, records=tuple(records)))
    write_audit_folder(Path("kit"), read_sample(), read_dataset(), [turned])
    (path,) = Path("kit/photographs").iterdir()
    assert is_as_written(path, "labelfactory review sample")
    with Image.open("turned.jpg") as before, Image.open(path) as after:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(before)), np.asarray(after))


def test_the_ledger_keeps_what_was_read(made, labelfactory):
    """An estimate is an event, once."""
    audited(made, labelfactory)
    labelfactory("review", "estimate")
    labelfactory("review", "estimate")
    assert len(Ledger().events("level")) == 1
    assert estimate_level(read_dataset()) == read_level()


def test_what_was_withdrawn_since_is_neither_drawn_nor_written(made, labelfactory):
    """`withdraw --later` leaves the data set as it is until the next run."""
    gone = made.workspace.records[3]
    REMEMBERED.parent.mkdir(exist_ok=True)
    REMEMBERED.write_text(json.dumps({"photographs": [gone.sha256]}))
    labelfactory("review", "sample", "--count", "40", "--out", "kit")
    assert gone.image_id not in {image.image_id for image in read_sample().images}
    assert not list(Path("kit").rglob(f"*{gone.image_id}*"))
    assert gone.image_id not in labelfactory("quality", "--json")


def test_no_link_of_others_is_followed_while_photographs_are_written(made, labelfactory, monkeypatch, tmp_path):
    """Another user makes the folder and lays links under the names of the files, as soon as writing has begun."""
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    legend = _audit_folder._legend

    def attacked(names):
        Path("kit").mkdir(exist_ok=True)
        for name in ("images.csv", "points.csv"):
            Path("kit", name).symlink_to(precious)
        return legend(names)

    monkeypatch.setattr(_audit_folder, "_legend", attacked)
    assert "kit" in labelfactory("review", "sample", "--count", "20", "--points", "5", "--out", "kit", code=2)
    assert precious.read_text() == "mine"
    assert not list(tmp_path.rglob("*.labelfactory.tmp"))


def test_a_point_outside_of_its_photograph_is_an_error(made, labelfactory):
    """A damaged table gives no figure and no traceback."""
    labelfactory("review", "sample", "--count", "20", "--points", "5", "--out", "kit")
    answer(Path("kit/points.csv"), made)
    labelfactory("review", "points", "kit/points.csv")
    for x in (-1, SIZE[1]):
        first, *rest = read_points().values()
        write_points([replace(first, x=(x, *first.x[1:])), *rest])
        assert "lies outside of its photograph" in labelfactory("review", "estimate", code=2)


def test_a_cell_that_is_too_long_is_an_error(made, labelfactory):
    labelfactory("review", "sample", "--count", "20", "--points", "5", "--out", "kit")
    with Path("kit/points.csv").open("a") as stream:
        stream.write("i000,1,1,1," + "x" * 200_000 + "\n")
    assert "field larger than field limit" in labelfactory("review", "points", "kit/points.csv", code=2)
