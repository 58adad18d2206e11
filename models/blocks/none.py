"""No block."""


def build(channels: int) -> None:
    """Nothing is inserted."""
