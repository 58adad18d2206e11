import functools
import hashlib
import http.server
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from labelfactory.errors import MissingError, ParamsError, ShapeError, UserError
from labelfactory.files import temporary_path
from labelfactory.settings.registry import method_names
from models.backbones import Backbone, _weights, build_backbone
from models.backbones._efficientnet_lite import SameConv2d
from models.backbones._resnet import ResNet
from models.backbones._weights import package_weights, resnet_state

torch.set_num_threads(1)

NAMES = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "resnet101", "resnet50", "tiny"]
SMALL = ["efficientnet_lite0", "tiny", "resnet_small"]


def random_net(name: str, output_stride: int, seed: int = 0) -> Backbone:
    """A random net in evaluation mode whose batch norm does something."""
    torch.manual_seed(seed)
    if name == "resnet_small":
        net: Backbone = ResNet((1, 2, 2, 2), output_stride=output_stride)
    else:
        net = build_backbone(name, output_stride=output_stride, state=None, pretrained=False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return net.eval()


@functools.cache
def settled_net(name: str, output_stride: int) -> Backbone:
    """A random net to look at, not to change."""
    return random_net(name, output_stride)


def random_images(height: int, width: int, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, height, width, generator=generator) * 255


def test_the_names_are_those_that_users_type():
    """Shared code must not show up as a backbone."""
    assert method_names("models.backbones") == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_every_feature_has_the_size_that_its_stride_promises(name: str, output_stride: int):
    """A dilation patch that silently does nothing gives another size."""
    net = build_backbone(name, output_stride=output_stride, state=None, pretrained=False).eval()
    height, width = 65, 98
    with torch.no_grad():
        features = net(random_images(height, width))
        head = net.head(features.c5)
    for feature, channels, full in zip(features, net.channels, (4, 8, 16, 32), strict=True):
        stride = min(full, output_stride)
        assert feature.shape == (1, channels, -(-height // stride), -(-width // stride))
    assert head.shape == (1, net.head_channels, *features.c5.shape[2:])


def picked(fine: Tensor, coarse: Tensor, name: str) -> Tensor:
    """The positions of `fine` that a stride of 2, once or twice, would have picked.

    SAME padding picks the odd positions of an even side and the even ones of an odd side; symmetric padding the even.
    """
    same = name.startswith("efficientnet")
    for axis in (2, 3):
        while fine.shape[axis] > coarse.shape[axis]:
            first = 1 if same and fine.shape[axis] % 2 == 0 else 0
            fine = fine.index_select(axis, torch.arange(first, fine.shape[axis], 2))
    return fine


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(
    name=st.sampled_from(SMALL),
    strides=st.sampled_from([(16, 32), (8, 32), (8, 16)]),
    height=st.integers(33, 100),
    width=st.integers(33, 100),
)
def test_dilation_changes_no_value_where_the_stride_would_have_looked(
    name: str, strides: tuple[int, int], height: int, width: int
):
    """The dilated features at the picked positions are the undilated ones, borders included."""
    dilated, plain = (settled_net(name, stride) for stride in strides)
    images = random_images(height, width)
    with torch.no_grad():
        for fine, coarse in zip(dilated(images), plain(images), strict=True):
            torch.testing.assert_close(picked(fine, coarse, name), coarse, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("number", "size"), [(0, 224), (1, 240), (2, 260)])
def test_efficientnet_equals_the_packages_network_at_its_own_size(
    number: int, size: int, capsys: pytest.CaptureFixture[str]
):
    """Same weights, same padding, same order of layers: the same 1,280 channels."""
    reference = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(f"efficientnet-lite{number}")
    capsys.readouterr()
    name = f"efficientnet_lite{number}"
    reference.load_state_dict(package_weights(name))
    reference.eval()
    ours = build_backbone(name, output_stride=32, state=None, pretrained=True).eval()
    images = random_images(size, size, batch=2)
    with torch.no_grad():
        expected = reference.extract_features((images - 127) / 128)
        torch.testing.assert_close(ours.head(ours(images).c5), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1
    assert ours.supervision == ("imagenet-tags",)


def test_random_weights_carry_no_supervision():
    """Only pretrained weights have seen labels."""
    assert random_net("tiny", 16).supervision == ()


@pytest.mark.parametrize(("name", "parameters"), [("resnet50", 25_557_032), ("resnet101", 44_549_160)])
def test_resnets_have_torchvisions_names_and_size(name: str, parameters: int):
    """Counts as torchvision publishes them, classifier of 1,000 classes included; names as in its checkpoints."""
    net = build_backbone(name, output_stride=32, state=None, pretrained=False)
    assert sum(p.numel() for p in net.parameters()) + 2048 * 1000 + 1000 == parameters
    state = net.state_dict()
    for key in ("conv1.weight", "bn1.running_var", "layer1.0.downsample.1.bias", "layer3.5.conv2.weight"):
        assert key in state
    assert state["layer2.0.downsample.0.weight"].shape == (512, 256, 1, 1)
    assert net.get_submodule("layer2.0.conv2").stride == (2, 2), "variant 1.5"


def test_a_torchvision_state_loads_and_its_classifier_is_left_out():
    """Old files also lack num_batches_tracked."""
    state = {k: v for k, v in random_net("resnet50", 32, seed=1).state_dict().items() if "tracked" not in k}
    state |= {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    net = build_backbone("resnet50", output_stride=16, state=state, pretrained=True)
    for key in ("conv1.weight", "layer4.2.bn3.bias"):
        assert torch.equal(net.state_dict()[key], state[key])


@pytest.mark.parametrize("harm", ["missing", "surplus", "shape"])
def test_weights_of_another_network_are_refused(harm: str):
    """The message names the first weight that does not fit."""
    state = dict(random_net("tiny", 16).state_dict())
    key = "blocks.2.first.0.weight"
    if harm == "missing":
        del state[key]
    elif harm == "surplus":
        state["blocks.9.weight"] = state[key]
    else:
        state[key] = state[key][:1]
    with pytest.raises(UserError, match="blocks"):
        build_backbone("tiny", output_stride=16, state=state, pretrained=True)


@pytest.mark.parametrize("name", ["tiny", "resnet50"])
def test_pretrained_without_known_weights_is_an_error(name: str):
    """Random weights must never pass for pretrained ones."""
    with pytest.raises(ParamsError, match=name):
        build_backbone(name, output_stride=16, state=None, pretrained=True)


def test_a_wrong_stride_name_or_image_is_refused():
    """Three mistakes, three errors."""
    with pytest.raises(ParamsError, match="output_stride must be 8, 16 or 32, not 12"):
        build_backbone("tiny", output_stride=12, state=None, pretrained=False)
    with pytest.raises(ParamsError, match="did you mean"):
        build_backbone("tinny", output_stride=16, state=None, pretrained=False)
    with pytest.raises(ShapeError):
        random_net("tiny", 16)(torch.zeros(1, 1, 64, 64))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "tiny", "resnet_small"])
def test_freezing_stops_gradients_and_batch_norm(name: str):
    """Frozen stages get no gradient, later ones do; running statistics stay through a training step."""
    net = random_net(name, 16)
    net.freeze(1)
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items() if "running" in k}
    sum(f.mean() for f in net(random_images(65, 65, batch=2))).backward()
    frozen = {id(p) for m in (*net.stem(), net.stages()[0]) for p in m.parameters()}
    norms = {id(p) for m in net.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    head = {id(p) for p in getattr(net, "top", nn.Identity()).parameters()}
    for p in net.parameters():
        if id(p) in frozen | norms | head:
            assert p.grad is None
        else:
            assert p.grad is not None
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())
    assert net.training
    with pytest.raises(ParamsError):
        net.freeze(99)


def test_frozen_stages_build_no_graph():
    """Not even for images that ask for one: the forward pass of frozen stages keeps nothing."""
    net = random_net("tiny", 16)
    net.freeze(2)
    features = net(random_images(33, 33).requires_grad_())
    assert [f.requires_grad for f in features] == [False, False, True, True]


def test_without_freezing_everything_learns():
    """The counterpart: a training step moves the statistics and reaches the first layer."""
    net = random_net("tiny", 16).train()
    before = net.state_dict()["stem_conv.0.1.running_mean"].clone()
    net(random_images(64, 64, batch=2)).c5.mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert not torch.equal(net.state_dict()["stem_conv.0.1.running_mean"], before)


@pytest.mark.parametrize("name", SMALL)
def test_channels_last_and_bfloat16_agree_with_float32(name: str):
    """The two speed settings may cost rounding, nothing else."""
    net = random_net(name, 16)
    images = random_images(65, 97)
    with torch.no_grad():
        plain = net(images).c5
        last = net.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last)).c5
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = net(images).c5
    torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-3)
    assert (half.float() - plain).norm() < 0.1 * plain.norm()


@pytest.fixture
def weights_file(tmp_path: Path) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    torch.save({"conv1.weight": torch.arange(6.0)}, buffer)
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


@pytest.fixture
def server(weights_file: tuple[bytes, str]) -> Iterator[tuple[str, list[str]]]:
    """A web server on the loopback that gives one file and counts who asks for it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == "/missing.pth":
                self.send_error(404)
                return
            body = weights_file[0]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path == "/broken.pth" else body)

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_address[1]}", asked
        web.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABELFACTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


def test_weights_are_downloaded_once(server: tuple[str, list[str]], weights_file: tuple[bytes, str], cache: Path):
    """The second call reads the cache; progress ends at the file's size."""
    url, asked = server
    seen: list[tuple[int, int | None]] = []
    for _ in range(2):
        state = resnet_state(f"{url}/net.pth", weights_file[1], progress=lambda done, total: seen.append((done, total)))
        assert torch.equal(state["conv1.weight"], torch.arange(6.0))
    assert asked == ["/net.pth"]
    assert seen[-1] == (len(weights_file[0]), len(weights_file[0]))


def test_a_download_with_another_digest_is_refused_and_not_kept(server: tuple[str, list[str]], cache: Path):
    """The check stands before the file is opened."""
    with pytest.raises(UserError, match="SHA-256"):
        resnet_state(f"{server[0]}/net.pth", "0" * 64)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("path", ["/missing.pth", "/broken.pth"])
def test_a_failed_download_leaves_nothing(
    path: str, server: tuple[str, list[str]], weights_file: tuple[bytes, str], cache: Path
):
    """A missing page and a broken connection give one clear error and no half file."""
    with pytest.raises(MissingError, match="cannot download"):
        resnet_state(server[0] + path, weights_file[1])
    assert list(cache.iterdir()) == []


def test_weights_on_disk_are_checked_before_they_are_opened(tmp_path: Path, weights_file: tuple[bytes, str]):
    """A right file loads; a missing one, a changed one and one that is no state dict do not."""
    path = tmp_path / "net.pth"
    path.write_bytes(weights_file[0])
    assert list(resnet_state(str(path), weights_file[1].upper())) == ["conv1.weight"]
    with pytest.raises(MissingError):
        resnet_state(str(tmp_path / "none.pth"), weights_file[1])
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="SHA-256"):
        resnet_state(str(path), weights_file[1])
    with pytest.raises(UserError, match="cannot be read"):
        resnet_state(str(path), hashlib.sha256(b"not weights").hexdigest())


def test_no_link_under_the_name_of_a_download_is_followed(
    server: tuple[str, list[str]], weights_file: tuple[bytes, str], cache: Path, tmp_path: Path
):
    """Played: another user of a shared cache puts a link to this user's file where the half download is expected."""
    cache.mkdir()
    (tmp_path / "thesis.txt").write_text("mine")
    for name in (f"{weights_file[1]}.{os.getpid()}.partial", temporary_path(cache / f"{weights_file[1]}.pth").name):
        (cache / name).symlink_to(tmp_path / "thesis.txt")
    assert resnet_state(f"{server[0]}/net.pth", weights_file[1])
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert (cache / f"{weights_file[1]}.pth").read_bytes() == weights_file[0]


def test_the_bytes_that_were_digested_are_those_that_are_loaded(
    tmp_path: Path, weights_file: tuple[bytes, str], monkeypatch: pytest.MonkeyPatch
):
    """Played: another user of a shared cache exchanges the file whenever somebody has looked at it."""
    path = tmp_path / "net.pth"
    path.write_bytes(weights_file[0])
    others = io.BytesIO()
    torch.save({"conv1.weight": torch.zeros(6)}, others)

    def looked_at(file: Path) -> str:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        file.write_bytes(others.getvalue())
        return digest

    monkeypatch.setattr(_weights, "digest_file", looked_at)
    with pytest.raises(UserError, match="SHA-256"):
        resnet_state(str(path), weights_file[1])


@pytest.mark.slow
def test_a_side_left_open_stays_simple():
    """Exported with an open height, each layer's height is a multiple of cells plus one, and its padding a number.

    As quotients of quotients they took minutes to export (`labelfactory package`).
    """
    kernels = (3, 3, 5, 3, 5)
    net = nn.Sequential(*[SameConv2d(1, 1, k, stride=2, dilation=1, groups=1) for k in kernels]).eval()
    cells = torch.export.Dim("cells", min=1, max=500)
    shapes = {"input": {2: 32 * cells + 1}}
    graph = torch.export.export(net, (torch.zeros(1, 1, 97, 129),), dynamic_shapes=shapes).graph
    layers = [node for node in graph.nodes if node.target is torch.ops.aten.conv2d.default]
    (symbol,) = layers[-1].meta["val"].shape[2].node.expr.free_symbols
    heights = [node.meta["val"].shape[2].node.expr - 1 for node in layers]
    assert heights == [factor * symbol for factor in (16, 8, 4, 2, 1)]
    padded = [node.args[4][0] for node in layers if len(node.args) > 4]
    paddings = [int(str(p if isinstance(p, int) else p.meta["val"])) for p in padded]
    assert paddings == [k // 2 for k in kernels][-len(paddings) :]
