"""The error of a run whose stage failed. Imports no DVC, so that any command can catch it."""

from labelfactory.errors import LabelfactoryError
from labelfactory.interrupt import EXIT_CODE


class StageFailedError(LabelfactoryError):
    """A stage ended with an error, which it has printed."""

    def __init__(self, stage: str, exit_code: int) -> None:
        self.stage = stage
        self.killed_by = -exit_code if exit_code < 0 else max(exit_code - 128, 0)  # a shell says 128 + signal
        """The signal that killed it, such as 9 when memory ran out; 0 for none."""
        self.interrupted = exit_code == EXIT_CODE
        """Whether it was told to end, and has said so."""
        self.exit_code = 1 if self.killed_by else exit_code
        how = f"was killed by signal {self.killed_by}" if self.killed_by else "failed"
        super().__init__(f"the stage {stage} {how}")
