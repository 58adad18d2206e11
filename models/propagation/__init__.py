"""Propagation: how seed scores spread over the affinity grid. Each method module holds

    walk(scores, transition, **knobs) -> [K, h, w] float32

for scores [K, h, w] in [0, 1] and one step of the walk over the same grid. The channels are those of the start: the background
first and the photograph's classes, or with `seeds: cam` the classes alone. A method whose `walk` has the argument `photograph`
is given that too: [3, H, W] float32 in [0, 255], on the scores' device; cell (y, x) is centred on pixel (y · s, x · s) of it.
"""
