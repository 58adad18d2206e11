import functools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from labelfactory.errors import ParamsError, ShapeError
from labelfactory.settings.registry import choose, method_names
from models.backbones import build_backbone
from models.grids import resample
from models.losses.cross_entropy import cross_entropy
from models.segmenters import Segmenter, predict

torch.set_num_threads(1)

NETS = ["deeplab_v2", "deeplab_v3", "deeplab_v3plus"]
SIZES = {
    "deeplab_v2": {"rates": (1, 2)},
    "deeplab_v3": {"width": 16, "rates": (1, 2)},
    "deeplab_v3plus": {"width": 16, "rates": (1, 2), "skip_width": 8},
}
N = 4


def build(name: str, *, output_stride: int = 16, seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    backbone = build_backbone("tiny", output_stride=output_stride, state=None, pretrained=False)
    net: Segmenter = choose("models.segmenters", {"name": name, **SIZES[name]}).bind("build")(backbone, N)
    return net


@functools.cache
def settled(name: str) -> Segmenter:
    """A net in evaluation mode whose logits differ from place to place."""
    net = build(name)
    head = net.branches if name == "deeplab_v2" else net.classifier
    for weight in head.parameters():
        nn.init.normal_(weight, std=0.5)
    return net.eval()


def images(height: int, width: int, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 7, 7, generator=generator) * 255
    return F.interpolate(coarse, size=(height, width), mode="bilinear")


def test_the_nets_are_those_that_users_type():
    """One file, one net."""
    assert method_names("models.segmenters") == NETS


@settings(deadline=None, max_examples=20)
@given(
    name=st.sampled_from(NETS),
    output_stride=st.sampled_from([8, 16]),
    height=st.integers(17, 80),
    width=st.integers(17, 80),
)
def test_logits_have_the_promised_stride_on_any_size(name: str, output_stride: int, height: int, width: int):
    """v2 and v3 at the backbone's stride, v3+ at 4."""
    net = build(name, output_stride=output_stride).eval()
    assert net.stride == (4 if name == "deeplab_v3plus" else output_stride)
    with torch.no_grad():
        logits = net(images(height, width))
    assert logits.shape == (1, N, -(-height // net.stride), -(-width // net.stride))


@pytest.mark.parametrize("name", NETS)
def test_the_defaults_are_the_papers_and_train_on_one_image(name: str):
    """Batch 1 in training mode, every parameter within reach of the gradient except the unused ImageNet head."""
    backbone = build_backbone("tiny", output_stride=16, state=None, pretrained=False)
    net = choose("models.segmenters", name).bind("build")(backbone, N).train()
    net(images(65, 65)).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    rates = {m.dilation[0] for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and "backbone" not in n}
    assert rates - {1} == ({6, 12, 18, 24} if name == "deeplab_v2" else {6, 12, 18})


def test_deeplab_v2_is_the_sum_of_its_dilated_convolutions():
    """By hand: c5 convolved at each rate, added."""
    net = settled("deeplab_v2")
    x = images(49, 65)
    with torch.no_grad():
        c5 = net.backbone(x).c5
        expected = sum(
            F.conv2d(c5, branch.weight, branch.bias, padding=rate, dilation=rate)
            for branch, rate in zip(net.branches, (1, 2), strict=True)
        )
        torch.testing.assert_close(net(x), expected)


def test_every_net_takes_the_same_two_sizes():
    """So that params.yaml may name any of them beside one width and one list of rates."""
    for name in NETS:
        backbone = build_backbone("tiny", output_stride=16, state=None, pretrained=False)
        net = choose("models.segmenters", {"name": name, "width": 24, "rates": (3, 5)}).bind("build")(backbone, N)
        convolutions = [m for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and "backbone" not in n]
        assert {m.dilation[0] for m in convolutions} == {1, 3, 5}
        assert 24 in {m.out_channels for m in convolutions}
        assert net.eval()(images(33, 33)).shape[1] == N


def test_image_pooling_sees_the_whole_image():
    """A change in one corner reaches the opposite one through v3's pooling, and not at all through v2's small rates."""
    a = images(257, 257)
    b = a.clone()
    b[:, :, :16, :16] = 255 - b[:, :, :16, :16]
    with torch.no_grad():
        far = {n: (settled(n)(a) - settled(n)(b))[:, :, -1, -1].abs().max() for n in ("deeplab_v2", "deeplab_v3")}
    assert far["deeplab_v2"] == 0
    assert far["deeplab_v3"] > 1e-5


def test_the_decoder_sees_what_is_finer_than_c5():
    """Two images that c5 cannot tell apart give different logits in v3+: the skip carries c2."""
    net = build("deeplab_v3plus").eval()
    x = images(65, 65)
    with torch.no_grad():
        plain = net(x)
        nn.init.zeros_(net.skip[1].weight)
        nn.init.zeros_(net.skip[1].bias)
        assert not torch.allclose(net(x), plain)


@settings(deadline=None, max_examples=15)
@given(name=st.sampled_from(NETS), height=st.integers(17, 80), width=st.integers(17, 80))
def test_predictions_are_probabilities_at_full_size(name: str, height: int, width: int):
    """Shape [B, n, H, W], non-negative, summing to 1."""
    result = predict(settled(name), images(height, width, batch=2), scales=[1.0, 0.5], flip=True)
    assert result.shape == (2, N, height, width)
    assert result.min() >= 0
    torch.testing.assert_close(result.sum(dim=1), torch.ones(2, height, width), rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(name=st.sampled_from(NETS), height=st.integers(17, 80), width=st.integers(17, 80), seed=st.integers(0, 99))
def test_a_flipped_image_gives_the_flipped_prediction(name: str, height: int, width: int, seed: int):
    """With flips on, within 1e-3 on probabilities."""
    x = images(height, width, seed=seed)
    straight, mirrored = (predict(settled(name), y, scales=[1.0, 0.75], flip=True) for y in (x, x.flip(3)))
    torch.testing.assert_close(mirrored.flip(3), straight, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", NETS)
def test_a_prediction_does_not_depend_on_its_batch(name: str):
    """Neither through padding nor through batch norm."""
    x = images(50, 70, batch=3)
    together = predict(settled(name), x, scales=[1.0], flip=True)
    for index in range(3):
        alone = predict(settled(name), x[index : index + 1], scales=[1.0], flip=True)
        torch.testing.assert_close(alone[0], together[index], rtol=1e-4, atol=1e-5)


def test_one_scale_without_flip_is_the_net_itself():
    """On an aligned size nothing is resized: the resampled softmax of the logits."""
    net, x = settled("deeplab_v3"), images(65, 49)
    with torch.no_grad():
        full = resample(net(x), stride=16, image_size=(65, 49), size=(65, 49))
        # at every 16th pixel stands a logit as it is
        torch.testing.assert_close(full[:, :, ::16, ::16], net(x), rtol=1e-4, atol=1e-4)
    found = predict(net, x, scales=[1.0], flip=False)
    torch.testing.assert_close(found, full.softmax(dim=1))


@pytest.mark.parametrize("name", NETS)
def test_bfloat16_is_close_to_float32(name: str):
    """Half the bits may move a probability by a few hundredths."""
    x = images(65, 65)
    full = predict(settled(name), x, scales=[1.0], flip=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = predict(settled(name), x, scales=[1.0], flip=True)
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_every_net_learns_a_bright_square(name: str):
    """From random weights, 60 steps: over nine tenths of the pixels right."""
    net = build(name).train()
    x = torch.full((8, 3, 65, 65), 60.0)
    masks = torch.zeros(8, 65, 65, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    for index in range(8):
        top, left = torch.randint(0, 33, (2,), generator=generator).tolist()
        x[index, :, top : top + 32, left : left + 32] = 200
        masks[index, top : top + 32, left : left + 32] = 2
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(60):
        logits = resample(net(x), stride=net.stride, image_size=(65, 65), size=(65, 65))
        optimiser.zero_grad()
        cross_entropy(logits, masks).backward()
        optimiser.step()
    found = predict(net.eval(), x, scales=[1.0], flip=True).argmax(dim=1)
    assert (found == masks).float().mean() > 0.9


def test_mistakes_are_refused():
    """No scale, no rate, no class."""
    with pytest.raises(ShapeError, match="scale"):
        predict(settled("deeplab_v2"), images(33, 33), scales=[], flip=False)
    backbone = build_backbone("tiny", output_stride=16, state=None, pretrained=False)
    for name in NETS:
        with pytest.raises(ParamsError, match="rates"):
            choose("models.segmenters", {"name": name, "rates": ()})
        with pytest.raises(ShapeError, match="class"):
            choose("models.segmenters", name).bind("build")(backbone, 1)
