"""Laws that hold for all CAM methods, and what is around them: scales, mirror images, sizes."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from noise_cams import EVERY, METHODS, C, cams, classifier, features, photograph
from torch import Tensor, nn

from labelfactory.errors import ParamsError, ShapeError
from labelfactory.settings.registry import choose, load_method, method_names
from models.backbones import build_backbone
from models.cams import _multiscale, multiscale_cams, network_sizes
from models.classifier import Classifier, classifier_from
from models.grids import aligned_size, grid_size, resample
from models.losses.multilabel_soft_margin import multilabel_soft_margin

torch.set_num_threads(1)


def test_the_methods_are_those_that_users_type():
    """One file, one method."""
    assert method_names("models.cams") == sorted([*EVERY, "own_maps"])


LOOSE = {"adv_cam": 0.02, "region_cam": 0.002}
"""`region_cam` stretches a stage's map up to a thousandfold; in `adv_cam` a place can be just above its threshold, or below, and
the next step then is another one: one photograph in some dozens differs by more than 1e-5."""


def at_most_a_hundredfold(maps: torch.Tensor) -> torch.Tensor:
    """Maps over their maximum; where a class has next to no evidence, that would magnify rounding."""
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=0.01)


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    seed=st.integers(0, 999),
    method=st.sampled_from(EVERY),
)
def test_a_flipped_image_gives_the_flipped_cam(height: int, width: int, seed: int, method: str):
    """Scales and flips on; maps in [0, 1] agree within 1e-3 for any size, but for what magnifies rounding (`LOOSE`)."""
    image = photograph(height, width, seed)
    with patch.object(_multiscale, "_normalise", at_most_a_hundredfold):
        straight, mirrored = (cams([x], [[0, 1, 2, 3]], method)[0] for x in (image, image.flip(2)))
    torch.testing.assert_close(mirrored.flip(2), straight, rtol=0, atol=LOOSE.get(method, 1e-3))


@settings(deadline=None, max_examples=20)
@given(height=st.integers(17, 90), width=st.integers(17, 90), k=st.integers(0, 3))
def test_a_map_is_normalised_and_spans_the_image(height: int, width: int, k: int):
    """Shape ceil(H / 4) × ceil(W / 4), float32, in [0, 1], and the maximum is 1 where there is evidence."""
    (result,) = cams([photograph(height, width)], [[k]])
    assert result.shape == (1, -(-height // 4), -(-width // 4))
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1
    assert result.max() > 0.99 or result.max() == 0


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_grad_cam_is_cam_behind_global_average_pooling(seed: int):
    """Equal up to rounding, not only up to a factor, so that they also agree over several scales."""
    ids = torch.tensor([2, 0])
    cam, grad = (load_method("models.cams", m).activation_maps(classifier(), features(seed), ids) for m in METHODS[:2])
    torch.testing.assert_close(grad, cam, rtol=1e-4, atol=1e-4)
    assert cam.max() > 0


def test_grad_cam_is_cam_over_scales_and_flips():
    """The same on whole images."""
    image = photograph(70, 53)
    torch.testing.assert_close(
        cams([image], [[0, 1, 2, 3]], "grad_cam"), cams([image], [[0, 1, 2, 3]], "cam"), rtol=1e-3, atol=1e-4
    )


def test_cam_pools_to_the_logit():
    """Without the ReLU, a CAM's mean is the class's logit."""
    a = features()
    net = classifier()
    with torch.no_grad():
        plain = torch.einsum("cd,bdhw->bchw", net.weight, a)
        torch.testing.assert_close(plain.mean(dim=(2, 3)), net.logits(a), rtol=1e-4, atol=1e-5)
        found = load_method("models.cams", "cam").activation_maps(net, a, torch.arange(C))
    torch.testing.assert_close(found, plain.clamp(min=0))


def test_a_classifier_knows_the_mean_of_its_features():
    """It follows the batches that it learns from, and no others."""
    net = Classifier(build_backbone("tiny", output_stride=16, state=None, pretrained=False), C)
    images = torch.stack([photograph(64, 64, seed) for seed in (1, 2)])
    net.eval()(images)
    assert not net.feature_mean.any()
    net.train()
    for _ in range(150):
        net(images)
    expected = net.activation(images).mean(dim=(0, 2, 3)).detach()
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(net.feature_mean, expected, rtol=1e-2, atol=1e-4)
    assert "feature_mean" in net.state_dict()


def test_a_classifier_of_before_says_that_pcm_needs_a_newer_one():
    """Its other CAMs are as they were."""
    net = classifier()
    state = {name: value for name, value in net.state_dict().items() if name != "feature_mean"}
    architecture = {"backbone": "tiny", "output_stride": 16, "folded": False, "classes": C}
    old, image, ids = classifier_from(architecture, state), photograph(64, 48), torch.arange(C)
    with pytest.raises(ParamsError, match="this older classifier has none"):
        multiscale_cams(old, "pcm", image[None], class_ids=[ids], scales=[1.0], flip=False)
    (again,) = multiscale_cams(old, "cam", image[None], class_ids=[ids], scales=[1.0], flip=False)
    (before,) = multiscale_cams(net, "cam", image[None], class_ids=[ids], scales=[1.0], flip=False)
    torch.testing.assert_close(again, before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", EVERY)
def test_a_map_has_the_same_bits_twice(method: str):
    """And no value below 0, none that is not a number."""
    image, every = photograph(70, 53, 7), [[0, 1, 2, 3]]
    (once,), (twice,) = cams([image], every, method), cams([image], every, method)
    assert torch.equal(once, twice)
    assert once.min() >= 0
    assert once.isfinite().all()


@pytest.mark.parametrize("method", [method for method in METHODS if method != "soft_proposal"])
def test_methods_weigh_all_scales_alike(method: str):
    """The same features on a grid twice as fine give maps of the same height; a gradient's 1 / (h × w) would not."""
    coarse = features(5)
    fine = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    small, large = (
        choose("models.cams", method).bind("activation_maps")(classifier(), x, torch.arange(C)) for x in (coarse, fine)
    )
    torch.testing.assert_close(large[:, :, ::2, ::2], small, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", EVERY)
def test_channel_k_belongs_to_class_ids_k(method: str):
    """Any order, repeats included, gives the channels in that order; where tags do not compete, any part of them."""
    image, order = photograph(60, 44), [3, 0, 3, 2, 1] if method in ("pcm", "pmm") else [3, 0, 3]
    (full,) = cams([image], [[0, 1, 2, 3]], method)
    (some,) = cams([image], [order], method)
    torch.testing.assert_close(some, full[order], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(full[3], full[0], atol=1e-2)


@pytest.mark.parametrize("method", EVERY)
def test_a_map_does_not_depend_on_its_batch(method: str):
    """Images of different sizes that share network sizes, with different classes, one without any."""
    images = [photograph(66, 81, 1), photograph(64, 82, 2), photograph(66, 80, 3)]
    ids: list[list[int]] = [[1, 2], [], [0]]
    together = cams(images, ids, method)
    for image, classes, result in zip(images, ids, together, strict=True):
        assert result.shape == (len(classes), *grid_size(*image.shape[1:], stride=4))
        torch.testing.assert_close(result, cams([image], [classes], method)[0], rtol=1e-4, atol=1e-5)


def test_a_photograph_without_tags_has_no_map():
    """But a row, of its grid's size."""
    image = photograph(65, 81)
    none = torch.tensor([], dtype=torch.int64)
    (maps,) = multiscale_cams(classifier(), "cam", image[None], class_ids=[none], scales=[1.0], flip=False)
    assert maps.shape == (0, 17, 21)


@pytest.mark.parametrize("method", EVERY)
def test_bfloat16_is_close_to_float32(method: str):
    """Half the bits may move a map in [0, 1] by a few hundredths, also under inference mode."""
    image = photograph(75, 75)
    full = cams([image], [[0, 1, 2, 3]], method)[0]
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        half = cams([image], [[0, 1, 2, 3]], method)[0]
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < (0.05 if method == "lpcam" else 0.02)  # a place may fall to another cluster


def test_a_uint8_image_gives_the_maps_of_the_same_floats():
    """Photographs are read as bytes."""
    image = photograph(50, 70).to(torch.uint8)
    torch.testing.assert_close(cams([image], [[1]])[0], cams([image.float()], [[1]])[0], rtol=0, atol=0)


def test_a_read_out_of_the_photograph_costs_no_pass_of_its_own(monkeypatch):
    """`own_maps` runs the network itself: once a scale, the image and its mirror image together."""
    passes = []
    plain = Classifier.activation
    monkeypatch.setattr(Classifier, "activation", lambda net, views: passes.append(len(views)) or plain(net, views))
    cams([photograph(50, 70)], [[1]], "own_maps")
    assert passes == [2, 2]


def test_evidence_is_found_where_it_is():
    """A classifier that sees brightness lights up the bright square, at its place, to within a cell."""
    net = Classifier(Brightness(), 1)
    nn.init.ones_(net.classifier.weight)
    for top, left in [(0, 0), (48, 100), (20, 60)]:
        image = torch.zeros(3, 80, 132)
        image[:, top : top + 32, left : left + 32] = 255
        ids = [torch.tensor([0])]
        (result,) = multiscale_cams(net, "cam", [image], class_ids=ids, scales=[1.0, 2.0], flip=True)
        rows, columns = (result[0].sum(dim=d) for d in (1, 0))
        for mass, start in ((rows, top), (columns, left)):
            centre = float((mass * (torch.arange(len(mass)) + 0.5)).sum() / mass.sum()) * 4
            assert abs(centre - (start + 16)) < 4


class Brightness(nn.Module):
    """A stand-in backbone: samples the image at every 16th pixel."""

    head_channels, output_stride = 1, 16

    def forward(self, images: Tensor):
        return type("Features", (), {"c5": images[:, :1, ::16, ::16]})

    def head(self, c5: Tensor) -> Tensor:
        return c5


def test_mistakes_are_refused():
    """Wrong shapes, unequal sizes, missing lists, unknown methods."""
    good = photograph(64, 64)
    with pytest.raises(ShapeError, match=r"\[3, H, W\]"):
        cams([good.permute(1, 2, 0)], [[0]])
    with pytest.raises(ShapeError, match="share a batch"):
        cams([good, photograph(64, 128)], [[0], [0]])
    with pytest.raises(ShapeError, match="1 images, 0 lists"):
        cams([good], [])
    with pytest.raises(ParamsError, match="grad_cam"):
        cams([good], [[0]], "gradcam")


@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    stride=st.sampled_from([8, 16, 32]),
    scale=st.floats(0.1, 4),
)
def test_an_aligned_size_is_near_and_of_its_form(height: int, width: int, stride: int, scale: float):
    """k × stride + 1, at most half a stride away, never below one cell more than one pixel."""
    for side, aligned in zip((height, width), aligned_size(height, width, stride=stride, scale=scale), strict=True):
        assert (aligned - 1) % stride == 0
        assert aligned > stride
        assert abs(aligned - side * scale) <= stride / 2 + 1e-6 or aligned == stride + 1


def test_network_sizes_group_images():
    """VOC's two most common sizes stay apart, near sizes come together."""
    assert network_sizes(375, 500, scales=[1.0, 0.5], stride=16) == ((369, 497), (193, 257))
    assert network_sizes(374, 500, scales=[1.0], stride=16) == network_sizes(375, 500, scales=[1.0], stride=16)


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(2, 9), columns=st.integers(2, 9), out_rows=st.integers(2, 60), out_columns=st.integers(2, 60))
def test_resampling_keeps_a_plane_a_plane(rows: int, columns: int, out_rows: int, out_columns: int):
    """A map that holds its own pixel coordinates gives, inside, the coordinates of the new cells' centres."""
    stride, size = 16, ((rows - 1) * 16 + 1, (columns - 1) * 16 + 1)
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")).float() * stride
    found = resample(grid[None], stride=stride, image_size=size, size=(out_rows, out_columns))[0]
    for axis, (pixels, out) in enumerate(zip(size, (out_rows, out_columns), strict=True)):
        centres = ((torch.arange(out) + 0.5) * pixels / out - 0.5).clamp(0, pixels - 1)
        line = found[axis].select(1 - axis, 0)
        torch.testing.assert_close(line, centres, rtol=1e-4, atol=1e-2)


@settings(deadline=None)
@given(seed=st.integers(0, 999), shift=st.integers(1, 4))
def test_the_soft_margin_loss_is_the_mean_binary_cross_entropy(seed: int, shift: int):
    """Against the definition; an image without tags counts like any other."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, C, generator=generator) * shift
    tags = (torch.rand(3, C, generator=generator) < 0.4).float()
    tags[0] = 0
    p = torch.sigmoid(logits.double())
    expected = -(tags * p.log() + (1 - tags) * (1 - p).log()).mean()
    assume(bool(expected.isfinite()))
    torch.testing.assert_close(multilabel_soft_margin(logits, tags).double(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ShapeError):
        multilabel_soft_margin(logits, tags[:2])
