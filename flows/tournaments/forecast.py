"""What a run will cost, by the pace of the same stages: in the nodes that are there, else in the project's own last runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.tournaments.nodes import DONE, NODES, Node
from labelfactory.errors import UserError
from labelfactory.json_files import read_json
from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import read_wiring


@dataclass
class Forecast:
    """Seconds of nodes that are still to be run.

    Attributes:
        paces: stage → units and seconds of its largest run.
        unknown: stages whose pace is not known, of the nodes that were asked for.
    """

    paces: dict[str, tuple[float, float]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    @classmethod
    def of_stages(cls, stages: Iterable[str]) -> "Forecast":
        """By what is on disk now."""
        return cls({name: pace for name in stages if (pace := _pace(name)) is not None})

    def seconds(self, nodes: Iterable[Node]) -> float:
        """Of nodes that are not done, each once; a stage of unknown pace counts nothing and is noted."""
        total = 0.0
        for node in dict.fromkeys(nodes):
            if node.is_done:
                continue
            pace = self.paces.get(node.stage)
            if pace is None:
                self.unknown.add(node.stage)
            else:
                total += pace[1] * self._share(node, pace[0])
        return total

    def _share(self, node: Node, units: float) -> float:
        """How much of the known run a node is. Below some photographs, a training takes as many steps of whatever there is."""
        wiring = read_wiring()
        if wiring[node.stage].meta.kind not in ("rows", "network"):
            return 1.0
        share = node.selection.images / units
        return max(1.0, share) if wiring[node.stage].meta.kind == "network" else share


def _pace(stage: str) -> tuple[float, float] | None:
    found = [_of(path) for path in NODES.glob(f"{stage}-*/{DONE}")]
    known = [pace for pace in found if pace is not None]
    if known:
        return max(known)
    try:
        pace: Mapping[str, Any] | None = read_report(stage).get("pace")
    except UserError:
        pace = None
    return (float(pace["units"]), float(pace["seconds"])) if pace else None


def _of(path: Path) -> tuple[float, float] | None:
    try:
        pace = read_json(path, dict[str, Any], "").get("pace")
        return (float(pace["units"]), float(pace["seconds"])) if pace else None
    except (UserError, KeyError, TypeError, ValueError):
        return None
