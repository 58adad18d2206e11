"""What holds for the network of every objective: any batch has a loss, and what is kept can be built again and read out."""

import pickle
from functools import reduce
from operator import add

import pytest
import torch
from drawn_photographs import CLASSES, views
from objective_training import architecture, new_objective, train
from small_training import same

from labelfactory.settings.registry import method_names
from models.cams import multiscale_cams
from models.classifier import classifier_from

every_objective = pytest.mark.parametrize("name", method_names("models.objectives"))


@every_objective
@pytest.mark.parametrize("indices", [[0], [6], [6, 3]], ids=["one", "one without tags", "one of two without tags"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
def test_any_batch_has_a_finite_loss_in_float32_and_a_gradient(name, indices, bf16):
    """A batch of one, an image without tags, mixed precision; the gradient reaches the backbone."""
    objective = new_objective(name).train()
    batch = views(indices, objective.reads)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        terms = objective(batch)
    for term, value in terms.items():
        assert value.shape == (), term
        assert value.dtype == torch.float32, term
    reduce(add, terms.values()).backward()
    gradients = [p.grad for p in objective.network.backbone.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@every_objective
def test_the_network_that_is_kept_is_built_again_and_read_out(tmp_path, name):
    """From passport and weights alone: the same logits and maps; CAMs and the network's own maps in [0, 1] for each tag, also
    where there is none.
    """
    network, _ = train(tmp_path, name)
    rebuilt = classifier_from(architecture(name), network.state_dict())
    image = views([3])["image"][0]
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(image[None]), network(image[None]))
        torch.testing.assert_close(rebuilt.maps(image[None]), network.maps(image[None]), atol=1e-4, rtol=1e-4)
    for method in ("cam", "own_maps"):
        for class_ids in ([0, 1], []):
            tags = [torch.tensor(class_ids, dtype=torch.int64)]
            maps = multiscale_cams(rebuilt, method, [image], class_ids=tags, scales=[1.0, 1.5], flip=True)[0]
            assert maps.shape == (len(class_ids), 9, 9)
            assert maps.isfinite().all()
            assert ((maps >= 0) & (maps <= 1)).all()


@every_objective
def test_the_networks_own_maps_of_a_mirror_image_are_mirrored(name):
    """As its CAMs are, where the network looks straight: its kernels are made symmetric."""
    network = new_objective(name).network.eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(3)) / 2)
        images = views([3, 0])["image"]
        maps = network.maps(images)
        assert maps.shape == (2, len(CLASSES), 3, 3)
        torch.testing.assert_close(network.maps(images.flip(3)), maps.flip(3), atol=1e-4, rtol=1e-4)


@every_objective
def test_it_travels_to_another_process(name):
    """Several devices are a process each: an objective holds no open file and no function without a name."""
    objective = new_objective(name)
    again = pickle.loads(pickle.dumps(objective))
    assert same(again, objective)
