"""The pages of the images: the grid of all, and one of them with all that was made of it."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from labelfactory.dataset.corrections import HUMAN
from labelfactory.errors import MissingError, UserError
from labelfactory.schema import VOID
from lineage.audit import audit_mask
from lineage.withdraw import models_of
from pages.drawing import Arrow, Box, draw
from pages.image_query import ORDER_NAMES, QUALITIES, STATES, VIEWS, Wishes
from pages.layers import SEGMENTER
from pages.links import image_link, model_link, picture_link
from pages.project import Project, version_of
from pages.snapshot import DATA, Row, Snapshot
from reporting.formats import percent
from reporting.page import class_colour

PERIODS = {"24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days"}
LEAST_MODELS = 12
"""Newest models that the filter `changed since` offers."""
LAYERS = ("cam", "seed", "walk", "mask", "prediction", "truth")
LAYER_NAMES = {
    "cam": ("CAM", "where the classifier looked for the class"),
    "seed": ("seed", "the CAM, cut at its threshold"),
    "walk": ("walk", "the CAM, spread along learned affinities"),
    "mask": ("mask", "the walk, drawn to the edges: what a model learns from"),
    "prediction": ("prediction", "what the model on disk makes of the photograph"),
    "truth": ("truth", "the true mask, as evaluate scored it"),
}


def images_page(project: Project, wishes: Wishes) -> dict[str, Any]:
    """The grid: one page of the images that fit."""
    images = project.images()
    model = project.training_known(wishes, images)
    if wishes.model and model is None:
        raise MissingError("the ledger knows no such model", "Choose one on the page Models.")
    found = images.find(wishes, model)
    stamp = project.model_stamp()
    return {
        "wishes": wishes,
        "found": found,
        "images": images,
        "cells": [cell(row, wishes, stamp) for row in found.rows],
        "tags": sorted(images.tags.items(), key=lambda item: images.classes.index(item[0])),
        "colours": {name: class_colour(k) for k, name in enumerate(images.classes)},
        "states": STATES,
        "qualities": QUALITIES,
        "orders": ORDER_NAMES,
        "views": VIEWS,
        "since": {**PERIODS, **_since_models(project)},
        "model": model,
        "pages": page_numbers(found.page, found.pages),
    }


def cell(row: Row, wishes: Wishes, stamp: str) -> dict[str, Any]:
    """An image in a grid."""
    name = "thumb" if row["digest"] and wishes.view == "mask" else "plain"
    figure = row[QUALITIES[wishes.quality].column]
    return {
        "id": row["image_id"],
        "href": image_link(row["image_id"], **dict(_pairs(wishes))),
        "picture": picture_link(name, row["image_id"], version_of(name, row, stamp)) if row["width"] else "",
        "width": row["width"] or 4,
        "height": row["height"] or 3,
        "tags": row["tags"],
        "figure": figure,
        "set_aside_by": row["set_aside_by"],
        "why": row["why"],
        "has_mask": bool(row["digest"]),
        "by_hand": row["source"] == HUMAN,
    }


def _pairs(wishes: Wishes) -> list[tuple[str, str]]:
    """The wishes for an image's address: they say what its neighbours are."""
    return [(k, str(getattr(wishes, k))) for k in ("q", "tag", "state", "since", "of") if getattr(wishes, k)]


def _since_models(project: Project) -> dict[str, str]:
    try:
        with project.lookup() as lookup:
            found = [model for model in lookup.models.values() if model.name == "segmenter"]
    except UserError:
        return {}
    return {f"{m.name}@{m.version}": f"{m.label} learnt" for m in found[: -LEAST_MODELS - 1 : -1]}


def page_numbers(page: int, pages: int) -> list[int]:
    """Numbers to show: the first, the last, and those around the one that is shown; 0 stands for a gap."""
    near = {1, pages, *range(page - 2, page + 3)}
    found: list[int] = []
    for number in sorted(n for n in near if 1 <= n <= pages):
        if found and number - found[-1] > 1:
            found.append(0)
        found.append(number)
    return found


def image_page(project: Project, image_id: str, wishes: Wishes, query: Mapping[str, str]) -> dict[str, Any]:
    """One image: its layers, why a pixel has its class, the chain behind its mask, the models that used it."""
    images, row = project.images(), project.row(image_id)
    model = project.training_known(wishes, images)
    before, after = images.neighbours(wishes, row["position"], model)
    more = dict(_pairs(wishes))
    place = _place(query)
    context = {
        "row": row,
        "classes": [(k, images.classes[k], class_colour(k)) for k in _class_ids(row, images)],
        "void": class_colour(VOID),
        "layers": layers(project, row, images),
        "show": query.get("show") if query.get("show") in LAYERS else "",
        "figures": _image_figures(row),
        "before": image_link(before, **more) if before else "",
        "after": image_link(after, **more) if after else "",
        "back": "/images?" + wishes.query(page=1) if wishes.is_filter else "/images",
        "place": place,
        "why": pixel(project, image_id, *place) if place and row["digest"] else None,
    }
    return context | _provenance(project, row)


def _place(query: Mapping[str, str]) -> tuple[int, int] | None:
    x, y = query.get("x", ""), query.get("y", "")
    fits = all(text.isascii() and text.isdigit() and len(text) < 7 for text in (x, y))
    return (int(x), int(y)) if fits else None


def _class_ids(row: Row, images: Snapshot) -> list[int]:
    return [k for k, name in enumerate(images.classes) if name in row["tags"]]


def layers(project: Project, row: Row, images: Snapshot) -> list[dict[str, Any]]:
    """What can be laid over the photograph, in the order of the line: name, gloss, and addresses by class or one."""
    ids, stamp, image_id = _class_ids(row, images), project.model_stamp(), row["image_id"]

    def link(name: str) -> str:
        return picture_link(name, image_id, version_of(name, row, stamp))

    there = {
        "cam": bool(row["cam_digest"] and ids),
        "seed": bool(row["cam_digest"] and (DATA / "seed_thresholds" / "thresholds.json").exists()),
        "walk": bool(row["walk_digest"] and ids),
        "mask": bool(row["digest"]),
        "prediction": SEGMENTER.exists() and row["width"] > 0,
        "truth": bool(row["scored"]),
    }
    found = []
    for kind in LAYERS:
        name, gloss = LAYER_NAMES[kind]
        heat = kind in ("cam", "walk")
        names = {k: f"{kind}-{k}" for k in ids} if heat else {0: kind}
        links = {k: link(layer) for k, layer in names.items()} if there[kind] else {}
        score = {"seed": "seeds", "walk": "walks", "mask": "masks", "prediction": "model"}.get(kind)
        found.append(
            {
                "kind": kind,
                "name": name,
                "gloss": gloss,
                "there": there[kind],
                "heat": heat,
                "src": next(iter(links.values()), ""),
                "links": links,
                "miou": row[f"miou_{score}"] if score else None,
            }
        )
    return found


def _image_figures(row: Row) -> list[tuple[str, str, str]]:
    """(name, figure, what it says)."""
    return [
        (quality.name, f"{percent(row[quality.column])} %", quality.says)
        for quality in QUALITIES.values()
        if row[quality.column] is not None
    ]


def _provenance(project: Project, row: Row) -> dict[str, Any]:
    """The chain behind the newest recorded mask, and what must go with the image."""
    try:
        with project.lookup() as lookup:
            answer = audit_mask(lookup, row["image_id"])
            users = lookup.users([row["image_id"]])
            models, descendants = models_of(lookup, users)
            known = {digest: (m.label, model_link(m.name, m.version)) for digest, m in lookup.models.items()}
    except UserError as error:
        return {"chain": Markup(""), "unrecorded": error, "answer": None, "must_go": [], "made_with": []}
    recorded = any(version["digest"] == row["digest"] for version in answer["versions"])
    users_of = [{**u, "href": known.get(u["weights"], ("", ""))[1]} for u in reversed(answer["models"])]
    return {
        "chain": chain(answer, row, dict(known.values())),
        "unrecorded": None,
        "is_recorded": recorded or not row["digest"],
        "answer": {**answer, "models": users_of},
        "must_go": [known[d] for d in models if d in known],
        "made_with": [known[d] for d in descendants if d in known],
    }


def chain(answer: Mapping[str, Any], row: Row, links: Mapping[str, str]) -> Markup:
    """Photograph, tags, classifier, CAM, affinity net, teacher if any, walk, mask, and the models that learnt from it."""
    steps = {str(step["step"]).partition(" (")[0]: step for step in answer["chain"]}
    if not steps:
        return Markup("")

    def box(id: str, title: str, lane: int, rank: int, digest: str | None, *, kind: str, href: str = "") -> Box:
        return Box(id, title, lane, rank, ((digest or "not known")[:12],), kind, href)

    tags = ", ".join(row["tags"]) or "none"
    boxes = [
        box("photograph", "photograph", 1, 0, steps["photograph"]["digest"], kind="data"),
        Box("tags", "tags", 2, 0, (tags,), "data"),
        box("mask", f"mask {answer['version']}", 1, 6, steps["mask"]["digest"], kind="made last", href="#layers"),
    ]
    ways = ["photograph>person", "person>mask"]
    if "CAM" in steps:
        classifier, affinity = (steps[name]["model"] for name in ("classifier", "affinity net"))
        threshold = steps["mask"].get("made_by", {}).get("threshold")
        boxes += [
            box("classifier", classifier or "classifier", 0, 1, steps["classifier"]["digest"], kind="net",
                href=links.get(classifier or "", "")),
            box("cam", "CAM", 1, 2, steps["CAM"]["digest"], kind="made", href="#layers"),
            box("affinity", affinity or "affinity net", 0, 3, steps["affinity net"]["digest"], kind="net",
                href=links.get(affinity or "", "")),
            box("walk", "walk", 1, 4, steps["walk"]["digest"], kind="made", href="#layers"),
            box("threshold", "threshold", 2, 5, threshold, kind="data"),
        ]  # fmt: skip
        ways = ["photograph>cam", "tags>cam", "classifier>cam", "classifier>affinity", "affinity>walk",
                "walk>threshold", "walk>mask", "threshold>mask"]  # fmt: skip
        if "teacher" in steps:  # its scores walk, not the CAM; it learnt from labels made of CAMs
            teacher = steps["teacher"]["model"]
            boxes.append(box("teacher", teacher or "teacher", 2, 3, steps["teacher"]["digest"], kind="net",
                             href=links.get(teacher or "", "")))  # fmt: skip
            ways += ["cam>teacher", "teacher>walk"]
        else:
            ways.append("cam>walk")
    else:  # drawn over the photograph: nothing that the line made stands behind it
        boxes.append(Box("person", "a person", 1, 3, ("drew the mask",), "net"))
    arrows = [Arrow(*way.split(">")) for way in ways]
    learnt = [user for user in answer["models"] if user["this_version"] and user["model"].startswith("segmenter")]
    for number, user in enumerate(learnt[-3:]):
        id = f"model-{number}"
        kind = "net withdrawn" if user["withdrawn"] else "net"
        boxes.append(box(id, user["model"], number, 7 + number % 2, user["weights"], kind=kind,
                         href=links.get(user["model"], "")))  # fmt: skip
        arrows.append(Arrow("mask", id))
    return draw(boxes, arrows, label=f"From photograph to mask {answer['version']}, and the models that learnt from it")


def pixel(project: Project, image_id: str, x: int, y: int) -> dict[str, Any]:
    """Why a pixel has its class: the scores of each class, step by step, as rows of a table."""
    row = project.row(image_id)
    images = project.images()
    answer = project.evidence(row).at(x, y)
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
