"""Differences between the lines behind two models: parameters, code and data of each stage, from the ledger."""

import json
from collections.abc import Mapping
from typing import Any

from labelfactory.settings.wiring import read_wiring
from lineage.lookup import Lookup, Model

Answer = dict[str, Any]


def settings_between(lookup: Lookup, first: Model | None, second: Model | None) -> list[Answer]:
    """Every parameter, code and data set that differs: stage, what, first, second. Empty where a line is not known."""
    if first is None or second is None:
        return []
    olds, news = executions_behind(lookup, first), executions_behind(lookup, second)
    old, new = parameters(olds), parameters(news)
    differences = []
    for stage in [*old, *(name for name in new if name not in old)]:
        if stage in old and stage in new:
            before, after = old[stage] | _others(olds[stage]), new[stage] | _others(news[stage])
            for name in [*before, *(n for n in after if n not in before)]:
                if before.get(name) != after.get(name):
                    values = {"first": before.get(name), "second": after.get(name)}
                    differences.append({"stage": stage, "what": name, **values})
    return differences


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
