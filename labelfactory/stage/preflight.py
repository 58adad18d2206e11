"""What would come to light only hours later, asked before anything runs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from labelfactory.dataset.corrections import read_corrections
from labelfactory.dataset.manifest import MANIFEST, lists_of, with_truth
from labelfactory.errors import ParamsError, UserError, did_you_mean
from labelfactory.learning.checkpoints import CHECKPOINT
from labelfactory.learning.learnt_classes import refuse_other_classes
from labelfactory.learning.supervision import check_supervision
from labelfactory.settings.params import Section, in_one_line
from labelfactory.settings.wiring import DATA, read_wiring
from labelfactory.stage.output_state import passport_of


def check_line(sections: Mapping[str, Section]) -> None:
    """Hold the sections of params.yaml against each other and against what is on disk.

    Raises:
        ParamsError: no image stands on a list, no photograph has a true mask to learn from, a file of weights is another than
            the one named, an objective reads maps that no stage makes, or two sections contradict each other.
        MissingError: weights, or a package that a method needs, are not there.
        SupervisionError: weights, an objective or a prior have seen stronger labels than tags.
        DataError: the import is damaged.
    """
    if MANIFEST.exists():
        _check_lists(sections)
        _check_upper_bound(sections)
    for name, section in sections.items():
        if hasattr(section, "check_weights"):
            _check_weights(name, section)
        for _, value in section:
            if hasattr(value, "check_packages"):
                value.check_packages()
    _check_backbones(sections)
    _check_objective(sections)


def check_kept_networks(classes: Sequence[str], targets: Collection[str] = ()) -> None:
    """Check that the networks on disk can label the import as they are, before `prepare` makes it the data set.

    Args:
        classes: names of class ids 1, 2, … of the import.
        targets: names of stages; none means the whole line.

    Raises:
        DataError: a network that one of these stages, or one above it, would run was trained for other classes.
    """
    wiring = read_wiring()
    needed = {name for target in targets for name in (target, *wiring.upstream(target))} if targets else set(wiring)
    read = {noun for name in needed - set(wiring.learning) for noun in wiring[name].inputs}
    for noun in wiring.networks:
        # a damaged one is the affair of the stage that reads it
        if noun in read and (passport := passport_of(noun)) is not None:
            refuse_other_classes(DATA / noun / CHECKPOINT, passport.classes, classes, of="the import")


def _check_lists(sections: Mapping[str, Section]) -> None:
    """Lists that are segmented or scored."""
    known = lists_of()
    named = ((section, name) for section, cfg in sections.items() for name in getattr(cfg, "lists", ()))
    for section, name in named:
        if name not in known:
            raise ParamsError(
                f"{section}.lists: the list {name!r} has no image{did_you_mean(name, known)}",
                f"Mend params.yaml; the import has the lists {', '.join(sorted(known))}.",
            )


def _check_upper_bound(sections: Mapping[str, Section]) -> None:
    """True masks, where a network is to learn from them."""
    bound: Any = sections.get("train_upper_bound")
    prepare: Any = sections.get("prepare")
    if bound and prepare and bound.enabled and not with_truth(prepare.train_list):
        raise ParamsError(
            f"train_upper_bound.enabled: no photograph on the list {prepare.train_list!r} has a true mask",
            "Import them with their masks, or type `labelfactory profile --set train_upper_bound.enabled=false`.",
        )


def _check_weights(name: str, section: Any) -> None:
    """What a network starts from; the masks of people may touch it where they touch the line anyway."""
    human = ["masks"] if read_corrections() else []
    check_supervision(name, section.supervision, [*section.allow_supervision, *human])
    try:
        section.check_weights(name)
    except UserError as error:
        raise type(error)(f"{name}.weights: {error.problem}", error.remedy) from None


def _check_backbones(sections: Mapping[str, Section]) -> None:
    """One backbone where one network starts from the other's."""
    classifier: Any = sections.get("train_classifier")
    segmenter: Any = sections.get("train_segmenter")
    if classifier and segmenter and segmenter.from_classifier:
        check_same_network(segmenter.parts, classifier.parts)


def check_same_network(segmenter: Mapping[str, Any], classifier: Mapping[str, Any]) -> None:
    """Check that a segmenter's backbone can take the classifier's weights.

    Args:
        segmenter: parts of its backbone (`BackboneSection.parts`).
        classifier: those of the classifier's.

    Raises:
        ParamsError: backbone, block, knobs of the block or its taps are not the same.
    """
    for key in dict.fromkeys([*segmenter, *classifier]):
        own, other = segmenter.get(key, "none"), classifier.get(key, "none")
        if own != other:
            raise ParamsError(
                f"train_segmenter.{key} is {in_one_line(own)}, the classifier's {in_one_line(other)}",
                "With train_segmenter.weights: classifier both must be the same; mend params.yaml.",
            )


def _check_objective(sections: Mapping[str, Section]) -> None:
    """What the classifier's objective learns from beside the tags."""
    classifier: Any = sections.get("train_classifier")
    priors: Any = sections.get("make_priors")
    if not hasattr(classifier, "objective"):
        return
    from labelfactory.learning.learner import Learner  # loads torch, which commands do not need to start

    objective: Any = classifier.objective.subclass_of(Learner)
    allowed = classifier.allow_supervision
    check_supervision(
        f"train_classifier.objective: {classifier.objective.name}",
        objective.supervision,
        allowed,
        what="its sources",
        instead="Choose another objective",
        key="train_classifier.allow_supervision",
    )
    if "priors" not in objective.reads:
        return
    if priors is None or not priors.enabled:
        raise ParamsError(
            f"train_classifier.objective: {classifier.objective.name} learns from data/priors, and make_priors.method is none",
            "Type `labelfactory profile --set make_priors.method=spectral_residual`, or choose another objective.",
        )
    check_supervision(
        f"make_priors.method: {priors.method.name}",
        priors.supervision,
        allowed,
        what="its maps",
        instead="Choose another prior",
        key="train_classifier.allow_supervision",
    )
