"""Blocks: attention modules that a backbone carries behind a tap, put in after the published weights are loaded.

Each method module holds

    build(channels, **knobs) -> nn.Module, [B, channels, h, w] to the same shape; None for no block

whose result is the identity at the start: the pretrained network is not disturbed. No batch norm: it would be folded with
the backbone's.
"""
