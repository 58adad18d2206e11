"""Between `prepare` and the masks of a run, pages show no row under classes or over a photograph that it was not made of."""

from dataclasses import replace

import numpy as np
import pytest
from made_line import SIZE, MadeLine
from visiting import leave_scores, project, read, visit

from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.errors import MissingError
from labelfactory.schema import Classes
from lineage.pixel import audit_pixel
from lineage.record import record
from pages.image_query import ImageQuery

pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")  # Starlette's own, about its test client
LAYERS = ("seed", "mask", "cam-1", "walk-1", "thumb")


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """Four images that went through the line, recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    made = MadeLine()
    leave_scores({"image-3": np.ones(SIZE, np.uint8)})
    record()
    return made


def other_classes() -> None:
    """The data set with its classes in another order, as `prepare` leaves it of an import that replaces one."""
    write_dataset(replace(read_dataset(), classes=Classes(("dog", "cat"))))


def other_photograph(image_id: str) -> None:
    """Other bytes under the id: those of image-0."""
    dataset = read_dataset()
    first = dataset.records[0]
    records = [
        replace(r, path=first.path, sha256=first.sha256) if r.image_id == image_id else r for r in dataset.records
    ]
    write_dataset(replace(dataset, records=tuple(records)))


def other_tags(image_id: str) -> None:
    """Another tag alone."""
    dataset = read_dataset()
    records = [replace(r, tags=("dog",)) if r.image_id == image_id else r for r in dataset.records]
    assert tuple(records) != dataset.records
    write_dataset(replace(dataset, records=tuple(records)))


def test_no_layer_is_shown_under_other_names(line):
    """Every mask would show cats as dogs; so would scores, prediction and true mask. The page says why they are missing."""
    with visit(project()) as client:
        for name in LAYERS:
            assert client.get(f"/picture/{name}?id=image-3").status_code == 200, name
        assert client.get("/picture/truth?id=image-3").status_code == 200
    other_classes()
    looked = project()
    with visit(looked) as client:
        page = read(client, "/image?id=image-3")
        assert "The one on disk is of earlier classes" in page.words
        assert "other classes" in page.words
        assert "scored before" in page.words
        assert not [a for a in page.all("img") if "data-layer" in a]
        for name in (*LAYERS, "prediction", "truth"):
            assert client.get(f"/picture/{name}?id=image-3").status_code in (404, 409), name
        assert "earlier classes" in client.get("/picture/mask?id=image-3").text
        assert "4 masks on disk belong to an earlier photograph" in read(client, "/images").words
    assert looked.images().find(ImageQuery(state="masks")).total == 0
    assert looked.images().find(ImageQuery(state="none")).total == 4


def test_no_layer_is_laid_over_another_photograph(line):
    """Of that image alone; the others are shown as before."""
    other_photograph("image-3")
    looked = project()
    with visit(looked) as client:
        page = read(client, "/image?id=image-3")
        assert "The one on disk is of an earlier photograph" in page.words
        assert [a["data-layer"] for a in page.all("img") if "data-layer" in a] == ["prediction"]
        for name in LAYERS:
            assert client.get(f"/picture/{name}?id=image-3").status_code == 404, name
        assert client.get("/picture/mask?id=image-2").status_code == 200
        assert "1 mask on disk belongs to an earlier photograph" in read(client, "/images").words
    row = looked.row("image-3")
    assert (row["digest"], row["source"], row["agreement"], row["digest_cams"]) == (None,) * 4
    assert {row["image_id"] for row in looked.images().find(ImageQuery(state="masks")).rows} == {
        "image-0",
        "image-1",
        "image-2",
    }


@pytest.mark.parametrize("change", [other_classes, lambda: other_photograph("image-1"), lambda: other_tags("image-1")])
def test_no_pixel_is_explained_by_a_mask_of_before(line, change):
    """`audit pixel` and the page: the mask, and the scores behind it."""
    assert audit_pixel("image-1", 1, 1)["steps"]
    change()
    with pytest.raises(
        MissingError, match=r"image-1: its mask on disk is of (an earlier photograph|earlier classes|earlier tags)"
    ) as caught:
        audit_pixel("image-1", 1, 1)
    assert "labelfactory run" in caught.value.remedy
    with visit(project()) as client:
        assert read(client, "/image/pixel?id=image-1&x=1&y=1", 404).words


def test_a_prediction_is_not_kept_under_other_names(line, monkeypatch):
    """Classes change while the pages are open, the model does not."""
    looked = project()
    monkeypatch.setattr("pages.project.STAMP_SECONDS", 0.0)
    asked = []
    monkeypatch.setattr(
        looked.model_on_disk,
        "predict",
        lambda record, classes: asked.append(tuple(classes)) or np.zeros(SIZE, np.uint8),
    )
    looked.picture("prediction", looked.row("image-3"))
    other_classes()
    looked._read(())
    looked.picture("prediction", looked.row("image-3"))
    assert asked == [("cat", "dog"), ("dog", "cat")]
