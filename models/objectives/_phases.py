"""A training in two phases, of which the second needs what the first has learnt."""

from labelfactory.errors import ParamsError


def second_phase(share: float, epochs: int, learner: str) -> int:
    """After how many epochs the second phase begins: a share of all of them, one at least.

    Args:
        share: in [0, 1).
        epochs: of the whole training.
        learner: what learns in the second phase, for the message.

    Raises:
        ParamsError: no epoch is left for it.
    """
    start = max(1, int(share * epochs))
    if start >= epochs:
        raise ParamsError(
            f"{learner} learns after epoch {start}, but the training has {epochs} epochs",
            f"Set train_classifier.epochs to {start + 1} or more.",
        )
    return start
