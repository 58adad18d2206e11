"""DVC's notes of files and their digests: in the project, where other users of the machine cannot write.

DVC keeps them in /var/tmp/dvc, below a folder in which everybody may rename, and unpickles what it finds there: another user
could have code run, or a changed file taken for unchanged.
"""

import os
from pathlib import Path

from configobj import ConfigObj, ConfigObjError
from dvc.config import Config, ConfigError

from flows.server.private_files import OWNER_ONLY, own_folder
from labelfactory.console import say
from labelfactory.files import make_folder, remove_leftovers, write_whole
from labelfactory.lock import file_lock

DVC = Path(".dvc")
VARIABLE = "DVC_SITE_CACHE_DIR"
"""Of DVC; whoever sets it has chosen a place."""
SETTING = "site_cache_dir"


def keep_state_private(project: Path = Path()) -> None:
    """Have DVC, also bare `dvc` commands in this clone, keep its notes in a folder of this user below .dvc/tmp.

    Nothing is done outside of a repository, or where a place was chosen in DVC's settings. Settings that are a link stay
    as they are: their file may be another project's too. Then only this process and what it starts keep their notes there.

    Args:
        project: its folder.

    Raises:
        UserError: the folder is a link or another user's.
        DiskError: it cannot be made.
    """
    dvc = project.absolute() / DVC
    if VARIABLE in os.environ or not dvc.is_dir():
        return
    name = f"site-{os.geteuid()}"  # users who share a clone have notes of their own
    folder = dvc / "tmp" / name
    try:
        chosen = Config(str(dvc), validate=False)["core"].get(SETTING, "")
    except (ConfigError, KeyError):  # DVC says what is wrong with it
        return
    ours = Path(chosen).parts[-3:-1] == (".dvc", "tmp") and Path(chosen).name.startswith("site-")
    if chosen and not ours:
        return
    is_new = not folder.exists()
    make_folder(folder.parent)
    own_folder(folder, allowed=OWNER_ONLY)
    own_folder(folder / "repo", allowed=OWNER_ONLY)  # DVC would make it for everybody
    if chosen == str(folder):
        return
    settings = dvc / "config.local"
    if not settings.is_symlink():
        _note(settings, str(folder))
        return
    os.environ[VARIABLE] = str(folder)  # DVC's own way, for this process and its children
    if is_new:
        say(
            f"{DVC / settings.name} is a link and stays so; for bare `dvc` commands, see that it has {SETTING} = {folder} "
            "in its section core"
        )


def _note(path: Path, folder: str) -> None:
    """Write the place into the settings that are not committed: it is absolute, as DVC takes another from where it is called.

    People keep logins of remotes in this file: it is replaced whole, and readable for whom it was.
    """
    with file_lock(Path(folder) / "config.lock"):
        remove_leftovers(path.parent, (path.name,))  # of a process that was killed here
        try:
            config = ConfigObj(str(path), interpolation=False)  # what DVC reads and writes it with
        except (ConfigObjError, UnicodeDecodeError):
            return
        config.setdefault("core", {})[SETTING] = folder
        config.filename = None  # so that `write` gives lines
        with write_whole(path, mode=0o600) as temporary:
            if path.exists():
                temporary.chmod(path.stat().st_mode & 0o777)
            temporary.write_text("".join(f"{line}\n" for line in config.write()), encoding="utf-8")
