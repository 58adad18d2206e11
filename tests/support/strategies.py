"""Hypothesis strategies that several tests share."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from labelfactory.schema import VOID

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
json_mappings = st.dictionaries(st.text(max_size=6), json_values, max_size=5)

shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def arrays(dtype: str) -> st.SearchStrategy[np.ndarray]:
    """Arrays of a dtype and any small shape, empty ones, NaN and infinities included."""
    return npst.arrays(np.dtype(dtype), shapes)


def masks(n_classes: int, *, void: bool = True, min_side: int = 1, max_side: int = 6) -> st.SearchStrategy[np.ndarray]:
    """[H, W] uint8 masks of class ids 0 … n_classes − 1, with void unless told otherwise."""
    values = st.integers(0, n_classes - 1)
    sizes = npst.array_shapes(min_dims=2, max_dims=2, min_side=min_side, max_side=max_side)
    return npst.arrays(np.uint8, sizes, elements=values | st.just(VOID) if void else values)


@st.composite
def labelled_pairs(draw: st.DrawFn, n_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A truth and a prediction of one size, both with void."""
    truth = draw(masks(n_classes))
    values = st.integers(0, n_classes - 1) | st.just(VOID)
    return truth, draw(npst.arrays(np.uint8, truth.shape, elements=values))
