"""The page of the differences between two sets of masks: first from the ledger alone, then pixel by pixel."""

import re
from typing import Any

import numpy as np

from labelfactory.errors import MissingError, UserError
from labelfactory.rows.pairing import renumbered
from labelfactory.schema import VOID, Mask
from lineage.diff import compare, lines_between
from lineage.mask_set import MaskSet
from pages.layers import shown, webp
from pages.links import image_link
from pages.project import Project
from pages.snapshot import record_of
from reporting.page import class_colour
from reporting.pictures import mask_over, shrink

NAMES = re.compile(r"[A-Za-z0-9_@-]{1,64}")
"""Names of a set: a model, a run, a commit, `now`. No such name is a path that leads out of the project."""
SIDES = ("a", "b", "changed")
SHOWN = 60
"""Images that are listed by name."""


def diff_page(project: Project, first: str, second: str) -> dict[str, Any]:
    """Counts, causes, settings and scores, from the ledger alone."""
    choices = _choices(project)
    context: dict[str, Any] = {"choices": choices, "a": first, "b": second, "answer": None, "problem": None}
    if not first or not second:
        versions = [name for name in choices if name.isdigit()]
        context["a"], context["b"] = (versions[1], versions[0]) if len(versions) > 1 else ("", "now")
        return context
    try:
        answer, a, b = _answer(project, first, second, pixels=False)
        with project.lookup() as lookup:
            context |= lines_between(lookup, a, b)
        return context | {"answer": answer, "links": _links(answer), "shown": SHOWN}
    except UserError as error:
        return context | {"problem": error}


def diff_pixels(project: Project, first: str, second: str) -> dict[str, Any]:
    """Pixels per class and cause, and the masks that changed most."""
    answer, _, _ = _answer(project, first, second, pixels=True)
    names = project.images().classes
    colours = {name: class_colour(k) for k, name in enumerate(names)} | {"void": class_colour(VOID)}
    most = max((n for counts in answer["classes"].values() for n in counts.values()), default=1)
    known = project.images().some(item["image_id"] for item in answer["worst"])
    return {"answer": answer, "a": first, "b": second, "colours": colours, "most": most, "known": known}


def diff_picture(project: Project, first: str, second: str, image_id: str, which: str) -> tuple[bytes, str]:
    """The mask of one set, or what differs, over the photograph.

    Raises:
        MissingError: a set has no such mask, or its pixels are no longer on disk.
    """
    row = project.row(image_id)
    sets = [project.mask_set(checked(name)) for name in (first, second)]
    classes = project.images().classes[1:]
    old, new = (_mask_of(each, image_id, classes) for each in sets)
    mask = {"a": old, "b": new}.get(which)
    if which == "changed" and old is not None and new is not None and old.shape == new.shape:
        mask = np.where(old != new, new, 0).astype(np.uint8)
        mask[(old != new) & (new == 0)] = VOID  # what became background is hatched
    if mask is None:
        raise MissingError("these pixels are no longer on disk", "`dvc pull` may fetch them.")
    return webp(mask_over(shrink(shown(record_of(row).photograph())), mask))


def _mask_of(masks: MaskSet, image_id: str, classes: tuple[str, ...]) -> Mask | None:
    """A mask of a set in the numbers that the classes have on the page, [H, W]; None where its pixels are gone."""
    mask = masks.mask(image_id) if image_id in masks.rows else None
    return None if mask is None else renumbered(mask, masks.classes.get(image_id, classes), classes)


def checked(name: str) -> str:
    """The name of a set, if it can be one.

    Raises:
        MissingError: it cannot.
    """
    if not NAMES.fullmatch(name) or name.startswith("-"):
        raise MissingError("no model, run or commit has such a name", "Choose one from the list, or type a commit.")
    return name


def _answer(project: Project, first: str, second: str, *, pixels: bool) -> tuple[dict[str, Any], Any, Any]:
    a, b = project.mask_set(checked(first)), project.mask_set(checked(second))
    return compare(a, b, pixels=pixels), a, b


def _choices(project: Project) -> dict[str, str]:
    """Name → what it is, newest first: `now`, then the models."""
    with project.lookup() as lookup:
        models, aliases = lookup.versions(), lookup.aliases()
    choices = {"now": "the masks on disk"}
    for model in reversed(models):
        given = [alias for alias, digest in aliases.items() if digest == model.digest]
        choices[str(model.version)] = ", ".join([model.label, *given, f"{model.time:%d %b %H:%M}"])
    return choices


def _links(answer: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    return {kind: [(i, image_link(i)) for i in answer[kind][:SHOWN]] for kind in ("added", "removed", "changed")}
