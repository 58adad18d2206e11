"""Tensors in, tensors out. Opens no file and logs nothing (weights come through `models.backbones.weights`)."""
