"""Checks before a run, for errors that would otherwise show hours later."""

from collections.abc import Mapping
from typing import Any

from labelfactory.dataset.corrections import read_corrections
from labelfactory.dataset.manifest import MANIFEST, lists_of, with_truth
from labelfactory.errors import ParamsError, UserError, did_you_mean
from labelfactory.learning.supervision import check_supervision
from labelfactory.settings.params import Section


def check_line(sections: Mapping[str, Section]) -> None:
    """Check the sections of params.yaml against each other and against the files on disk.

    Raises:
        ParamsError: a list has no image, no photograph has a true mask to train on, a file of weights has another digest than
            the one named, or two sections contradict each other.
        MissingError: weights are not there.
        SupervisionError: weights have seen stronger labels than tags.
        DataError: the import is damaged.
    """
    if MANIFEST.exists():
        _check_lists(sections)
        _check_upper_bound(sections)
    for name, section in sections.items():
        if hasattr(section, "check_weights"):
            _check_weights(name, section)
    _check_backbones(sections)


def _check_lists(sections: Mapping[str, Section]) -> None:
    """Check the lists that `evaluate` scores."""
    known = lists_of()
    evaluate: Any = sections.get("evaluate")
    for name in evaluate.lists if evaluate else ():
        if name not in known:
            raise ParamsError(
                f"evaluate.lists: the list {name!r} has no image{did_you_mean(name, known)}",
                f"Mend params.yaml; the import has the lists {', '.join(sorted(known))}.",
            )


def _check_upper_bound(sections: Mapping[str, Section]) -> None:
    """Check that there are true masks if a network is trained on them."""
    bound: Any = sections.get("train_upper_bound")
    prepare: Any = sections.get("prepare")
    if bound and prepare and bound.enabled and not with_truth(prepare.train_list):
        raise ParamsError(
            f"train_upper_bound.enabled: no photograph on the list {prepare.train_list!r} has a true mask",
            "Import them with their masks, or type `labelfactory profile --set train_upper_bound.enabled=false`.",
        )


def _check_weights(name: str, section: Any) -> None:
    """Check a network's starting weights. Those that have seen masks are allowed if the line uses masks that people drew."""
    human = ["masks"] if read_corrections() else []
    check_supervision(name, section.supervision, [*section.allow_supervision, *human])
    try:
        section.check_weights(name)
    except UserError as error:
        raise type(error)(f"{name}.weights: {error.problem}", error.remedy) from None


def _check_backbones(sections: Mapping[str, Section]) -> None:
    """Check that the segmenter has the classifier's backbone if it starts from it."""
    classifier: Any = sections.get("train_classifier")
    segmenter: Any = sections.get("train_segmenter")
    if classifier and segmenter and segmenter.from_classifier and _backbone(segmenter) != _backbone(classifier):
        raise ParamsError(
            f"train_segmenter.backbone is {_backbone(segmenter)}, the classifier's {_backbone(classifier)}",
            "With train_segmenter.weights: classifier both must be the same; mend params.yaml.",
        )


def _backbone(section: Any) -> str:
    """The backbone of a section, with its block where it has one."""
    name: str = section.backbone.name
    return name if section.block.name == "none" else f"{name} with {section.block.name}"
