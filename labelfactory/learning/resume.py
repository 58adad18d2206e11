"""The state of a training after its last finished epoch, from which an interrupted run resumes."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from labelfactory.console import say
from labelfactory.devices import FabricPrecision
from labelfactory.files import write_whole

STATE = "resume.pt"
"""The file's name."""


class Resume:
    """The state after the last finished epoch, in a file beside the future checkpoint; deleted when training is done."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.precision: FabricPrecision | None = None
        """In which the steps are made; kept with the state, as the rest of a training is made in the same."""

    def load(self) -> dict[str, Any] | None:
        """The state, or None when there is none, it belongs to another key, or it is damaged."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # a damaged file may raise anything
            state = None
        if not isinstance(state, dict) or "key" not in state:
            self._say_damaged()
            return None
        return state if state["key"] == self.key else None

    def _say_damaged(self) -> None:
        say(f"{self.path}: damaged; training starts at the first epoch")

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state atomically."""
        with write_whole(self.path) as temporary:
            torch.save({**state, "key": self.key, "precision": self.precision}, temporary)

    def epochs(self) -> int:
        """Number of finished epochs whose state is on the disk."""
        state = self.load()
        return int(state["epoch"]) if state is not None else 0

    def kept_precision(self) -> FabricPrecision | None:
        """The precision of the finished epochs; None where there are none, or an earlier version did not note it."""
        found = (self.load() or {}).get("precision")
        return next((name for name in get_args(FabricPrecision) if name == found), None)

    def restore(
        self, model: nn.Module, optimizer: Any, average: AveragedModel | None
    ) -> tuple[int, list[dict[str, float]]]:
        """Load weights, optimiser and average. Returns the number of finished epochs, and their curve."""
        state = self.load()
        if state is None:
            return 0, []
        parts = {"model": model, "optimizer": optimizer} | ({"average": average} if average is not None else {})
        before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        try:
            curve = _checked_curve(state["epoch"], state["curve"])
            _check_groups(state["optimizer"], before["optimizer"])
            for name, part in parts.items():
                part.load_state_dict(state[name])
        except Exception:  # of another shape than this network's state; any error, as `load_state_dict` checks little
            for name, part in parts.items():
                part.load_state_dict(before[name])
            self._say_damaged()
            return 0, []
        return len(curve), curve

    def keep(
        self,
        model: nn.Module,
        optimizer: Any,
        average: AveragedModel | None,
        epoch: int,
        curve: Sequence[Mapping[str, float]],
    ) -> None:
        """Write what `restore` loads, after an epoch."""
        self.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.state_dict() if average is not None else None,
                "epoch": epoch,
                "curve": list(curve),
            }
        )

    def clear(self) -> None:
        """Delete the file when training is done."""
        self.path.unlink(missing_ok=True)


def _checked_curve(epoch: Any, curve: Any) -> list[dict[str, float]]:
    """The curve of so many epochs: figures by name, one mapping an epoch. Raises ValueError where it is not that."""
    rows = isinstance(curve, list) and all(isinstance(row, dict) and {"epoch", "loss"} <= row.keys() for row in curve)
    if not rows or epoch != len(curve) or not all(isinstance(v, float) for row in curve for v in row.values()):
        raise ValueError("not the curve of its epochs")
    return list(curve)


def _check_groups(optimizer: Any, own: Any) -> None:
    """Check that settings are there for each group of parameters; torch takes any. Raises ValueError where they are not."""
    if [set(group) for group in optimizer["param_groups"]] != [set(group) for group in own["param_groups"]]:
        raise ValueError("not the settings of this optimiser")
