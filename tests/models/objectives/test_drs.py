"""DRS: what suppression does to a map."""

import pytest
import torch
from drawn_photographs import views
from hypothesis import given
from hypothesis import strategies as st
from objective_training import architecture, new_objective
from torch import nn

from models.classifier import classifier_from
from models.objectives.drs import Suppression


def test_a_peak_is_clipped_by_hand():
    """A share of one half: 4, 3, 1, −5 become 2, 2, 1, 0; another channel goes by its own maximum."""
    features = torch.tensor([[[[4.0, 3.0, 1.0, -5.0]], [[1.0, 0.2, 0.0, 0.4]]]])
    expected = torch.tensor([[[[2.0, 2.0, 1.0, 0.0]], [[0.5, 0.2, 0.0, 0.4]]]])
    torch.testing.assert_close(Suppression(2, 0.5)(features), expected)


@given(share=st.floats(0.05, 1), factor=st.floats(0.1, 10), seed=st.integers(0, 99))
def test_a_fixed_suppression_keeps_scale_and_order(share, factor, seed):
    """Features that are larger by a factor are so after it; no place overtakes another; what is below the limit stays."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(2, 3, 4, 5, generator=generator)
    suppression = Suppression(3, share)
    out = suppression(features)
    torch.testing.assert_close(suppression(features * factor), out * factor)
    limit = share * features.amax(dim=(2, 3), keepdim=True)
    assert torch.equal(out[features <= limit], features[features <= limit])
    torch.testing.assert_close(out.amax(dim=(2, 3)), limit[:, :, 0, 0])


def test_the_learnt_share_starts_at_about_one_half_and_is_learnt():
    """By the image's own means: a controller that is far up leaves the features, one that is far down leaves nothing."""
    torch.manual_seed(0)
    features = torch.rand(2, 3, 4, 5)
    suppression = Suppression(3, None)
    shares = suppression(features).amax(dim=(2, 3)) / features.amax(dim=(2, 3))
    torch.testing.assert_close(shares, torch.full((2, 3), 0.5), atol=0.05, rtol=0)
    for value, expected in ((100.0, features), (-100.0, torch.zeros_like(features))):
        nn.init.constant_(suppression.controller.weight, value)
        torch.testing.assert_close(suppression(features), expected, atol=1e-4, rtol=0)
    objective = new_objective("drs")
    objective(views([0, 3]))["tags"].backward()
    assert objective.network.suppression.controller.weight.grad.any()


@torch.no_grad()
@pytest.mark.parametrize("control", ["learnt", "fixed"])
def test_the_kept_network_suppresses_too(control):
    """Its features are clipped; a fixed share, which is no weight, is found in the passport."""
    method = {"name": "drs", "control": control, "share": 0.3}
    network = new_objective(method).network.eval()
    rebuilt = classifier_from(architecture(method), network.state_dict())
    image = views([3])["image"]
    features = rebuilt.activation(image)
    torch.testing.assert_close(features, network.activation(image), atol=1e-4, rtol=1e-4)
    free = rebuilt.backbone.head(rebuilt.backbone(image).c5)
    assert float((features.amax() / free.amax()).detach()) < 0.6
