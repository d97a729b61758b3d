# SPDX-License-Identifier: Apache-2.0
"""The log of every process of the command line: one event a line, as JSON or for people.

Invariant: a line is a line. What anybody sent is escaped and cut before it is written, so nothing in it can begin a
line of its own, move a cursor or fill a disk by itself. No traceback is written, because one quotes values: of an error
only the kind and the place. Libraries that hold tokens, and asyncio, which prints values, say nothing below a warning.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from logging.handlers import WatchedFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from sealway.errors import LocalMisuse

STANDARD_ERROR: Final = "-"
MOST_MESSAGE: Final = 1_000
MOST_FIELD: Final = 200
MOST_FIELDS: Final = 16

_QUIET: Final = ("httpx", "httpcore", "asyncio", "h11")
"""They see tokens and values: never below a warning, whatever the level."""

_CHATTY: Final = ("uvicorn.access", "sealway.coap", "aiocoap", "coap", "coap-server")
"""A line for each request or odd datagram: only when everything is wanted."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class Level(StrEnum):
    """From which level on something is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Format(StrEnum):
    """How a line looks: an object for machines, or words for people."""

    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where a process's log goes.

    Fields: ``file`` is appended to, and opened anew when it was moved away; None and ``-`` are standard error.
    """

    file: Path | None = None
    level: Level = Level.INFO
    form: Format = Format.JSON


def begin(settings: LogSettings) -> None:
    """Send all logs of this process, those of its libraries too, where the settings say. Raises LocalMisuse."""
    handler = _opened(settings.file)
    handler.setFormatter(_Lines() if settings.form is Format.JSON else _Words())
    _install(handler)
    level = logging.getLevelNamesMapping()[settings.level.name]
    logging.getLogger().setLevel(max(level, logging.WARNING))
    for name in ("sealway", "uvicorn"):
        _plain(name).setLevel(level)
    for name in _CHATTY:
        _plain(name).setLevel(logging.DEBUG if settings.level is Level.DEBUG else logging.ERROR)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _plain(name: str) -> logging.Logger:
    """Return a logger that has no handlers of its own."""
    logger = logging.getLogger(name)
    logger.handlers, logger.propagate = [], True
    return logger


def _opened(file: Path | None) -> logging.Handler:
    if file is None or str(file) == STANDARD_ERROR:
        return _Stream(sys.stderr)
    try:
        return _File(file, encoding="utf-8")  # opened anew after logrotate has moved it
    except OSError as error:
        raise LocalMisuse(f"cannot write the log {file}: {(error.strerror or 'error').lower()}") from None


def _install(handler: logging.Handler) -> None:
    root = logging.getLogger()
    for before in [one for one in root.handlers if isinstance(one, _Stream | _File)]:
        root.removeHandler(before)
        with suppress(OSError):  # what it still held does not fit on the disk
            before.close()
    root.addHandler(handler)


class _Stream(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """A log that cannot be written ends nothing, and is not printed elsewhere: that would show its values."""


class _File(WatchedFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """A log that cannot be written ends nothing, and is not printed elsewhere: that would show its values."""


class _Lines(logging.Formatter):
    """One JSON object a line, in ASCII, so that no terminal and no viewer finds a control character in it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        line |= {"message": _cut(_message(record), MOST_MESSAGE)} | dict(_fields(record))
        return json.dumps(line, allow_nan=False)


class _Words(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record))
        message = _printable(_cut(_message(record), MOST_MESSAGE))
        return f"{_time(record)} {record.levelname.lower():<7} {_printable(record.name)}: {message}{fields}"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - a log call with wrong arguments must not cost the process, nor show them
        text = str(record.msg)
    return text.split("\n")[0] if record.name == "asyncio" else text  # its further lines are the repr of values


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    """Yield what was given as ``extra``, as far as it is plain, and of an error its kind and place."""
    given = [(name, value) for name, value in vars(record).items() if name not in _STANDARD]
    for name, value in given[:MOST_FIELDS]:
        if isinstance(value, str):
            yield name, _cut(str(value), MOST_FIELD)
        elif value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            yield name, value
    if record.exc_info and record.exc_info[0] is not None:
        yield "error", record.exc_info[0].__name__
        yield "place", _place(record.exc_info[2])


def _place(trace: TracebackType | None) -> str | None:
    """Return module and line where an error was raised."""
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more)"


def _shown(value: object) -> str:
    text = _printable(str(value))
    return text if text and " " not in text else json.dumps(text, ensure_ascii=False)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")
