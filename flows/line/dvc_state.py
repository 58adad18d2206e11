"""DVC's notes of files and their digests: in the project, where other users of the machine cannot write.

DVC keeps them in /var/tmp/dvc, below a folder in which everybody may rename, and unpickles what it finds there: another user
could have code run, or a changed file taken for unchanged.
"""

import os
from pathlib import Path

from dvc.config import Config

from flows.server.private_files import OWNER_ONLY, own_folder

DVC = Path(".dvc")
VARIABLE = "DVC_SITE_CACHE_DIR"
"""Of DVC; whoever sets it has chosen a place."""


def keep_state_private(project: Path = Path()) -> None:
    """Have DVC, also bare `dvc` commands in this clone, keep its notes below .dvc/tmp; nothing outside of a repository.

    Args:
        project: its folder.

    Raises:
        UserError: the folder is a link or another user's.
        DiskError: it cannot be made.
    """
    dvc = project.absolute() / DVC
    if VARIABLE in os.environ or not dvc.is_dir():
        return
    folder = own_folder(own_folder(dvc / "tmp") / "site", allowed=OWNER_ONLY)
    own_folder(folder / "repo", allowed=OWNER_ONLY)  # DVC would make it for everybody
    config = Config(str(dvc))
    if config.load_one("local").get("core", {}).get("site_cache_dir") != str(folder):
        with config.edit(
            "local"
        ) as local:  # not committed: the path is absolute, as DVC takes another from where it is called
            local.setdefault("core", {})["site_cache_dir"] = str(folder)
