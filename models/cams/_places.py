"""How many places of a grid a read-out compares with each other: work grows with their square.

`pcm` has the same lines in its own file: in another one they would make all of its rows anew.
"""

from typing import Annotated

from pydantic import Field

MostPlaces = Annotated[
    int,
    Field(ge=16, le=20_000, description="most cells of a grid; a finer grid is halved: work grows with their square"),
]
"""A knob; 800 is that of `pcm`."""


def halved(size: tuple[int, int], most: int) -> tuple[int, int]:
    """A grid of [h, w] cells, halved until it has at most so many."""
    height, width = size
    while height * width > most:
        height, width = -(-height // 2), -(-width // 2)
    return height, width
