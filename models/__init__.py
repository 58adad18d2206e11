"""Tensors in, tensors out. Opens no file and logs nothing, except that `models.backbones._weights` reads weights."""
