"""Which kinds of labels a line may use: weights that saw stronger ones than tags are refused unless allowed by name."""

from collections.abc import Collection

from labelfactory.errors import SupervisionError

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
