"""Blocks: attention modules behind a backbone's taps, inserted after the published weights are loaded.

Each method module holds

    build(channels, **knobs) -> nn.Module, [B, channels, h, w] to the same shape; None for no block

which is the identity at the start, so that the pretrained network is unchanged. It has no batch norm.
"""
