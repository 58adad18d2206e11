"""Why DVC could not move a file: one error that says so, in place of DVC's tracebacks and a count."""

import errno
import logging
import os

import pytest
from dvc.exceptions import CheckoutError, DvcException, UploadError

from flows.line.transfer_failures import LOGGERS, reasons_named
from labelfactory.files import DiskError


def _fail(name: str, reason: Exception, error: Exception, level: int = logging.ERROR) -> None:
    """What DVC does where a file fails: it logs the reason, and raises a count."""
    try:
        raise reason
    except type(reason):
        logging.getLogger(name).log(level, "failed to transfer '%s'", "0a1b", exc_info=True)
    raise error


def test_a_full_disk_is_named_and_nothing_is_printed(caplog):
    """DVC printed a traceback for each file and said how many failed."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "bucket/files/md5/0a/1b")
    with pytest.raises(DiskError, match="bucket/files/md5/0a/1b: no space is left"), reasons_named():
        _fail(LOGGERS[0], full, UploadError(2))
    assert not caplog.records


def test_a_full_disk_at_a_checkout_is_no_missing_file():
    """DVC gives the reason in a message for debugging alone."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "data/cams/shard-00000.parquet")
    with pytest.raises(DiskError, match="no space is left"), reasons_named():
        _fail("dvc.repo.checkout", full, CheckoutError(["data/cams"], {}), logging.DEBUG)
    with pytest.raises(CheckoutError), reasons_named():
        _fail("dvc.repo.checkout", FileNotFoundError("gone"), CheckoutError(["data/cams"], {}), logging.DEBUG)


def test_another_reason_is_in_the_error_without_passwords():
    """It was in the traceback alone."""
    refused = ValueError("https://me:secret@store/x: refused")
    with pytest.raises(DvcException, match="2 files failed to upload: ValueError") as caught, reasons_named():
        _fail(LOGGERS[0], refused, UploadError(2))
    assert "secret" not in str(caught.value)


def test_other_messages_are_printed_as_before(caplog):
    """A warning of a file that the remote lacks has no reason; afterwards the loggers are as they were."""
    before = [(logging.getLogger(name).level, list(logging.getLogger(name).filters)) for name in LOGGERS]
    with reasons_named():
        logging.getLogger(LOGGERS[1]).warning("some files are missing")
        logging.getLogger(LOGGERS[1]).debug("each step")
    assert [record.message for record in caplog.records] == ["some files are missing"]
    assert [(logging.getLogger(name).level, list(logging.getLogger(name).filters)) for name in LOGGERS] == before
