"""The drawing of the chain behind a mask: photograph, tags, networks, rows, thresholds, and the models that learnt from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from labelfactory.settings.wiring import StageWiring, read_wiring
from pages.drawing import Arrow, Box, draw

NETWORKS, ROWS, BELOW = 0, 1, 2
"""Lanes: networks above, rows in the middle, thresholds and optional networks below."""
MODELS = 3
"""Models that learnt from the mask, at most; the newest."""


@dataclass
class _Chain:
    """Boxes and arrows as they are added, and where the next rows stand."""

    links: Mapping[str, str]
    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    rank: int = 0
    last: StageWiring | None = None

    def box(self, id: str, title: str, lane: int, rank: int, digest: str | None, *, kind: str, href: str = "") -> None:
        """A box with the first digits of a digest."""
        self.boxes.append(Box(id, title, lane, rank, ((digest or "not known")[:12],), kind, href))

    def arrow(self, start: str, end: str) -> None:
        """From one box to another."""
        self.arrows.append(Arrow(start, end))

    def free_lane(self, rank: int) -> int:
        """The first lane that is free there, the lane of rows aside."""
        taken = {box.lane for box in self.boxes if box.rank == rank} | {ROWS}
        return next(lane for lane in range(len(taken) + 1) if lane not in taken)

    def add_rows(
        self, stage: StageWiring, step: Mapping[str, Any], networks: list[Mapping[str, Any]], kind: str
    ) -> None:
        """The rows of a stage, with the networks and thresholds that they were made with before them."""
        rank = self.rank + 2
        replaced = [self._network(network, rank - 1, stage) for network in networks]
        for name, digest in step.get("made_by", {}).items():
            if "threshold" in name:
                id = f"{stage.noun}-{name}"
                self.box(id, "threshold", max(self.free_lane(rank - 1), BELOW), rank - 1, digest, kind="data")
                if self.last is not None:
                    self.arrow(self.last.noun, id)
                self.arrow(id, stage.noun)
        self.box(stage.noun, stage.word, ROWS, rank, step["digest"], kind=kind, href="#layers")
        if self.last is None:
            self.arrow("photograph", stage.noun)
            self.arrow("tags", stage.noun)
        elif not any(replaced):
            self.arrow(self.last.noun, stage.noun)
        self.rank, self.last = rank, stage

    def _network(self, step: Mapping[str, Any], rank: int, rows: StageWiring) -> bool:
        """A network before the rows that it made. Returns whether its scores replace the rows before them."""
        trainer = next((s for s in read_wiring().of_kind("network") if s.word == step["step"]), None)
        id, title = (trainer.noun if trainer else step["step"]), step["model"] or step["step"]
        self.box(id, title, self.free_lane(rank), rank, step["digest"], kind="net", href=self.links.get(title, ""))
        self.arrow(id, rows.noun)
        replaces = trainer is not None and self.last is not None and trainer.meta.replaces == self.last.noun
        if replaces and self.last is not None:  # it learnt from labels made of those rows, and its scores go on
            self.arrow(self.last.noun, id)
        elif trainer is not None:
            for other in trainer.inputs:
                if any(box.id == other and box.kind == "net" for box in self.boxes):
                    self.arrow(other, id)
        return replaces


def chain(answer: Mapping[str, Any], links: Mapping[str, str]) -> Markup:
    """The chain of an image's mask as a graph; empty where the ledger knows no mask.

    Args:
        answer: of `lineage.mask_audit.audit_mask`.
        links: label of a model → its page.
    """
    if not answer["chain"]:
        return Markup("")
    photograph, tags, *steps, mask = answer["chain"]
    drawn, maker = _Chain(links), read_wiring().masks
    drawn.box("photograph", "photograph", ROWS, 0, photograph["digest"], kind="data")
    drawn.boxes.append(Box("tags", "tags", BELOW, 0, (", ".join(tags["tags"]) or "none",), "data"))
    *before, (_, networks) = _grouped(steps)
    for step, made_with in before:
        stage = next(s for s in read_wiring().of_kind("rows") if s.word == step["step"])
        drawn.add_rows(stage, step, made_with, "made")
    if before:
        drawn.add_rows(maker, mask, networks, "made last")
    else:  # drawn over the photograph: nothing that the line made stands behind it
        drawn.boxes.append(Box("person", "a person", ROWS, 3, ("drew the mask",), "net"))
        drawn.box(maker.noun, maker.word, ROWS, 6, mask["digest"], kind="made last", href="#layers")
        drawn.arrow("photograph", "person")
        drawn.arrow("person", maker.noun)
        drawn.rank = 6
    last = drawn.boxes.pop()
    drawn.boxes.append(
        Box(last.id, f"{maker.word} {answer['version']}", last.lane, last.rank, last.lines, last.kind, last.href)
    )
    _add_models(drawn, answer, maker.noun)
    label = f"From photograph to {maker.word} {answer['version']}, and the models that learnt from it"
    return draw(drawn.boxes, drawn.arrows, label=label)


def _grouped(steps: list[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    """Each step of rows with the networks before it; at the end an empty step, with the networks of the mask."""
    networks: list[Mapping[str, Any]] = []
    for step in steps:
        if "made_by" in step:
            yield step, networks
            networks = []
        else:
            networks.append(step)
    yield {}, networks


def _add_models(drawn: _Chain, answer: Mapping[str, Any], mask: str) -> None:
    """The newest models that learnt from this mask."""
    name = read_wiring().model.noun
    learnt = [user for user in answer["models"] if user["this_version"] and user["model"].partition(" ")[0] == name]
    for number, user in enumerate(learnt[-MODELS:]):
        kind = "net withdrawn" if user["withdrawn"] else "net"
        rank = drawn.rank + 1 + number % 2
        drawn.box(f"model-{number}", user["model"], number, rank, user["weights"], kind=kind,
                  href=drawn.links.get(user["model"], ""))  # fmt: skip
        drawn.arrow(mask, f"model-{number}")
