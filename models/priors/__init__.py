"""Priors: a map per photograph that brings knowledge from outside the line, such as where something stands out.

Each method is a module with one function,

    prior_map(photograph [H, W, 3] uint8 RGB, source [h', w'] uint8 or None, **knobs) -> [h, w] uint8

over the whole photograph, 255 the highest value; its size is its own, stride 4 is fine enough. A method whose maps lie in
files has beside it

    source_of(image_id, **knobs) -> PurePath | None

the file of a photograph's map, below data/import/maps. The stage reads that file: its grey values are `source`, which is None
where there is no such file or the method needs none. What labels have touched the maps, the `Config` says in `supervision`, a
sequence of names; without one, none have.
"""
