"""Which kinds of labels a line may use: weights that saw stronger ones than tags are refused unless allowed by name."""

from collections.abc import Collection, Mapping, Sequence

from labelfactory.errors import SupervisionError
from labelfactory.learning.checkpoints import Passport

TAG_SUPERVISION = frozenset({"imagenet-tags", "tags"})
"""Kinds of labels that a line may use which claims to need only tags."""


def check_supervision(
    start: str,
    supervision: Collection[str],
    allowed: Collection[str],
    *,
    what: str = "its weights",
    instead: str = "Start from other weights",
    key: str = "allow_supervision",
) -> None:
    """Refuse to start a tag-supervised line from weights or maps that saw stronger labels.

    Args:
        start: where they come from, for the message.
        supervision: the kinds of labels.
        allowed: kinds that params.yaml allows by name.
        what, instead, key: of the message: what has seen the labels, another way out, and the key that allows them.

    Raises:
        SupervisionError: a kind of label is neither weak nor allowed by name.
    """
    strong = sorted(set(supervision) - TAG_SUPERVISION - set(allowed))
    if strong:
        raise SupervisionError(
            f"{start}: {what} have seen {', '.join(strong)}, which is more than tags",
            f"{instead}, or write {key}: [{', '.join(strong)}] in params.yaml.",
        )


def supervision_of(own: Collection[str], allowed: Sequence[str], parents: Mapping[str, Passport]) -> list[str]:
    """All kinds of labels that ever touched weights.

    Args:
        own: kinds that the training reads, and those that its pretrained weights have seen.
        allowed: kinds that it may have seen.
        parents: the networks that it starts from or learns from.

    Raises:
        SupervisionError: a parent has seen a kind that neither this training nor its own section allows.
    """
    for name, passport in parents.items():
        check_supervision(name, passport.supervision, [*allowed, *passport.allowed_supervision])
    return sorted({*own}.union(*(p.supervision for p in parents.values())))


def allowed_with(allowed: Sequence[str], parents: Mapping[str, Passport]) -> list[str]:
    """Kinds of stronger labels that params.yaml allows weights, and those that it allowed their parents."""
    inherited = (kind for passport in parents.values() for kind in passport.allowed_supervision)
    return list(dict.fromkeys([*allowed, *inherited]))
