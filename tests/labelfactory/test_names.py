"""File names of image ids, and back."""

from urllib.parse import quote, unquote

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


def test_an_id_that_looks_like_the_name_of_a_longer_one_has_a_name_of_its_own():
    """Whoever names images could otherwise have two with one file."""
    for longer in ("00:::" + "\x80" * 5 + "\u0800" + "\U00010000" * 5 + "00:" + "\x80" * 4 + "\U00010000", "a" * 200):
        name = file_name(longer)
        alike = unquote(name)
        assert alike != longer
        assert file_name(alike) != name
        assert id_of_file_name(name) == name


@pytest.mark.parametrize("name", ["a b", "100%", "é", "a%2fb", ".hidden", "a%"])
def test_a_name_that_is_none_of_ours_stands_for_itself(name):
    """As editors write them."""
    assert id_of_file_name(name) == name
