"""The text of a table in the encodings that programs write: UTF-8, and with a mark UTF-16; any other is asked for."""

import codecs
from pathlib import Path

from labelfactory.errors import UserError
from labelfactory.foreign_files import LARGEST_TABLE, FileRefusedError, read_file
from sources._findings import Findings

ENCODINGS = ("cp1252", "cp1250", "cp1251", "mac_roman", "shift_jis", "gb18030")
"""What Excel writes as CSV, by country; the first that reads a row is shown."""


def table_text(findings: Findings, path: Path, encoding: str = "") -> str | None:
    """The text of a table; None, and a problem, if it cannot be read.

    Args:
        findings: collects the problems.
        path: the table.
        encoding: as the user named it; empty to find out.

    Raises:
        UserError: there is no such encoding.
    """
    try:
        data = read_file(path, largest=LARGEST_TABLE)
    except FileRefusedError as error:
        findings.add(path.name, f"not readable: {error.reason}")
        return None
    if encoding:
        return _as_named(findings, path, data, encoding)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
        findings.decisions.append(f"{path.name} is read as UTF-16, as its first bytes say")
    elif len(data) > 3 and not any(data[1:40:2]):
        findings.add(path.name, "not readable: not UTF-8 text, but like UTF-16; --encoding utf-16-le reads it")
        return None
    try:
        return data.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        line = data.split(b"\n")[row - 1].strip()[:60]
        shown = next(
            (f"--encoding {name}, which reads {text!r} there" for name in ENCODINGS if (text := _read(line, name))), ""
        )
        reason = f"not UTF-8 text; save it as UTF-8 (in Excel: CSV UTF-8){f', or type {shown}' if shown else ''}"
        findings.add(path.name, f"not readable: {reason}", row)
        return None


def _as_named(findings: Findings, path: Path, data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise UserError(f"--encoding {encoding!r} is not known", f"Type one such as {', '.join(ENCODINGS)}.") from None
    except UnicodeDecodeError as error:
        findings.add(path.name, f"not readable: not {encoding} text", data.count(b"\n", 0, error.start) + 1)
        return None
    except UnicodeError:  # of codecs that do not say where
        findings.add(path.name, f"not readable: not {encoding} text")
        return None


def _read(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""
