"""The pages of the models: all of them, and one with its masks and its parents."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from labelfactory.errors import MissingError
from labelfactory.settings.wiring import read_wiring
from lineage.audit import audit_model
from lineage.lookup import Lookup, Model
from lineage.settings_diff import executions_behind, parameters
from pages.drawing import Arrow, Box, draw
from pages.image_query import ImageQuery
from pages.images_page import cell, says_of
from pages.links import model_link, run_links
from pages.project import Project

SHOWN = 12
"""Masks of a model that its page shows; the grid has all."""


def models_page(project: Project) -> dict[str, Any]:
    """Every model by network, newest first."""
    with project.lookup() as lookup:
        aliases, gone = lookup.aliases(), lookup.withdrawn_models()
        groups: dict[str, list[dict[str, Any]]] = {}
        for model in reversed(list(lookup.models.values())):
            groups.setdefault(model.name, []).append(_line(lookup, model, aliases, gone))
    order = [*(n for n in _order() if n in groups), *(n for n in groups if n not in _order())]
    score = read_wiring().model.meta.scores.name
    return {"groups": [(name, groups[name], _splits(groups[name])) for name in order], "score": score}


def _order() -> list[str]:
    """Networks as the page shows them: the model that people use, what it learnt from, references last."""
    networks = reversed(read_wiring().of_kind("network"))
    return [s.noun for s in sorted(networks, key=lambda s: (not s.meta.result, s.meta.scores.reference))]


def _line(lookup: Lookup, model: Model, aliases: Mapping[str, str], gone: Mapping[str, Any]) -> dict[str, Any]:
    answer = audit_model(lookup, f"{model.name}@{model.version}", behind=False)
    return {
        "label": model.label,
        "name": model.name,
        "version": model.version,
        "href": model_link(model.name, model.version),
        "made": model.time,
        "digest": model.digest,
        "aliases": [alias for alias, digest in aliases.items() if digest == model.digest],
        "rows": model.passport.training_rows,
        "supervision": model.passport.supervision,
        "allowed": model.passport.allowed_supervision,
        "withdrawn": gone.get(model.digest, []),
        "problems": answer["problems"],
        "scores": answer["scores"],
        "metrics": model.passport.metrics,
        "seed": model.passport.seed,
        "commit": model.passport.git_commit,
        "dirty": model.passport.git_dirty,
    }


def _splits(lines: list[dict[str, Any]]) -> list[str]:
    """The splits on which one of these was scored, if they are the model that people use."""
    model = read_wiring().model
    keys = [key.split("/") for line in lines for key in line["scores"] if line["name"] == model.noun]
    return list(dict.fromkeys(key[1] for key in keys if key[-1] == model.meta.scores.name))


def model_page(project: Project, name: str, version: int) -> dict[str, Any]:
    """One model: passport, parents, parameters, and the rows that it learnt from.

    Raises:
        MissingError: the ledger knows no such model.
    """
    with project.lookup() as lookup:
        matches = [m for m in lookup.models.values() if (m.name, m.version) == (name, version)]
        if not matches:
            raise MissingError("the ledger knows no such model", "Choose one on the page Models.")
        model = matches[0]
        answer = audit_model(lookup, f"{name}@{version}", behind=False)
        line = _line(lookup, model, lookup.aliases(), lookup.withdrawn_models())
        settings = parameters(executions_behind(lookup, model))
        tags = {e["subject"]: e["detail"]["tags"] for e in lookup.events if e["event"] == "line"}
        execution = lookup.executions.get(model.run, {})
        others = [m for m in lookup.models.values() if m.name == name and m.digest != model.digest]
        parents = draw_parents(lookup, model)
    images, query = project.images(), ImageQuery(of=f"{name}@{version}", order="low")
    with project.lookup() as lookup:
        images.know(model, lookup)
    shown = images.find(query, model)
    changed = images.find(ImageQuery(of=f"{name}@{version}", since=f"{name}@{version}"), model).total
    is_model = name == read_wiring().model.noun
    earlier = [m for m in others if m.version < version]
    return {
        "model": line,
        "answer": answer,
        "passport": model.passport,
        "settings": settings,
        "parents": parents,
        "links": run_links(project, model.run, tags.get(execution.get("line", ""), {})),
        "cells": [cell(row, query, project.model_stamp()) for row in shown.rows[:SHOWN]],
        "in_data": shown.total,
        "changed": changed,
        "says": says_of(query),
        "all_masks": "/images?" + query.to_url(),
        "changed_masks": "/images?" + ImageQuery(of=f"{name}@{version}", since=f"{name}@{version}").to_url(),
        "diffs": [(f"/diff?a={m.version}&b={version}", m.label) for m in reversed(earlier)][:5] if is_model else [],
        "is_model": is_model,
        "scored": _score_name(model),
    }


def _score_name(model: Model) -> str:
    """The name of a network's own score; empty for a network that is not scored."""
    trainer = read_wiring().stage_of(model.passport.stage, "network")
    return trainer.meta.scores.name if trainer and trainer.meta.scores.measure == "mIoU" else ""


def draw_parents(lookup: Lookup, model: Model) -> Markup:
    """The networks that a model started or learnt from, down to the first."""
    ranks: dict[str, int] = {}

    models: dict[str, Model] = {}
    names: dict[str, str] = {}

    def set_rank(digest: str, known: Model | None, rank: int) -> None:
        ranks[digest] = max(ranks.get(digest, 0), rank)
        if known is not None:
            models.setdefault(digest, known)
            for name, parent in lookup.parents(known).items():
                names[known.passport.parents[name]] = name
                set_rank(known.passport.parents[name], parent, rank + 1)

    set_rank(model.weights, model, 0)
    last = max(ranks.values())
    gone = {lookup.models[digest].weights for digest in lookup.withdrawn_models() if digest in lookup.models}
    boxes, arrows = [], []
    used: dict[int, int] = {}
    for digest, rank in sorted(ranks.items(), key=lambda item: (-item[1], item[0])):
        known = models.get(digest)
        along = 2 * (last - rank)
        lane = used[along] = used.get(along, -1) + 1
        kind = "net" + (" withdrawn" if digest in gone else "") + (" last" if digest == model.weights else "")
        title = known.label if known else names.get(digest, "network")
        rows = f"{known.passport.training_rows} rows" if known else "not recorded"
        href = model_link(known.name, known.version) if known and digest != model.weights else ""
        boxes.append(Box(digest, title, lane, along, (digest[:12], rows), kind, href))
        arrows += [Arrow(parent, digest) for parent in (known.passport.parents.values() if known else ())]
    return draw(boxes, arrows, label=f"The networks that {model.label} started or learnt from")
