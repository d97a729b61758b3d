# SPDX-License-Identifier: Apache-2.0
"""received.jsonl: a line for each reading, written as it is handled.

Invariant: a reading counts as handled only after its line is on the disk; a reading whose line is there is not written
again, whoever offers it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sealway.cli.jsonlines import JsonLines
from sealway.errors import StateLost
from sealway.sdk import Received

_ROW: Final = re.compile(r"row=(0|[1-9][0-9]{0,17})", re.ASCII)


class ReceivedFile:
    """The readings that were received.

    Args:
        path: the file; what is in it is known.

    Raises:
        LocalMisuse: it cannot be used.
        StateLost: it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._file = JsonLines(path)
        self._known: dict[bytes, set[int]] = {}
        try:
            for line in self._file.lines():
                self._note(bytes.fromhex(line["session"]), int(line["number"]))
        except (KeyError, TypeError, ValueError):
            self._file.close()
            raise StateLost(f"{path} is not a file of readings", hint="move it away") from None

    def write(self, batch: list[Received]) -> int:
        """Write those of a batch that are not known; return how many that were."""
        fresh = [received for received in batch if self._note(received.identity.session, received.identity.number)]
        if fresh:
            self._file.append([line_of(received) for received in fresh])
        return len(fresh)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _note(self, session: bytes, number: int) -> bool:
        numbers = self._known.setdefault(session, set())
        known = number in numbers
        numbers.add(number)
        return not known


def line_of(received: Received) -> dict[str, Any]:
    """Return the line of one reading."""
    message = received.message
    return {
        "device": received.peer,
        "session": received.identity.session.hex(),
        "number": received.identity.number,
        "sent_at": None if message.sent_at is None else rfc3339(message.sent_at),
        "payload_b64": b64encode(message.payload).decode(),
        "row": next((int(found[1]) for text in message.query if (found := _ROW.fullmatch(text))), None),
    }


def rfc3339(milliseconds: int) -> str:
    """Return a time (milliseconds since the Unix epoch) as 2026-01-31T12:00:00.000Z."""
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
