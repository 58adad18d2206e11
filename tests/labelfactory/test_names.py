"""File names of image ids, and back."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.names import LONGEST, file_name, id_of_file_name


@given(st.text(min_size=1, max_size=40))
def test_an_id_comes_back_from_its_file_name(image_id):
    """Any characters; a name that is too long holds a digest, and stands for itself."""
    name = file_name(image_id)
    assert name.isascii()
    assert "/" not in name
    short = (
        len(quote(image_id, safe="", errors="surrogatepass")) <= LONGEST - 2
    )  # a dot at the front is three characters
    assert id_of_file_name(name) in ([image_id] if short else [image_id, name])


@pytest.mark.parametrize("name", ["a b", "100%", "é", "a%2fb", ".hidden", "a%"])
def test_a_name_that_is_none_of_ours_stands_for_itself(name):
    """As editors write them."""
    assert id_of_file_name(name) == name
