"""Differences between the lines behind two models: parameters, code and data of each stage, from the ledger.

The executions behind a model are those of a line that was recorded while data/ held the model, as far as they left what the
model was made from. Of the others, and of models such as those of a sweep, passports tell the parameters of networks. Masks tell
the digests of the parameters of rows; the values are those that the evaluation of the model names, if they have these digests.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from labelfactory.settings.wiring import read_wiring
from lineage.evaluation import Evaluation
from lineage.lookup import Lookup, Model
from lineage.makers import made_model

Answer = dict[str, Any]
DIGEST = "parameters, digest"
"""Name of the digest of a stage's parameters, where their values are not known."""


def settings_between(lookup: Lookup, first: Model | None, second: Model | None) -> list[Answer]:
    """Every parameter, code and data set that differs: stage, what, first, second. Empty unless both are models."""
    if first is None or second is None:
        return []
    olds, news = executions_behind(lookup, first), executions_behind(lookup, second)
    both = olds.keys() & news.keys()
    old, new = ({n: v for n, v in parameters(side).items() if n in both} for side in (olds, news))
    for stage in both:
        if olds[stage].get("with_defaults", False) != news[stage].get("with_defaults", False):
            shared = set(old[stage]) & set(new[stage])  # an older record has no defaults
            old[stage], new[stage] = ({n: v for n, v in side[stage].items() if n in shared} for side in (old, new))
    old, new = (
        {stage: values | _others(side[stage]) for stage, values in known.items()}
        for known, side in ((old, olds), (new, news))
    )
    rest = [{n: v for n, v in _remains(lookup, model).items() if n not in both} for model in (first, second)]
    remains_old, remains_new = _alike(*rest)
    return _differences(_in_order(old | remains_old), new | remains_new)


def _in_order(stages: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The same in the line's order, stages that are no longer in dvc.yaml last."""
    order = list(read_wiring())
    return dict(sorted(stages.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def _differences(old: Mapping[str, dict[str, str]], new: Mapping[str, dict[str, str]]) -> list[Answer]:
    """What differs in the stages that both have."""
    differences = []
    for stage in [name for name in old if name in new]:
        before, after = old[stage], new[stage]
        for name in [*before, *(n for n in after if n not in before)]:
            if before.get(name) != after.get(name):
                values = {"first": before.get(name), "second": after.get(name)}
                differences.append({"stage": stage, "what": name, **values})
    return differences


def _remains(lookup: Lookup, model: Model) -> dict[str, dict[str, str]]:
    """Stage → what passports and masks say of it."""
    wiring = read_wiring()
    facts: dict[str, dict[str, str]] = {}
    evaluation = next((e for e in lookup.evaluations if e.measured.get(model.name) == model.weights), Evaluation())
    for recipe in lookup.recipes(model.digest):
        for stage, inputs in ((wiring.maker(noun), inputs) for noun, inputs in recipe.items()):
            if stage is not None and "params" in inputs:
                digest, values = evaluation.settings.get(stage.name, ("", {}))
                known = flat(values, f"{stage.name}.") if digest == inputs["params"] else {}
                facts[stage.name] = {**known, DIGEST: inputs["params"], "code": inputs["code"]}
    waiting = [model]
    while waiting:
        model = waiting.pop(0)  # the nearest first: the model itself learnt from these weights
        passport = model.passport
        stage_params = flat(passport.params, f"{passport.stage}.")
        facts.setdefault(passport.stage, stage_params | {"code": passport.code_digest})
        waiting += [parent for parent in lookup.parents(model).values() if parent is not None]
    order = list(wiring)
    return dict(sorted(facts.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def _alike(
    old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]
) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Both without the digest of the parameters of a stage if both know their values, else without the values."""
    for stage in [name for name in old if name in new and DIGEST in old[name] and DIGEST in new[name]]:
        sides = old[stage], new[stage]
        known = all(set(side) - {DIGEST, "code"} for side in sides)
        for facts, side in zip((old, new), sides, strict=True):
            facts[stage] = {n: v for n, v in side.items() if n == "code" or (n == DIGEST) != known}
    return old, new


def executions_behind(lookup: Lookup, model: Model) -> dict[str, Answer]:
    """Stage → details of its execution, for the model's stage and those upstream of it that left what the model was made from.

    They are those of the first line that held the model; of a network, if it had been trained anew by then, the execution that
    made it. What was made anew by then, or without its consumers, is left out.
    """
    line = _line_of(lookup, model)
    if not line:
        return {}
    wiring, stage = read_wiring(), model.passport.stage
    names = [*wiring.upstream(stage), stage] if stage in wiring else [stage]
    behind = {stage: lookup.executions[model.run]}
    needed = _read_by(lookup, model, behind[stage])
    for name in reversed(names[:-1]):
        noun = wiring[name].noun
        network = _needed_network(lookup, model, noun, needed.get(noun, set()))
        detail = lookup.executions.get(line.get(name, ""))
        if network is not None and not (detail and made_model(detail, network.digest, network.passport)):
            detail = lookup.executions.get(network.run)
        if detail is None or not _fits(detail, needed.get(noun, set())):
            continue
        behind[name] = detail
        if not detail["output"]:  # nothing of it was read, so what it read is not behind the model either
            continue
        read = _read_by(lookup, network, detail) if network is not None else _inputs(detail)
        for other, digests in read.items():
            needed.setdefault(other, set()).update(digests)
    return {name: behind[name] for name in names if name in behind}


def _line_of(lookup: Lookup, model: Model) -> Mapping[str, str]:
    """Stage → execution, of the first line that held a model; empty if there is none."""
    if model.run not in lookup.executions:
        return {}
    lines = (event["detail"]["stages"] for event in lookup.events if event["event"] == "line")
    return next((dict(stages) for stages in lines if stages.get(model.passport.stage) == model.run), {})


def _fits(detail: Answer, needed: Collection[str]) -> bool:
    """Whether an execution left what was read later; one that left nothing if nothing of it was read."""
    output = detail["output"]
    return output["digest"] in needed if output else not needed


def _needed_network(lookup: Lookup, child: Model, noun: str, weights: Collection[str]) -> Model | None:
    """The network of that name behind a model; None where it is not recorded, or more than one was read."""
    own = child.time, child.passport.classes, child.passport.supervision
    found = [lookup.network(noun, each, *own) for each in weights]
    return found[0] if noun in read_wiring().networks and len(found) == 1 else None


def _read_by(lookup: Lookup, model: Model, detail: Answer) -> dict[str, set[str]]:
    """Noun → digests of what a model was made from: as its execution recorded it, where its passport does not know better."""
    wiring, passport = read_wiring(), model.passport
    read = _inputs(detail)
    stage = wiring.get(passport.stage)
    if stage is not None and not detail.get("read") and not stage.meta.scores.reference:
        makers = [maker for maker in wiring.of_kind("rows") if maker.noun in stage.inputs and not maker.meta.optional]
        read |= {maker.noun: {passport.training_rows_digest} for maker in makers}
    if model.name == wiring.model.noun:
        for noun, digest in lookup.rows_behind(model.digest).items():
            read.setdefault(noun, set()).add(digest)
    return read | {name: {weights} for name, weights in passport.parents.items()}


def _inputs(detail: Answer) -> dict[str, set[str]]:
    """Noun → digest of what an execution read; if `read` is not true of it, of what was on disk when it was recorded."""
    return {state["name"]: {state["digest"]} for state in detail["inputs"]}


def parameters(executions: Mapping[str, Answer]) -> dict[str, dict[str, str]]:
    """Stage → dotted name → value. A section that other stages read too stands with the stage of its name alone."""
    return {
        stage: flat({name: v for name, v in detail["params"].items() if name == stage or name not in executions})
        for stage, detail in executions.items()
    }


def _others(detail: Mapping[str, Any]) -> dict[str, str]:
    """What beside parameters a person may have changed before a stage ran: code, and the photographs of the import."""
    others, stage = {"code": str(detail["tags"]["code"])}, read_wiring().get(detail["stage"])
    if stage is not None and stage.meta.kind == "prepare" and detail["output"]:
        others["photographs"] = str(detail["output"]["rows"])
    return others


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted name → value as text, for all values in a nested mapping."""
    flattened: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flattened |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: _text(value)}
    return flattened


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
