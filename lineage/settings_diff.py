"""Differences between the lines behind two models: parameters, code and data of each stage, from the ledger.

The executions behind a model are known if a line was recorded while data/ held the model. Of other models, such as those of a
sweep, passports and masks tell: the parameters of networks, and the digests of the code and parameters of rows.
"""

import json
from collections.abc import Mapping
from typing import Any

from labelfactory.settings.wiring import read_wiring
from lineage.lookup import Lookup, Model

Answer = dict[str, Any]
DIGESTS = {"params": "parameters, digest", "code": "code"}
"""Of the inputs of a row in the ledger, those that people change → their names here."""


def settings_between(lookup: Lookup, first: Model | None, second: Model | None) -> list[Answer]:
    """Every parameter, code and data set that differs: stage, what, first, second. Empty unless both are models."""
    if first is None or second is None:
        return []
    olds, news = executions_behind(lookup, first), executions_behind(lookup, second)
    if not olds or not news:
        return _differences(_remains(lookup, first), _remains(lookup, second))
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
    for recipe in lookup.recipes(model.digest):
        for noun, inputs in recipe.items():
            stage = wiring.maker(noun)
            digests = {word: inputs[name] for name, word in DIGESTS.items() if name in inputs}
            facts |= {stage.name: digests} if stage and digests else {}
    waiting = [model]
    while waiting:
        passport = waiting.pop().passport
        stage_params = flat(passport.params, f"{passport.stage}.")
        facts[passport.stage] = stage_params | {"code": passport.code_digest}
        waiting += [lookup.models[d] for d in passport.parents.values() if d in lookup.models]
    order = list(wiring)
    return dict(sorted(facts.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def executions_behind(lookup: Lookup, model: Model) -> dict[str, Answer]:
    """Stage → details of its execution, in the first line that held a model, for the model's stage and all upstream of it."""
    details = {e["subject"]: e["detail"] for e in lookup.events if e["event"] == "execution"}
    for event in lookup.events:
        stages = event["detail"].get("stages", {}) if event["event"] == "line" else {}
        if model.run and stages.get(model.passport.stage) == model.run:
            wiring, stage = read_wiring(), model.passport.stage
            names = [*wiring.upstream(stage), stage] if stage in wiring else list(wiring)
            return {name: details[stages[name]] for name in names if stages.get(name) in details}
    return {}


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
