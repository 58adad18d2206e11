"""CAMs summed over scales of the image and its mirror image.

Source  Ahn & Kwak, CVPR 2018, arXiv:1803.10464, and the authors' code: scales × flip, ReLU, only the tagged classes,
        summed, divided by the class maximum + 1e-5. Deviation: every scale is resized to the nearest k × stride + 1,
        on which the network's grid is aligned and its mirror image falls on the same cells. So nothing is padded:
        a map does not depend on the other images of its batch, and padding does not activate a border.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from labelfactory.errors import ShapeError
from labelfactory.settings.registry import MethodConfig, choose
from models.classifier import Classifier
from models.grids import aligned_size, grid_size, resample, resize_images

EPSILON = 1e-5

ActivationMaps = Callable[[Classifier, Tensor, Tensor], Tensor]


def network_sizes(height: int, width: int, *, scales: Sequence[float], stride: int) -> tuple[tuple[int, int], ...]:
    """The sizes of the network's inputs for an image; images with equal sizes can share a batch."""
    return tuple(aligned_size(height, width, stride=stride, scale=scale) for scale in scales)


def multiscale_cams(
    classifier: Classifier,
    method: MethodConfig | str,
    images: Sequence[Tensor] | Tensor,
    *,
    class_ids: Sequence[Tensor],
    scales: Sequence[float],
    flip: bool,
    stride: int = 4,
) -> list[Tensor]:
    """Compute the CAMs of a batch. The caller decides on evaluation mode, device and autocast.

    Args:
        classifier: in evaluation mode.
        method: of models.cams, with its knobs or by name.
        images: B images [3, H, W], RGB in [0, 255], any dtype; their sizes may differ as far as `network_sizes` agree.
        class_ids: per image [K_i] int64, the classes to map: 0 is the first object class. K_i may be 0.
        scales: of the image.
        flip: also run the mirror image.
        stride: of the maps.

    Returns:
        Per image [K_i, ceil(H / stride), ceil(W / stride)] float32 in [0, 1]; channel k belongs to class_ids[k].

    Raises:
        ShapeError: lengths disagree, no scale, an image is not [3, H, W], or sizes cannot share a batch.
        ParamsError: no such method.
    """
    chosen = choose("models.cams", method)
    of_photograph = hasattr(chosen.module, "image_maps")  # it runs the network itself, perhaps several times
    read_out: ActivationMaps = chosen.bind("image_maps" if of_photograph else "activation_maps")
    net_stride = classifier.backbone.output_stride
    sizes = _shared_sizes(images, class_ids, scales, net_stride)
    device = classifier.weight.device
    tags = [ids.to(device, torch.int64) for ids in class_ids]
    grids = [grid_size(*image.shape[-2:], stride=stride) for image in images]
    sums = [torch.zeros(len(ids), *grid, device=device) for ids, grid in zip(tags, grids, strict=True)]
    for size in sizes:
        batch = torch.cat([resize_images(image[None].to(device).float(), size) for image in images])
        views = torch.cat([batch, batch.flip(3)]) if flip else batch
        if of_photograph:
            inputs = views
        else:
            with torch.no_grad():
                inputs = classifier.activation(views)
        for index, (ids, grid) in enumerate(zip(tags, grids, strict=True)):
            if not len(ids):
                continue
            maps = read_out(classifier, inputs[index :: len(images)], ids).detach()
            if flip:
                straight, mirrored = maps.chunk(2)
                maps = straight + mirrored.flip(3)
            sums[index] += resample(maps, stride=net_stride, image_size=size, size=grid)[0]
    return [_normalise(maps) for maps in sums]


def _shared_sizes(
    images: Sequence[Tensor] | Tensor, class_ids: Sequence[Tensor], scales: Sequence[float], stride: int
) -> tuple[tuple[int, int], ...]:
    if not len(images) or len(images) != len(class_ids) or not len(scales):
        raise ShapeError(f"{len(images)} images, {len(class_ids)} lists of classes and {len(scales)} scales")
    for image in images:
        if image.ndim != 3 or image.shape[0] != 3:
            raise ShapeError(f"an image must be [3, H, W], not {list(image.shape)}")
    sizes = {network_sizes(*image.shape[-2:], scales=scales, stride=stride) for image in images}
    if len(sizes) > 1:
        raise ShapeError("images whose network_sizes differ cannot share a batch")
    return sizes.pop()


def _normalise(maps: Tensor) -> Tensor:
    """Divide each class's map by its maximum + 1e-5; [0, h, w] stays as it is."""
    return maps / (maps.amax(dim=(1, 2), keepdim=True) + EPSILON)
