"""Operations of git that take several steps, such as a merge: which one is unfinished in this folder."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

HALF_DONE = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}
"""Files in git's folder during an operation that stopped within a step."""
UNFINISHED = HALF_DONE | {"BISECT_LOG": "bisect", "sequencer": "cherry-pick"}
"""The same, with those between whose steps the tree is clean."""


def middle_of(operations: Mapping[str, str] = UNFINISHED) -> str:
    """The unfinished operation; "" where there is none, or no repository."""
    words = ["git", "rev-parse", "--git-dir"]
    try:
        folder = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.rstrip("\n")
    except (OSError, subprocess.SubprocessError):
        return ""
    return next((name for file, name in operations.items() if (Path(folder) / file).exists()), "")
