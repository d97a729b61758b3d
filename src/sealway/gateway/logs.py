# SPDX-License-Identifier: Apache-2.0
"""The gateway's log: one JSON object a line. No payload and no traceback, which could quote one."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path


def log_to(path: Path | None) -> None:
    """Send this process's log to a file, or to standard error."""
    handler: logging.Handler = logging.StreamHandler() if path is None else logging.FileHandler(path)
    handler.setFormatter(_Lines())
    logger = logging.getLogger("sealway")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)
