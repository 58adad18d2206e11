"""Grids: sizes on which a network's grid lies straight, and the way from it to the image and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.grids import aligned_size, enlarge, grid_size, resample, resize_images, sample_at_cells

STRIDES = st.sampled_from([4, 8, 16])
CELLS = st.integers(2, 5)
SMALL = settings(deadline=None, max_examples=40)


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), stride=STRIDES, scale=st.floats(0.25, 2))
def test_an_aligned_size_is_the_nearest_of_its_form(height, width, stride, scale):
    """k × stride + 1 with k at least 1, no further than half a stride away."""
    for side, aligned in zip((height, width), aligned_size(height, width, stride=stride, scale=scale), strict=True):
        assert aligned % stride == 1
        assert aligned > stride
        assert abs(aligned - side * scale) <= stride / 2 + 1e-6 or aligned == stride + 1
    assert aligned_size(*aligned_size(height, width, stride=stride), stride=stride) == aligned_size(
        height, width, stride=stride
    )


@given(side=st.integers(1, 500), stride=STRIDES)
def test_a_grid_covers_the_image(side, stride):
    """The last cell is not empty."""
    cells, _ = grid_size(side, 1, stride=stride)
    assert (cells - 1) * stride < side <= cells * stride


def network_size(cells: tuple[int, int], stride: int) -> tuple[int, int]:
    """(k × stride + 1): cell i looks at pixel i × stride, the last one at the last pixel."""
    return (cells[0] - 1) * stride + 1, (cells[1] - 1) * stride + 1


@SMALL
@given(cells=st.tuples(CELLS, CELLS), stride=STRIDES, size=st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_a_flat_field_stays_flat(cells, stride, size):
    """Both ways."""
    maps = torch.full((2, 3, *cells), 0.7)
    image_size = network_size(cells, stride)
    there = resample(maps, stride=stride, image_size=image_size, size=size)
    assert there.shape == (2, 3, *size)
    assert torch.allclose(there, torch.tensor(0.7))
    back = sample_at_cells(there, stride=stride, image_size=image_size, cells=cells)
    assert back.shape == maps.shape
    assert torch.allclose(back, maps)


@SMALL
@given(
    cells=st.tuples(CELLS, CELLS),
    stride=STRIDES,
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    axis=st.sampled_from([-1, -2]),
    seed=st.integers(0, 99),
)
def test_both_ways_commute_with_the_mirror(cells, stride, size, axis, seed):
    """The map of the mirrored image is the mirrored map: a grid that leans breaks this."""
    image_size = network_size(cells, stride)
    maps = torch.rand(1, 2, *cells, generator=torch.Generator().manual_seed(seed))
    there = resample(maps, stride=stride, image_size=image_size, size=size)
    mirrored = resample(maps.flip(axis), stride=stride, image_size=image_size, size=size)
    assert torch.allclose(mirrored, there.flip(axis), atol=1e-5)
    wide = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(seed))
    back = sample_at_cells(wide, stride=stride, image_size=image_size, cells=cells)
    assert torch.allclose(
        sample_at_cells(wide.flip(axis), stride=stride, image_size=image_size, cells=cells), back.flip(axis), atol=1e-5
    )


@SMALL
@given(cells=st.tuples(CELLS, CELLS), stride=STRIDES, slope=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_a_ramp_is_reproduced_and_comes_back(cells, stride, slope):
    """A plane over the image's pixels, read at pixel i × stride: every pixel gets its own height, each cell its own."""
    image_size = network_size(cells, stride)

    def plane(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return (slope[0] * rows[:, None] + slope[1] * columns)[None, None]

    pixels = [torch.arange(side, dtype=torch.float32) for side in image_size]
    maps = plane(torch.arange(cells[0]) * float(stride), torch.arange(cells[1]) * float(stride))
    there = resample(maps, stride=stride, image_size=image_size, size=image_size)
    assert torch.allclose(there, plane(*pixels), atol=1e-3)
    back = sample_at_cells(there, stride=stride, image_size=image_size, cells=cells)
    assert torch.allclose(back, maps, atol=1e-3)


def test_a_ramp_on_a_coarser_grid_by_hand():
    """Nine pixels, cells at 0, 4, 8; three cells of the stored map are centred at pixels 1, 4 and 7."""
    maps = torch.tensor([0.0, 4.0, 8.0]).view(1, 1, 1, 3)
    made = resample(maps, stride=4, image_size=(1, 9), size=(1, 3))
    assert made.flatten().tolist() == pytest.approx([1.0, 4.0, 7.0], abs=1e-6)
    back = sample_at_cells(made, stride=4, image_size=(1, 9), cells=(1, 3))
    assert back.flatten().tolist() == pytest.approx([1.0, 4.0, 7.0], abs=1e-5)  # the border's value goes on


def test_types_are_kept_or_widened():
    """A resampled map has its own dtype; what is sampled at cells and enlarged is float32."""
    maps = torch.rand(1, 1, 3, 3).to(torch.bfloat16)
    assert resample(maps, stride=4, image_size=(9, 9), size=(5, 5)).dtype == torch.bfloat16
    assert sample_at_cells(maps, stride=4, image_size=(9, 9), cells=(3, 3)).dtype == torch.float32
    assert enlarge(maps, (5, 5)).dtype == torch.float32


def test_images_of_the_size_are_not_touched():
    """Not even copied; others are resized."""
    images = torch.rand(1, 3, 4, 5)
    assert resize_images(images, (4, 5)) is images
    assert resize_images(images, (8, 10)).shape == (1, 3, 8, 10)
