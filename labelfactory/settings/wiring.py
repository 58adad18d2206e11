"""dvc.yaml, read: names of the stages in order, and the code that each depends on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.settings.closure import Chosen, code_digest
from labelfactory.settings.params import read_yaml

WIRING_FILE = Path("dvc.yaml")


@dataclass(frozen=True)
class StageWiring:
    """One stage of dvc.yaml."""

    name: str
    command: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    metrics: tuple[str, ...]

    @property
    def code(self) -> tuple[Path, ...]:
        """The dependencies that are code: files and folders outside data/."""
        return tuple(Path(d) for d in self.deps if not d.startswith("data/"))

    def code_digest(self, chosen: Chosen | None = None) -> str:
        """Digest of the code that decides what this stage makes; arguments and errors as for `closure.code_digest`."""
        return code_digest(f"stages.{self.name}", chosen)


def read_wiring(path: Path = WIRING_FILE) -> dict[str, StageWiring]:
    """All stages by name, in dvc.yaml's order, which is the order of the line."""
    stages = read_yaml(path).get("stages", {})
    return {name: _stage(name, body) for name, body in stages.items()}


def stage_wiring(name: str) -> StageWiring:
    """One stage of dvc.yaml.

    Raises:
        ParamsError: there is no stage of that name.
    """
    wiring = read_wiring()
    if name not in wiring:
        raise ParamsError(f"{name!r} is no stage{did_you_mean(name, wiring)}")
    return wiring[name]


def _stage(name: str, body: dict[str, Any]) -> StageWiring:
    def paths(key: str) -> tuple[str, ...]:
        return tuple(next(iter(item)) if isinstance(item, dict) else item for item in body.get(key, []))

    return StageWiring(name, body["cmd"], paths("deps"), paths("params"), paths("outs"), paths("metrics"))
