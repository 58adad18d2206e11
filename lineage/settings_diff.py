"""Differences between the lines behind two models: parameters, code and data of each stage, from the ledger.

The executions behind a model are known if a line was recorded while data/ held the model and its masks. Of other models, such
as those of a sweep, passports tell the parameters of networks. Masks tell the digests of the parameters of rows; the values
are those that the evaluation of the model names, if they have these digests.
"""

import json
from collections.abc import Mapping
from typing import Any

from labelfactory.settings.wiring import read_wiring
from lineage.evaluation import Evaluation
from lineage.lookup import Lookup, Model

Answer = dict[str, Any]
DIGEST = "parameters, digest"
"""Name of the digest of a stage's parameters, where their values are not known."""


def settings_between(lookup: Lookup, first: Model | None, second: Model | None) -> list[Answer]:
    """Every parameter, code and data set that differs: stage, what, first, second. Empty unless both are models."""
    if first is None or second is None:
        return []
    olds, news = executions_behind(lookup, first), executions_behind(lookup, second)
    if not olds or not news:
        return _differences(*_alike(_remains(lookup, first), _remains(lookup, second)))
    old, new = parameters(olds), parameters(news)
    for stage in [name for name in old if name in new]:
        if olds[stage].get("with_defaults", False) != news[stage].get("with_defaults", False):
            both = set(old[stage]) & set(new[stage])  # an older record has no defaults
            old[stage], new[stage] = ({n: v for n, v in side[stage].items() if n in both} for side in (old, new))
    return _differences(
        {stage: values | _others(olds[stage]) for stage, values in old.items()},
        {stage: values | _others(news[stage]) for stage, values in new.items()},
    )


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
    """Stage → what passports and masks say of it, in the line's order."""
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
        passport = waiting.pop().passport
        stage_params = flat(passport.params, f"{passport.stage}.")
        facts[passport.stage] = stage_params | {"code": passport.code_digest}
        waiting += [lookup.models[d] for d in passport.parents.values() if d in lookup.models]
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
    """Stage → details of its execution, in the first line that held a model, for the model's stage and all upstream of it.

    Empty if that line held other masks than those that the model learnt from.
    """
    details = {e["subject"]: e["detail"] for e in lookup.events if e["event"] == "execution"}
    for event in lookup.events:
        stages = event["detail"].get("stages", {}) if event["event"] == "line" else {}
        if model.run and stages.get(model.passport.stage) == model.run:
            wiring, stage = read_wiring(), model.passport.stage
            names = [*wiring.upstream(stage), stage] if stage in wiring else list(wiring)
            behind = {name: details[stages[name]] for name in names if stages.get(name) in details}
            return behind if _has_its_masks(model, behind) else {}
    return {}


def _has_its_masks(model: Model, behind: Mapping[str, Answer]) -> bool:
    """Whether the masks of a line are those that a model learnt from; other networks learn from no masks."""
    wiring = read_wiring()
    made = behind.get(wiring.masks.name, {}).get("output") or {}
    learnt = model.passport.training_rows_digest
    return model.name != wiring.model.noun or made.get("digest", learnt) == learnt


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
