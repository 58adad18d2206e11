"""What the pixels of true masks mean, as people have them, and that their photographs and tags never pay for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_masks import other_palette, png
from PIL import Image

from labelfactory.dataset.images import decode_mask, encode_mask
from labelfactory.errors import DataError
from labelfactory.schema import palette
from sources._batch import Candidate
from sources._import_plan import ImportOptions, ImportPlan, plan_import
from sources._inspect import Inspection, inspect_all
from sources._true_masks import look_at
from sources.voc import find_voc

SIZE = (10, 12)
TAGS = {"a": ("cat",), "b": ("dog",), "c": (), "d": ("cat", "dog"), "e": ("dog",), "f": ("cat",)}
ONE = {name: tuple(tag for tag in tags if tag == "cat") for name, tags in TAGS.items()}


def numbers_of(tags: tuple[str, ...]) -> np.ndarray:
    """A cat (1) on the left, a dog (2) on the right."""
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[2:5, 1:5] = "cat" in tags
    mask[4:9, 7:11] = 2 * ("dog" in tags)
    return mask


def alpha(mask: np.ndarray, *, under: tuple[int, int, int]) -> bytes:
    """Classes in colours, the background transparent over a colour."""
    pixels = np.dstack([palette()[mask], np.where(mask > 0, 255, 0).astype(np.uint8)])
    pixels[mask == 0, :3] = under
    return png(pixels)


CAT, DOG = (128, 0, 0), (0, 128, 0)
READ: dict[str, Callable[[np.ndarray], bytes]] = {
    "palette PNG": encode_mask,
    "grey PNG": png,
    "VOC's colours in RGB (CVAT, LabelMe's viz)": lambda mask: png(palette()[mask]),
    "VOC's colours, background transparent (GIMP)": lambda mask: alpha(mask, under=(0, 0, 0)),
    "VOC's colours, white under the transparent (Photoshop)": lambda mask: alpha(mask, under=(255, 255, 255)),
    "VOC's colours as BGR (OpenCV)": lambda mask: png(np.ascontiguousarray(palette()[mask][:, :, ::-1])),
    "numbers as grey RGB": lambda mask: png(np.dstack([mask] * 3)),
    "numbers in 16 bits": lambda mask: png(mask.astype(np.uint16)),
    "numbers scaled to 16 bits": lambda mask: png(mask.astype(np.uint16) * 257),
    "grey with alpha": lambda mask: png(np.dstack([mask, np.full(SIZE, 255, np.uint8)])),
    "the greys of VOC's colours (convert L, OpenCV)": lambda mask: png(
        np.array(Image.fromarray(palette()[mask]).convert("L"))
    ),
    "a palette in another order (pngquant)": lambda mask: other_palette(mask, [DOG, (0, 0, 0), CAT], [1, 2, 0]),
    "a palette of another tool's colours (mmsegmentation)": lambda mask: other_palette(
        mask, [(120, 120, 120), (180, 120, 120), (6, 230, 230)], [0, 1, 2]
    ),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty project."""
    monkeypatch.chdir(tmp_path)


def write(masks: Callable[[np.ndarray], bytes], tags: dict[str, tuple[str, ...]] = TAGS) -> Path:
    """A folder in VOC layout whose masks are written in some way."""
    root = Path("voc")
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for k, (name, tagged) in enumerate(tags.items()):
        pixels = np.random.default_rng(k).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"JPEGImages/{name}.png")
        (root / f"SegmentationClass/{name}.png").write_bytes(masks(numbers_of(tagged)))
    (root / "ImageSets/train.txt").write_text("\n".join(tags))
    (root / "tags.csv").write_text("\n".join(f"{name},{';'.join(tagged)}" for name, tagged in tags.items()))
    names = ["background", *dict.fromkeys(tag for tagged in tags.values() for tag in tagged)]
    (root / "classes.txt").write_text("\n".join(names))
    return root


def imported(**options: object) -> ImportPlan:
    plan = plan_import(find_voc(Path("voc")), ImportOptions(**options))
    plan.write_files()
    return plan


def masks_of(plan: ImportPlan) -> dict[str, np.ndarray]:
    """What evaluation will read."""
    found = {}
    for entry in plan.manifest.entries:
        if entry.mask_path:
            table = np.full(256, 255, dtype=np.uint8)
            table[list(plan.manifest.mask_ids)] = list(plan.manifest.mask_ids.values())
            found[entry.image_id] = table[decode_mask(Path(entry.mask_path).read_bytes())]
    return found


@pytest.mark.parametrize("how", READ)
def test_masks_are_read_as_people_write_them(here, how):
    """Each way of writing gives the same class numbers; what is not a plain PNG of numbers is written again."""
    write(READ[how])
    plan = imported(check_masks=True)
    assert plan.left_out == ()
    masks = masks_of(plan)
    assert {name: mask.tolist() for name, mask in masks.items()} == {n: numbers_of(t).tolist() for n, t in TAGS.items()}
    own = sum("SegmentationClass" in (entry.mask_path or "") for entry in plan.manifest.entries)
    assert own == (6 if how in ("palette PNG", "grey PNG") or "mmseg" in how else 0)
    assert len(plan.decisions) == ("greys" in how or "another order" in how or "BGR" in how)


OF_ONE: dict[str, Callable[[np.ndarray], bytes]] = {
    "0 and 255": lambda mask: png(mask * 255),
    "black and white in RGB": lambda mask: png(np.dstack([mask * 255] * 3)),
    "0 and 65535": lambda mask: png(mask.astype(np.uint16) * 65535),
    "one bit": lambda mask: png(mask.astype(bool)),
}


@pytest.mark.parametrize("how", OF_ONE)
def test_255_is_the_class_where_there_is_one(here, how):
    """The masks agree with the tags so, and as void they show nothing; the import says it. One bit holds 0 and 1."""
    write(OF_ONE[how], ONE)
    plan = imported()
    assert {n: m.tolist() for n, m in masks_of(plan).items()} == {n: numbers_of(t).tolist() for n, t in ONE.items()}
    if how != "one bit":
        assert "255 is taken as 'cat', the one class: 100% of the 6 looked at agree" in plan.decisions[0]


REFUSED: dict[str, tuple[Callable[[np.ndarray], bytes], str]] = {
    "0 and 255 for two classes": (lambda mask: png((mask > 0) * np.uint8(255)), "they hold 0, 255. Write 0"),
    "numbers ten times too large": (lambda mask: png(mask * 90), "they hold 0, 90, 180"),
    "colours of nobody": (lambda mask: png(np.array([(0, 0, 0), (1, 2, 3), (9, 8, 7)], np.uint8)[mask]), "(1, 2, 3)"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_no_mask_is_taken_where_none_shows_a_class(here, how):
    """Said once with a count and what to write; photographs and tags are imported all the same."""
    masks, said = REFUSED[how]
    write(masks)
    plan = imported(max_bad_fraction=0.0)
    assert [entry.mask_path for entry in plan.manifest.entries] == [None] * 6
    assert {entry.image_id: entry.tags for entry in plan.manifest.entries} == TAGS
    assert len(plan.decisions) == 1
    assert plan.decisions[0].startswith("none of 6 true masks is taken: 6 were looked at")
    assert said in plan.decisions[0]
    assert "1 cat, 2 dog, 255 for void" in plan.decisions[0]


def test_one_odd_mask_changes_no_other(here):
    """Numbers stay numbers: a mask of 0 and 255 among them is background and void, and one of foreign colours is left out."""
    root = write(encode_mask)
    (root / "SegmentationClass/a.png").write_bytes(png(numbers_of(TAGS["a"]) * 255))
    (root / "SegmentationClass/b.png").write_bytes(png(np.full((*SIZE, 3), (1, 2, 3), np.uint8)))
    plan = imported(max_bad_fraction=0.5)
    assert [(item.image_id, item.what) for item in plan.left_out] == [("b", "mask")]
    assert sorted(masks_of(plan)) == ["a", "c", "d", "e", "f"]
    assert set(np.unique(masks_of(plan)["a"])) == {0, 255}


@pytest.mark.parametrize("over", ["upright", "stored"])
@pytest.mark.parametrize("turned", [1, 2, 3, 4, 6])
def test_masks_of_turned_photographs(here, over, turned):
    """Where the size does not say it, the option does, and the import says which way it took; else nothing is asked."""
    root, drawn = write(encode_mask), numbers_of(TAGS["d"])
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.open(root / "JPEGImages/d.png").save(root / "JPEGImages/d.png", exif=exif)
    plan = imported(masks=over)
    asked = turned in (2, 3, 4)
    assert bool(plan.decisions) == asked
    if asked:
        assert "1 true masks fit" in plan.decisions[0]
        assert f"EXIF {turned}: 1" in plan.decisions[0]
        assert f"drawn over the {over} photograph" in plan.decisions[0]
        flips = {2: drawn[:, ::-1], 3: drawn[::-1, ::-1], 4: drawn[::-1]}
        assert np.array_equal(masks_of(plan)["d"], flips[turned] if over == "stored" else drawn)
    assert plan.manifest.source.endswith("--masks stored") == (over == "stored")


def test_tags_from_masks_that_show_no_class_say_so(here):
    """Nothing is tagged then: the masks are the reason, and no option that was not typed."""
    write(OF_ONE["0 and 255"], ONE)
    found = find_voc(Path("voc"), tags_from_masks=True)
    with pytest.raises(DataError) as caught:
        plan_import(found, ImportOptions())
    assert "no mask shows a class: they hold 0, 255, and 255 is void; write 1 cat" in caught.value.problem
    assert "--classes" not in caught.value.problem


def test_masks_of_sbd_are_taken_where_voc_has_none(here):
    """As psa, SEAM and mmsegmentation keep them; VOC's own come first, and the import says how many are of which."""
    root = write(encode_mask)
    (root / "SegmentationClassAug").mkdir()
    for name in "abc":
        (root / f"SegmentationClass/{name}.png").rename(root / f"SegmentationClassAug/{name}.png")
    (root / "SegmentationClassAug/d.png").write_bytes(encode_mask(numbers_of(())))
    plan = imported()
    assert {n: m.tolist() for n, m in masks_of(plan).items()} == {n: numbers_of(t).tolist() for n, t in TAGS.items()}
    assert plan.decisions == ("true masks from SegmentationClass (3), SegmentationClassAug (3)",)


def test_what_an_inspection_tells_the_account(here):
    """Mode, orientation, one colour only, and what the true mask holds; one pixel wide is refused with its size."""
    root = write(encode_mask)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", SIZE, 255).save(root / "JPEGImages/a.png", exif=exif)
    Image.new("RGB", (1, 12)).save(root / "JPEGImages/b.png")
    found = {c.image_id: i for c, i in zip(*inspected(), strict=True)}
    assert (found["a"].mode, found["a"].orientation, found["a"].flat) == ("L", 6, True)
    assert (found["d"].mode, found["d"].orientation, found["d"].flat) == ("RGB", 1, False)
    assert found["d"].mask_values == {0, 1, 2}
    assert found["b"].reason == "1×12 pixels: too small, a side needs 4"


def inspected() -> tuple[list[Candidate], list[Inspection]]:
    batch = find_voc(Path("voc"))
    masks = look_at(batch.candidates, batch.mask_values, batch.names)
    return list(batch.candidates), inspect_all(batch.candidates, None, masks=masks)
