"""Secrets from Prefect Secret blocks, and logs without secrets."""

import logging
from contextlib import suppress
from typing import Any

from flows.server.api import Api
from labelfactory.masking import masked


def from_block(api: Api, name: str) -> str:
    """The value of a Prefect Secret block; empty if there is none.

    Raises:
        ApiError: the server refuses the request.
    """
    block = api.find(f"/block_types/slug/secret/block_documents/name/{name}?include_secrets=true")
    return str(block["data"]["value"]) if block else ""


def mask_logs() -> None:
    """Mask every message and traceback that this process logs from now on, also those of Prefect and other libraries."""
    if logging.getLogRecordFactory() is not _masked_record:
        logging.setLogRecordFactory(_masked_record)


def _masked_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    with suppress(TypeError, ValueError, KeyError):  # a message that does not fit its arguments: the handler reports it
        text = record.getMessage()
        if (clean := masked(text)) != text:
            record.msg, record.args = clean, None
    if record.exc_info and record.exc_info[0]:
        trace = logging.Formatter().formatException(record.exc_info)
        if (clean := masked(trace)) != trace:
            record.exc_text = clean  # which formatters take instead of making their own
    return record
