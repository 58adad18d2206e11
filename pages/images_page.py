"""The pages of the images: the grid of all, and one image with its layers, its chain and its models."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from markupsafe import Markup

from labelfactory.dataset.corrections import HUMAN
from labelfactory.errors import MissingError, UserError
from labelfactory.rows.pairing import EARLIER, of_earlier
from labelfactory.schema import VOID
from labelfactory.settings.thresholds import THRESHOLDS
from labelfactory.settings.wiring import DATA, read_wiring
from lineage.mask_audit import MaskInData, audit_mask
from lineage.withdraw import models_of
from pages.chain import chain
from pages.image_query import ORDER_NAMES, QUALITIES, RATED, STATES, VIEWS, ImageQuery
from pages.line_layers import Layer, layers_of_line, model_file
from pages.links import image_link, model_link, picture_link
from pages.project import Project, version_of
from pages.snapshot import Row, Snapshot
from reporting.formats import percent
from reporting.page import class_colour
from reporting.phrases import NOT_MEASURED

PERIODS = {"24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days"}
LEAST_MODELS = 12
"""Newest models that the filter `changed since` offers."""
LEAST_MASKS = 8
"""Newest masks of an image that its page lists, beside the one in data/."""


def images_page(project: Project, query: ImageQuery) -> dict[str, Any]:
    """The grid: one page of the images that fit."""
    images = project.images()
    model = project.training_known(query, images)
    if query.model and model is None:
        raise MissingError("the ledger knows no such model", "Choose one on the page Models.")
    result = images.find(query, model)
    stamp = project.model_stamp()
    return {
        "query": query,
        "result": result,
        "images": images,
        "cells": [cell(row, query, stamp) for row in result.rows],
        "tags": sorted(images.tags.items(), key=lambda item: images.classes.index(item[0])),
        "colours": {name: class_colour(k) for k, name in enumerate(images.classes)},
        "states": STATES,
        "qualities": QUALITIES,
        "says": says_of(query),
        "orders": ORDER_NAMES,
        "views": VIEWS,
        "since": {**PERIODS, **_since_models(project)},
        "model": model,
        "unmeasured": score_of(query.quality) in images.unmeasured,
        "earlier": of_earlier("mask", images.earlier) if images.earlier else "",
        "pages": page_numbers(result.page, result.pages),
    }


def cell(row: Row, query: ImageQuery, stamp: str) -> dict[str, Any]:
    """An image in a grid."""
    name = "thumb" if row["digest"] and query.view == "mask" else "plain"
    return {
        "id": row["image_id"],
        "href": image_link(row["image_id"], **dict(_pairs(query))),
        "picture": picture_link(name, row["image_id"], version_of(name, row, stamp)) if row["width"] else "",
        "width": row["width"] or 4,
        "height": row["height"] or 3,
        "tags": row["tags"],
        "figure": row["figure"],
        "set_aside_by": row["set_aside_by"],
        "why": row["why"],
        "has_mask": bool(row["digest"]),
        "by_hand": row["source"] == HUMAN,
    }


def says_of(query: ImageQuery) -> str:
    """What the figure of a grid is."""
    quality = QUALITIES[query.quality]
    if quality.column == RATED and query.tag:
        return f"expected IoU of {query.tag} in the mask, found without its truth"
    return quality.says


def _pairs(query: ImageQuery) -> list[tuple[str, str]]:
    """Filters and order, for an image's address: they decide which images are its neighbours."""
    return parse_qsl(query.to_url(page=1, view=ImageQuery.view))


def _since_models(project: Project) -> dict[str, str]:
    try:
        with project.lookup() as lookup:
            models = lookup.versions()
    except UserError:
        return {}
    return {f"{m.name}@{m.version}": f"{m.label} learnt" for m in models[: -LEAST_MODELS - 1 : -1]}


def page_numbers(page: int, pages: int) -> list[int]:
    """Numbers to show: the first, the last, and those around the one that is shown; 0 stands for a gap."""
    near = {1, pages, *range(page - 2, page + 3)}
    numbers: list[int] = []
    for number in sorted(n for n in near if 1 <= n <= pages):
        if numbers and number - numbers[-1] > 1:
            numbers.append(0)
        numbers.append(number)
    return numbers


def image_page(project: Project, image_id: str, query: ImageQuery, params: Mapping[str, str]) -> dict[str, Any]:
    """One image: its layers, why a pixel has its class, the chain behind its mask, the models that used it."""
    images, row = project.images(), project.row(image_id)
    model = project.training_known(query, images)
    before, after = images.neighbours(query, image_id, model)
    more = dict(_pairs(query))
    xy = _pixel_of(params)
    context = {
        "row": row,
        "classes": [(k, images.classes[k], class_colour(k)) for k in _class_ids(row, images)],
        "void": class_colour(VOID),
        "layers": layers(project, row, images),
        "show": params.get("show") if params.get("show") in layers_of_line() else "",
        "earlier": EARLIER.get(row["earlier"], ""),
        "figures": _image_figures(row, images),
        "before": image_link(before, **more) if before else "",
        "after": image_link(after, **more) if after else "",
        "back": f"/images?{kept}" if (kept := query.to_url(page=1)) else "/images",
        "place": xy,
        "why": pixel(project, image_id, *xy) if xy and row["digest"] else None,
    }
    return context | _provenance(project, row)


def _pixel_of(params: Mapping[str, str]) -> tuple[int, int] | None:
    x, y = params.get("x", ""), params.get("y", "")
    fits = all(text.isascii() and text.isdigit() and len(text) < 7 for text in (x, y))
    return (int(x), int(y)) if fits else None


def _class_ids(row: Row, images: Snapshot) -> list[int]:
    return [k for k, name in enumerate(images.classes) if name in row["tags"]]


def layers(project: Project, row: Row, images: Snapshot) -> list[dict[str, Any]]:
    """What can be laid over the photograph, in the order of the line: name, gloss, and addresses by class or one."""
    ids, stamp, image_id = _class_ids(row, images), project.model_stamp(), row["image_id"]

    def link(name: str) -> str:
        return picture_link(name, image_id, version_of(name, row, stamp))

    shown = []
    for layer in layers_of_line().values():
        there = _is_there(project, layer, row, ids)
        names = {k: f"{layer.kind}-{k}" for k in ids} if layer.heat else {0: layer.kind}
        links = {k: link(name) for k, name in names.items()} if there else {}
        shown.append(
            {
                "kind": layer.kind,
                "name": layer.name,
                "gloss": layer.gloss,
                "there": there,
                "why_not": "" if there else _why_not(project, layer, row),
                "heat": layer.heat,
                "src": next(iter(links.values()), ""),
                "links": links,
                "miou": row[f"miou_{layer.score}"] if layer.score else None,
                "unmeasured": bool(row["scored"]) and layer.score in images.unmeasured,
            }
        )
    return shown


def _why_not(project: Project, layer: Layer, row: Row) -> str:
    """Why a layer cannot be shown, in two or three words."""
    if layer.kind == "truth":
        return "scored before" if row["scored"] else "not scored"
    if layer.maker is None:
        return "other classes" if model_file().exists() and not project.model_fits() else "not made"
    return EARLIER[row["earlier"]] if row["earlier"] and layer.maker == read_wiring().masks else "not made"


def _is_there(project: Project, layer: Layer, row: Row, ids: list[int]) -> bool:
    """Whether there is something to show: a row of the image, a threshold for its cut, a model, a scored true mask."""
    if layer.kind == "truth":
        return bool(row["scored"]) and project.images().truths
    if layer.maker is None:
        return project.model_fits() and row["width"] > 0
    thresholds = layer.maker.meta.scores.thresholds
    fits = bool(ids) if layer.heat else not thresholds or (DATA / thresholds / THRESHOLDS).exists()
    return bool(row[f"digest_{layer.maker.noun}"]) and fits


def score_of(name: str) -> str:
    """The name of the score that a figure of quality is; empty for one that is none."""
    wiring = read_wiring()
    return {"masks": wiring.masks.meta.scores.name, "model": wiring.model.meta.scores.name}.get(name, "")


def _image_figures(row: Row, images: Snapshot) -> list[tuple[str, str, str]]:
    """(name, figure, explanation)."""
    figures = []
    for name, quality in QUALITIES.items():
        if row[quality.column] is not None:
            figures.append((quality.name, f"{percent(row[quality.column])} %", quality.says))
        elif row["scored"] and score_of(name) in images.unmeasured:
            figures.append((quality.name, NOT_MEASURED, quality.says))
    return figures


def _provenance(project: Project, row: Row) -> dict[str, Any]:
    """The chain behind the mask on the page, or else behind the newest recorded one, and what must go with the image."""
    try:
        with project.lookup() as lookup:
            held = MaskInData(row["digest"] or "", row["key"] or "")
            answer = audit_mask(lookup, row["image_id"], held=held)
            users = lookup.users([row["image_id"]])
            models, descendants = models_of(lookup, users)
            known = {digest: (m.label, model_link(m.name, m.version)) for digest, m in lookup.models.items()}
    except UserError as error:
        return {
            "chain": Markup(""),
            "unrecorded": error,
            "answer": None,
            "must_go": [],
            "made_with": [],
            "versions": [],
        }
    versions = answer["versions"][::-1]
    users_of = [{**u, "href": known.get(u["weights"], ("", ""))[1]} for u in reversed(answer["models"])]
    return {
        "chain": chain(answer, dict(known.values())),
        "unrecorded": None,
        "is_recorded": answer["in_data"] is not None or not row["digest"],
        "answer": {**answer, "models": users_of},
        "versions": [v for k, v in enumerate(versions) if k < LEAST_MASKS or v["version"] == answer["in_data"]],
        "mask_maker": read_wiring().masks.name,
        "must_go": [known[d] for d in models if d in known],
        "made_with": [known[d] for d in descendants if d in known],
    }


def pixel(project: Project, image_id: str, x: int, y: int) -> dict[str, Any]:
    """Why a pixel has its class: the scores of each class, step by step, as rows of a table."""
    row = project.row(image_id)
    images = project.images()
    answer = project.pixel_audit(row).at(x, y)
    winners = {step["winner"] for step in answer["steps"]}  # a person may have drawn a class that no tag names
    names = [n for n in images.classes if n == "background" or n in row["tags"] or n in winners]
    lines = []
    for name in names:
        cells = []
        for step in answer["steps"]:
            score = step.get("scores", {}).get(name)
            if name == "background":
                score = step.get("background_threshold", score)
            cells.append({"score": score, "wins": step["winner"] == name})
        lines.append({"name": name, "colour": class_colour(images.classes.index(name)), "cells": cells})
    return {**answer, "rows": lines, "colour": class_colour(answer["class_id"])}
