"""What was set otherwise between the lines behind two models: parameters, code and data of each stage, from the ledger."""

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
    found = []
    for stage in [*old, *(name for name in new if name not in old)]:
        if stage in old and stage in new:
            before, after = old[stage] | _others(olds[stage]), new[stage] | _others(news[stage])
            for name in [*before, *(n for n in after if n not in before)]:
                if before.get(name) != after.get(name):
                    found.append({"stage": stage, "what": name, "first": before.get(name), "second": after.get(name)})
    return found


def executions_behind(lookup: Lookup, model: Model) -> dict[str, Answer]:
    """Stage → details of its execution, in the first line in which a model stood, up to the stage that made it."""
    details = {e["subject"]: e["detail"] for e in lookup.events if e["event"] == "execution"}
    for event in lookup.events:
        stages = event["detail"].get("stages", {}) if event["event"] == "line" else {}
        if model.run and stages.get(model.passport.stage) == model.run:
            order = list(read_wiring())
            before = order[: order.index(model.passport.stage) + 1] if model.passport.stage in order else order
            return {name: details[stages[name]] for name in before if stages.get(name) in details}
    return {}


def parameters(executions: Mapping[str, Answer]) -> dict[str, dict[str, str]]:
    """Stage → dotted name → value. A section that other stages read too stands with the stage of its name alone."""
    return {
        stage: flat({name: v for name, v in detail["params"].items() if name == stage or name not in executions})
        for stage, detail in executions.items()
    }


def _others(detail: Mapping[str, Any]) -> dict[str, str]:
    """What beside parameters a person may have changed before a stage ran."""
    found = {"code": str(detail["tags"]["code"])}
    for data in detail["inputs"] if detail["stage"] == "train_classifier" else ():
        if data["name"] == "dataset":
            found["photographs"] = str(data["rows"])
    return found


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted name → value as text, for all values in a nested mapping."""
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: _text(value)}
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
