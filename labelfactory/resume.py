"""The state of a training after its last finished epoch: what a run that was killed goes on from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from labelfactory.files import write_whole
from labelfactory.progress import say


class Resume:
    """The state after the last finished epoch, in a file beside the checkpoint to be. Gone when training is done."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def load(self) -> dict[str, Any] | None:
        """The state, or None when there is none, it belongs to another key, or it is damaged."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # a damaged file means no more than to begin at the first epoch
            say(f"{self.path}: damaged; training begins anew")
            return None
        return state if state.get("key") == self.key else None

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep the state, whole or not at all."""
        with write_whole(self.path) as temporary:
            torch.save({**state, "key": self.key}, temporary)

    def clear(self) -> None:
        """Training is done."""
        self.path.unlink(missing_ok=True)
