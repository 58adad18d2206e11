"""Class activation maps: where in the image a class's evidence lies.

Each method is a module with one function,

    activation_maps(classifier, features [B, D, h, w], class_ids [K] int64) -> [B, K, h, w] float32, ≥ 0, un-normalised

for B views of one photograph (itself and its mirror image) and its K tags. It must give evidence of one size at every scale of
the image: `multiscale_cams` adds scales up before it normalises.
"""

from models.cams._multiscale import CamBatch, multiscale_cam, multiscale_cams, network_sizes

__all__ = ["CamBatch", "multiscale_cam", "multiscale_cams", "network_sizes"]
