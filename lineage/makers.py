"""Which execution made an output: decided by digests, never by what happens to stand under data/ at the same time.

A stage may have been killed between its output and its report, or may have run again: then the last report is that of
an earlier execution, and the output has no execution until its stage ends.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from labelfactory.learning.checkpoints import Passport

Detail = Mapping[str, Any]
"""What the ledger says of an execution."""


def made_model(detail: Detail, name: str, passport: Passport) -> bool:
    """Whether an execution made a model: the same weights, rows and classes, and the same parameters.

    Args:
        detail: of the execution.
        name: the digest that names the model in the ledger; empty if it has none yet.
        passport: the model's.
    """
    if detail["stage"] != passport.stage or not detail["model"]:
        return False
    if (
        detail.get("classes") is None
    ):  # of an earlier version, which recorded with a report whatever network was on disk
        return detail["model"] == name and _has_its_parameters(detail, passport)
    identity = passport.training_rows_digest, passport.classes
    return (
        detail["model"] in (name, passport.weights_digest) and (detail["training_rows"], detail["classes"]) == identity
    )


def _has_its_parameters(detail: Detail, passport: Passport) -> bool:
    """Whether the parameters are those of a passport. True of records that do not have the defaults of methods."""
    known = detail.get("with_defaults", False)
    return not known or detail["params"].get(detail["stage"], passport.params) == passport.params


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
