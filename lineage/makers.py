"""Which execution made an output: decided by digests, never by what happens to stand under data/ at the same time.

A stage may have been killed between its output and its report, or may have run again: then the last report is that of
an earlier execution, and the output has no execution until its stage ends.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from labelfactory.learning.checkpoints import Passport, training_digest

Detail = Mapping[str, Any]
"""What the ledger says of an execution."""


def made_model(detail: Detail, name: str, passport: Passport) -> bool:
    """Whether an execution made a model: it left the same training, by its digest.

    The record of an earlier version does not have that digest: weights and parameters tell then, and rows and classes if it
    has these.

    Args:
        detail: of the execution.
        name: the digest that names the model in the ledger; empty if it has none yet.
        passport: the model's.
    """
    if detail["stage"] != passport.stage or not detail["model"]:
        return False
    if detail.get("training"):
        return bool(detail["training"] == training_digest(passport))
    if not _has_its_parameters(detail, passport):
        return False
    if detail.get("classes") is None:  # it was recorded with whatever network was on disk
        return bool(detail["model"] == name)
    names = (name,) if "line" in detail else (name, passport.weights_digest)  # a recorded one has the model's name
    identity = passport.training_rows_digest, passport.classes
    return detail["model"] in names and (detail["training_rows"], detail["classes"]) == identity


def _has_its_parameters(detail: Detail, passport: Passport) -> bool:
    """Whether the parameters are those of a passport. True of records that do not have the defaults of methods.

    A stage may have a section with those values alone in which it differs from one that it borrows.
    """
    if not detail.get("with_defaults", False):
        return True
    own, sections = detail["stage"], detail["params"]
    given = {key: value for name, section in sections.items() if name != own for key, value in section.items()}
    given |= sections.get(own, {})
    return all(given.get(key, value) == value for key, value in passport.params.items())


def maker_of(executions: Iterable[tuple[str, Detail]], name: str, passport: Passport, stated: str = "") -> str:
    """The execution that made a model: the one that the ledger states if it did, else the first that did; empty if none is known.

    Args:
        executions: id and detail, in the ledger's order.
        name: the digest that names the model.
        passport: the model's.
        stated: the execution that its event names.
    """
    made = [id for id, detail in executions if made_model(detail, name, passport)]
    return stated if stated in made else next(iter(made), "")


def left(detail: Detail | None, state: Mapping[str, Any] | None) -> bool:
    """Whether an output is in the state in which an execution left it."""
    output = detail and detail["output"]
    return bool(output and state and (output["name"], output["digest"]) == (state["name"], state["digest"]))
