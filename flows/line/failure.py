"""The end of a run whose stage failed. Loads nothing, so that any command may know it."""

from labelfactory.errors import LabelfactoryError


class StageFailedError(LabelfactoryError):
    """A stage ended with an error; it has said which."""

    def __init__(self, stage: str, exit_code: int) -> None:
        self.stage = stage
        self.killed_by = -exit_code if exit_code < 0 else max(exit_code - 128, 0)  # a shell says 128 + signal
        """The signal that ended it, such as 9 where memory ran out; 0 where it ended by itself."""
        self.exit_code = 1 if self.killed_by else exit_code
        how = f"was killed by signal {self.killed_by}" if self.killed_by else "failed"
        super().__init__(f"the stage {stage} {how}")
