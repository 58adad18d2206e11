"""Affinity: how similar two nearby cells of an image are. Each method module holds

build(backbone, *, learn_backbone, **knobs) -> AffinityNetwork
loss(network, batch, **knobs) -> terms, on photographs with affinity labels
transition(output [1, C, h, w], *, stride, radius, beta) -> SparseTransition, of the network's output
"""
