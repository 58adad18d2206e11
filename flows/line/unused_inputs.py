"""Find what DVC noted as used though no stage used it.

DVC notes the inputs of a stage after the stage has ended. A correction, an import or a profile that comes between a stage's own
last look at its inputs and DVC's would be noted as used, and the stage would be up to date for ever.
"""

from collections.abc import Sequence

from dvc.repo import Repo

from labelfactory.console import say
from labelfactory.settings.wiring import REPORTS
from labelfactory.stage.given import used_what_is_given

REASON = "its inputs or its code changed before it had ended"


def noted_unused(repo: Repo, stages: Sequence[str]) -> list[str]:
    """Those of these stages that DVC takes for up to date, though their inputs are not what they used.

    Raises:
        DataError: a report is damaged.
    """
    suspects = [name for name in stages if not used_what_is_given(name)]
    changed = repo.status(targets=suspects) if suspects else {}
    return [name for name in suspects if name not in changed]


def ask_again(repo: Repo, stages: Sequence[str]) -> list[str]:
    """Make DVC run these stages again where that is so, by deleting the report that says what they used. Gives their names.

    Raises:
        DataError: as `noted_unused`.
    """
    found = noted_unused(repo, stages)
    for name in found:
        say(f"{name}: {REASON}; it runs again for what that changes")
        (REPORTS / f"{name}.json").unlink(missing_ok=True)
    if found:
        repo._reset()  # it has seen these files
    return found
