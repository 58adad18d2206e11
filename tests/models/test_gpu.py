"""What a GPU computes is what the CPU computes, and what dense references say. Skipped where torch sees no GPU."""

import copy

import noise_cams
import numpy as np
import pytest
import test_propagation_methods
import test_segmenters
import torch
from small_training import Noise, config, learner
from test_propagation import dense_affinities, dense_walk

from labelfactory.learning.resume import Resume
from labelfactory.learning.training import fit
from models.affinity._pairs import pair_affinities, pair_offsets
from models.backbones import build_backbone
from models.cams import multiscale_cams
from models.losses.affinity import affinity_loss
from models.propagation import chebyshev, exact
from models.propagation._transition import SparseTransition
from models.segmenters import predict

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@pytest.fixture(autouse=True)
def full_float32(monkeypatch):
    """Convolutions without TF32, whose 10 bits are another subject; products of matrices have none."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("walk", [exact.walk, chebyshev.walk])
@pytest.mark.parametrize(("grid", "radius", "steps"), [((47, 63), 5, 256), ((9, 14), 2, 16), ((3, 1), 5, 300)])
def test_the_walk_agrees_with_dense_powers_in_float64(walk, grid, radius, steps):
    offsets = pair_offsets(radius)
    random = np.random.default_rng(radius)
    planes = np.round(random.random((len(offsets), *grid), dtype=np.float32), 1)
    scores = random.random((3, *grid), dtype=np.float32)
    transition = SparseTransition(torch.tensor(planes, device="cuda"), offsets, beta=8.0)
    made = walk(torch.tensor(scores, device="cuda"), transition, steps=steps)
    expected = dense_walk(scores, dense_affinities(planes, offsets, 8.0), steps)
    assert made.device.type == "cuda"
    np.testing.assert_allclose(made.cpu().numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("name", test_propagation_methods.METHODS)
def test_other_walks_are_those_of_the_cpu(name):
    """Whose factors are computed and applied on the GPU."""
    offsets = pair_offsets(5)
    grid = test_propagation_methods.HEIGHT, test_propagation_methods.WIDTH
    planes, scores = torch.rand(len(offsets), *grid), torch.rand(3, *grid)
    expected = test_propagation_methods.walk(name, scores, SparseTransition(planes, offsets))
    made = test_propagation_methods.walk(name, scores.cuda(), SparseTransition(planes.cuda(), offsets))
    assert made.device.type == "cuda"
    torch.testing.assert_close(made.cpu(), expected, rtol=0, atol=1e-4)


def test_twenty_megapixels_are_walked_in_under_4_gib():
    """At stride 4, a plane of affinities after the other; what is counted is the GPU's memory."""
    height, width = 968, 1291
    offsets = pair_offsets(5)
    planes = (torch.rand(height, width, device="cuda") for _ in offsets)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    transition = SparseTransition(planes, offsets, beta=8.0)
    flat = chebyshev.walk(torch.full((3, height, width), 0.5, device="cuda"), transition, steps=256)
    assert torch.cuda.max_memory_allocated() - before < 4 * 2**30
    torch.testing.assert_close(flat, torch.full_like(flat, 0.5), rtol=0, atol=2e-4)


@pytest.mark.parametrize("method", noise_cams.METHODS)
def test_cams_are_those_of_the_cpu(method):
    net = copy.deepcopy(noise_cams.classifier()).cuda()
    images = [noise_cams.photograph(50, 70), noise_cams.photograph(50, 70, seed=1)]
    ids = [torch.tensor([0, 2]), torch.tensor([3])]
    made = multiscale_cams(net, method, images, class_ids=ids, scales=(1.0, 0.5), flip=True)
    expected = noise_cams.cams(images, [i.tolist() for i in ids], method)
    for ours, cpus in zip(made, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), cpus, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", test_segmenters.NETS)
def test_predictions_are_those_of_the_cpu(name):
    net = test_segmenters.settled(name)
    images = test_segmenters.images(64, 81)
    with torch.no_grad():
        expected = predict(net, images, scales=(1.0, 0.75), flip=True)
        made = predict(copy.deepcopy(net).cuda(), images.cuda(), scales=(1.0, 0.75), flip=True)
    torch.testing.assert_close(made.cpu(), expected, rtol=0, atol=1e-3)


def test_the_pair_loss_and_its_gradient_are_those_of_the_cpu():
    random = torch.Generator().manual_seed(0)
    features = torch.rand(2, 16, 21, 30, generator=random)
    labels = torch.randint(0, 3, (2, 21, 30), generator=random).to(torch.uint8)
    labels[:, 4:7] = 255
    found = []
    for device in ("cpu", "cuda"):
        own = features.to(device).clone().requires_grad_()
        loss = affinity_loss(pair_affinities(own, pair_offsets(5)), labels.to(device), pair_offsets(5))
        loss.backward()
        found.append((loss.detach().cpu(), own.grad.cpu()))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_a_training_ends_where_it_ends_on_the_cpu(tmp_path, monkeypatch):
    """Plain layers without dropout, whose draws differ: the same photographs in the same order, the same steps."""
    weights = []
    for device in ("cpu", "cuda"):
        monkeypatch.setenv("LABELFACTORY_DEVICE", device)
        torch.manual_seed(0)
        net = torch.nn.Linear(2, 1)
        resume = Resume(tmp_path / f"{device}.pt", "k")
        trained, _ = fit(learner(net), Noise(8), config(), pretrained=[], title="t", resume=resume)
        weights.append(trained.weight.detach())
    assert weights[1].device.type == "cpu"
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_depthwise_convolutions_take_no_kernel_that_is_compiled_for_each_size(precision):
    """cuDNN compiles those at run time, 2 s for each new size of photograph: it is asked for plain convolutions alone."""
    net = build_backbone("efficientnet_lite0", output_stride=16, state=None, pretrained=False).cuda().eval()
    groups = [layer.groups for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)]
    pixels = torch.rand(1, 3, 273, 289, device="cuda")
    with torch.profiler.profile() as seen, torch.no_grad():
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            net(pixels)
        torch.cuda.synchronize()
    counts = {event.key: event.count for event in seen.key_averages()}
    assert counts["aten::conv2d"] > groups.count(1)
    assert 0 < counts["aten::cudnn_convolution"] <= groups.count(1)
