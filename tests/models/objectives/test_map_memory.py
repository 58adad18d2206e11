"""Accumulated maps: what the memory takes, keeps and gives back, and what of it a view shows."""

import cv2
import numpy as np
import pytest
import torch

from labelfactory.learning.augment import choose_crop, cut_map
from models.objectives._map_memory import MapMemory, cut_windows

TWO_OF_THREE = torch.tensor([[0.0, 1, 1], [0.0, 0, 0], [1.0, 0, 0]])
"""Tags of three images: two, none, one."""


def test_the_memory_of_ten_thousand_images_takes_what_the_docstring_says():
    """1.5 tags each and a grid of 32: 2 × 32² bytes a tag; the rest is 8 bytes an image."""
    targets = torch.zeros(10_000, 20)
    targets[:, 3] = 1
    targets[::2, 7] = 1
    memory = MapMemory(targets, grid=32)
    kept = {name: buffer.nbytes for name, buffer in memory.named_buffers()}
    assert kept == {"maps": 2 * 32**2 * 15_000, "first": 80_000}
    assert kept["maps"] == 30_720_000
    assert set(memory.state_dict()) == {"maps"}


def test_the_highest_of_all_epochs_stays_at_each_place():
    """Place by place, for the tags named alone; the other image's map is as it was."""
    memory = MapMemory(TWO_OF_THREE, grid=2)
    memory.accumulate(0, torch.tensor([1]), torch.tensor([[[0.5, 0], [0, 0.25]]]))
    memory.accumulate(0, torch.tensor([0, 1]), torch.tensor([[[0, 0], [1.0, 0]], [[0.25, 0.75], [0, 0]]]))
    assert memory.of_image(0, 2).tolist() == [[[0, 0], [1, 0]], [[0.5, 0.75], [0, 0.25]]]
    assert not memory.of_image(2, 1).any()


def test_a_batch_has_each_map_at_its_class_and_nothing_elsewhere():
    """In any order; an image without tags has zeros."""
    memory = MapMemory(TWO_OF_THREE, grid=2)
    for index, tag, value in ((0, 0, 0.25), (0, 1, 0.5), (2, 0, 0.75)):
        memory.accumulate(index, torch.tensor([tag]), torch.full((1, 2, 2), value))
    batch = memory.of_batch(torch.tensor([2, 1, 0]), TWO_OF_THREE[[2, 1, 0]])
    assert batch.amax(dim=(2, 3)).tolist() == [[0.75, 0, 0], [0, 0, 0], [0, 0.25, 0.5]]
    assert batch.amin(dim=(2, 3)).tolist() == batch.amax(dim=(2, 3)).tolist()


@pytest.mark.parametrize("seed", range(12))
def test_a_view_shows_the_map_where_it_shows_the_photograph(seed):
    """As a map that is cut with the photograph, pixel by pixel: scaled, moved, mirrored, and 0 outside."""
    whole = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (24, 24), dtype=np.uint8), (0, 0), 3)
    crop = choose_crop((60, 80), size=65, long_side=(50, 110), rng=np.random.default_rng(seed))
    wanted = torch.from_numpy(cut_map(whole, crop))[::16, ::16]
    windows = torch.from_numpy(crop.window)[None]
    seen = cut_windows(torch.from_numpy(whole)[None, None] / 255, windows, stride=16, size=(65, 65), cells=(5, 5))[0, 0]
    assert seen.shape == (5, 5)
    torch.testing.assert_close(seen, wanted, atol=0.02, rtol=0)


def test_a_mirrored_view_shows_the_mirror_image():
    """The same window, mirrored: the columns turned round."""
    windows = torch.tensor([[0.1, 0.2, 0.6, 0.5, 0.0], [0.1, 0.2, 0.6, 0.5, 1.0]])
    maps = torch.rand(1, 2, 6, 6, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    straight, mirrored = cut_windows(maps, windows, stride=16, size=(33, 49), cells=(3, 4))
    torch.testing.assert_close(mirrored, straight.flip(2))
    assert not torch.allclose(mirrored, straight)
