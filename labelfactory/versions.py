"""The git commit of the working folder and the versions of the libraries that compute."""

import subprocess

import numpy as np


def git_state(*, besides: str = "") -> tuple[str | None, bool | None]:
    """The commit of the working folder and whether tracked files differ from it; None outside a git repository.

    Args:
        besides: a file that does not count.
    """

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    others = ["--", ".", f":(exclude){besides}"] if besides else []
    changes = git("status", "--porcelain", "--untracked-files=no", *others) if commit else None
    return commit, None if changes is None else bool(changes)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute the weights."""
    import torch

    return {"torch": torch.__version__, "numpy": np.__version__}
