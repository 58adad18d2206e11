"""What the annotations of a COCO file are: objects, boxes or crowds."""

import pytest

from sources._coco_objects import is_drawn, polygons_of, rectangles, without_false_crowds

NAMES = {1: "cat", 2: "dog"}
SQUARE = [0, 0, 4, 0, 4, 4, 0, 4]


def marks(*pairs: tuple[int, object], **more: object) -> list[dict[str, object]]:
    return [{"category_id": category, "iscrowd": crowd, **more} for category, crowd in pairs]


CROWDS = {
    "one category beside objects": (
        marks((1, 0), (1, 1), (2, 0)),
        "auto",
        [0, 1, 0],
        "annotations with iscrowd 1, void and no tags (if they are objects, type --crowds objects): cat 1",
    ),
    "all of a category": (
        marks((1, 0), (2, 1), (2, 1)),
        "auto",
        [0, 0, 0],
        "taken as objects (no other annotation of the same category): dog 2",
    ),
    "texts of a table": (marks((1, "0"), (1, "1"), (1, None)), "auto", ["0", "1", None], "--crowds objects): cat 1"),
    "of CVAT, beside polygons": (
        marks((1, 0), (1, 1), attributes={"occluded": False}),
        "auto",
        [0, 0],
        "taken as objects (CVAT writes this for masks of its brush): cat 1",
    ),
    "a person says objects": (marks((1, 0), (1, 1)), "objects", [0, 0], "as --crowds says"),
    "a person says void": (marks((2, 1)), "void", [1], "void and no tags (as --crowds says): dog 1"),
}


@pytest.mark.parametrize("case", list(CROWDS))
def test_crowds_that_are_objects(case):
    """A crowd is void; a person's brush is not. The words say which way was taken and for how many."""
    listed, way, expected, words = CROWDS[case]
    taken, decided = without_false_crowds(listed, NAMES, crowds=way)
    assert [a["iscrowd"] for a in taken] == expected
    assert len(decided) == 1
    assert words in decided[0]


def test_without_crowds_there_is_nothing_to_say():
    assert without_false_crowds(marks((1, 0), (2, None)), NAMES) == (marks((1, 0), (2, None)), ())


@pytest.mark.parametrize("segmentation", [[], None, "", float("nan"), [[]], {}, {"size": [4, 4], "counts": []}])
def test_what_is_not_drawn(segmentation):
    """As boxes are written by Roboflow, Label Studio, pylabel."""
    assert not is_drawn({"segmentation": segmentation})
    assert not is_drawn({})


@pytest.mark.parametrize(
    "segmentation", [[SQUARE], SQUARE, [[0, 0], [4, 0], [4, 4], [0, 4]], [[[0, 0], [4, 0], [4, 4], [0, 4]]]]
)
def test_forms_of_one_polygon(segmentation):
    """As VIA writes it without the outer list, and as pairs."""
    assert polygons_of(segmentation) == [SQUARE]


def test_outlines_that_are_boxes():
    """A polygon that is the rectangle of its own box, whatever its first corner: a true mask of it may be a box."""
    box = {"bbox": [0, 0, 4, 4], "segmentation": [SQUARE]}
    assert rectangles([box, {**box, "segmentation": [[4, 4, 4, 0, 0, 0, 0, 4]]}]) == 2
    assert rectangles([box, {**box, "segmentation": [[0, 0, 4, 0, 2, 4, 0, 3]]}]) == 1
    assert rectangles([{"segmentation": [SQUARE]}, {**box, "segmentation": [SQUARE, SQUARE]}]) == 0
