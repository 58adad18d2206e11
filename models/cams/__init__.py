"""Class activation maps: how much each position of the image contributes to a class.

Each method is a module with one function,

    activation_maps(classifier, features [B, D, h, w], class_ids [K] int64, **knobs) -> [B, K, h, w] float32, ≥ 0

for B views of one photograph (itself and its mirror image) and its K tags, not normalised. It must give evidence of one size at
every scale of the image: `multiscale_cams` adds scales up before it normalises. A method that needs the photograph itself, or
several passes of the network, has instead

    image_maps(classifier, images [B, 3, H, W] in [0, 255], class_ids [K] int64, **knobs) -> [B, K, h, w] float32, ≥ 0
"""

from models.cams._multiscale import multiscale_cams, network_sizes

__all__ = ["multiscale_cams", "network_sizes"]
