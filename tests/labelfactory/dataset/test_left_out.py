"""What an import left out, on the disk."""

import pytest

from labelfactory.dataset.left_out import LeftOut, read_left_out, write_left_out
from labelfactory.errors import DataError

ITEMS = (
    LeftOut("a", "t.csv, row 2", "photos/a.jpg", "the file is empty"),
    LeftOut("été", "", "photos/b.jpg", "the mask is empty", "mask"),
)


def test_what_is_written_is_read(tmp_path):
    """In order; nothing left out leaves no file."""
    path = tmp_path / "import" / "left_out.json"
    assert read_left_out(path) == ()
    write_left_out(ITEMS, path)
    assert read_left_out(path) == ITEMS
    write_left_out([], path)
    assert not path.exists()


def test_a_line_names_each_thing_once():
    """Row, file and reason; a file that the row's place names already is not repeated."""
    assert ITEMS[0].line == "t.csv, row 2: photos/a.jpg: the file is empty"
    assert ITEMS[1].line == "photos/b.jpg: the mask is empty"
    assert LeftOut("a", "a.png", "a.png", "bad").line == "a.png: bad"


@pytest.mark.parametrize("text", ["{", "[1]", '[{"x": 1}]'])
def test_a_damaged_file_says_what_to_type(tmp_path, text):
    """Not JSON, or JSON of another kind."""
    path = tmp_path / "left_out.json"
    path.write_text(text)
    with pytest.raises(DataError, match="damaged") as caught:
        read_left_out(path)
    assert "import the photographs again" in caught.value.remedy
