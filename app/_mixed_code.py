"""The code of two folders at once: the command is one folder's, and the project in which one stands has code of its own.

Stages run with the code of the folder, the command with that of its environment: a method, a stage or a section that only one
of them has is then unknown.
"""

import filecmp
from pathlib import Path

import labelfactory

OWN_ENVIRONMENT = "Type `make install` in this folder and `source .venv/bin/activate`, or work in the other one."
SHARED_ENVIRONMENT = "Type `git pull` in this folder, which uses the environment of that one."


def mixed_code() -> str:
    """One phrase with both paths; empty where the command's code is that of this folder, or the same to the byte."""
    here, other = Path.cwd(), Path(labelfactory.__file__).resolve().parent.parent
    if not Path("dvc.yaml").is_file() or not Path("labelfactory/__init__.py").is_file() or here.resolve() == other:
        return ""
    differing = next((name for name in labelfactory.PACKAGES if _differs(here / name, other / name)), "")
    if not differing:
        return ""
    return (
        f"the code of two folders is mixed: this command is that of {other}, and {here} has other code in {differing}/"
    )


def mixed_remedy() -> str:
    """What to type then; a folder that `labelfactory new` made has no environment of its own."""
    here, other = (folder / ".venv" for folder in (Path.cwd(), Path(labelfactory.__file__).resolve().parent.parent))
    return SHARED_ENVIRONMENT if here.exists() and here.resolve() == other.resolve() else OWN_ENVIRONMENT


def _differs(here: Path, other: Path) -> bool:
    """Whether two folders hold other Python files, or files of other bytes."""
    if here.resolve() == other.resolve():
        return False
    files = [{path.relative_to(folder) for path in folder.rglob("*.py")} for folder in (here, other)]
    return files[0] != files[1] or any(not filecmp.cmp(here / name, other / name, shallow=False) for name in files[0])
