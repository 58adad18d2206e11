"""Why DVC could not send, fetch or write a file: it logs the reason of each with a traceback, and raises a count of them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.exceptions import DvcException, FileTransferError

from labelfactory.files import disk_error
from labelfactory.masking import masked

LOGGERS = ("dvc_data.hashfile.transfer", "dvc_data.index.fetch", "dvc.repo.checkout")
"""Those that name a file and the reason; the last one does so in messages for debugging."""


class _Reasons(logging.Filter):
    """Keeps what a message gives as its reason, and that message from being printed; others below `level` too."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level
        self.first: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is printed."""
        reason = record.exc_info[1] if record.exc_info else None
        self.first = self.first or reason
        return reason is None and record.levelno >= self.level


@contextmanager
def reasons_named() -> Iterator[None]:
    """Let DVC move files inside: where it fails, its error says why the first of them failed.

    Raises:
        DiskError: the disk is full, or cannot be written.
        DvcException: anything else.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    filters = [_Reasons(logger.getEffectiveLevel()) for logger in loggers]
    levels = [logger.level for logger in loggers]
    for logger, reasons in zip(loggers, filters, strict=True):
        logger.addFilter(reasons)
        logger.setLevel(logging.DEBUG)
    try:
        yield
    except DvcException as error:
        reason = next((reasons.first for reasons in filters if reasons.first), None)
        if reason is None:
            raise
        full = disk_error(Path(getattr(reason, "filename", None) or "DVC"), reason)
        if full is not None:
            raise full from error
        if not isinstance(error, FileTransferError):
            raise
        raise DvcException(f"{error}: {masked(f'{type(reason).__name__}: {reason}')}") from error
    finally:
        for logger, reasons, level in zip(loggers, filters, levels, strict=True):
            logger.removeFilter(reasons)
            logger.setLevel(level)
