"""Which kinds of labels a line may use: weights that have seen stronger ones than tags are refused unless allowed by name."""

from labelfactory.errors import SupervisionError

TAG_SUPERVISION = frozenset({"imagenet-tags", "tags"})
"""Kinds of labels of a line that needs only tags."""


def check_supervision(start: str, supervision: list[str], allowed: list[str]) -> None:
    """Refuse weights that have seen labels stronger than tags.

    Raises:
        SupervisionError: a kind of label is neither in TAG_SUPERVISION nor allowed by name.
    """
    strong = sorted(set(supervision) - TAG_SUPERVISION - set(allowed))
    if strong:
        raise SupervisionError(
            f"{start}: its weights have seen {', '.join(strong)}, which is more than tags",
            f"Start from other weights, or write allow_supervision: [{', '.join(strong)}] in params.yaml.",
        )
