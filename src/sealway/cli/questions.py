# SPDX-License-Identifier: Apache-2.0
"""Commands that an application is asked to send: one JSON line each, and what becomes of them.

{"id": 16 hex digits, "to": NAME, "path": PATH, "payload": TEXT | "payload_b64": BASE64, "timeout_s": SECONDS,
"max_age_s": how old the device's message may be that the command is fresh against, SECONDS}
"""

from __future__ import annotations

import asyncio
import json
import os
import select
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sealway.cli.files import usable
from sealway.errors import LocalMisuse, Malformed
from sealway.sdk.application import DEFAULT_MAX_AGE
from sealway.wire.address import Name
from sealway.wire.message import CODE_POST, Message

DEFAULT_TIMEOUT_S: Final = 60.0
LONGEST_TIMEOUT_S: Final = 7 * 86_400.0

_FIELDS: Final = frozenset({"id", "to", "path", "payload", "payload_b64", "timeout_s", "max_age_s"})
_MOST_LINE_BYTES: Final = 512 << 10
_LOOK_S: Final = 0.05
_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Question:
    """One command. ``id`` 8 bytes: with the same one a command is executed at most once.

    ``max_age`` is how old the device's message may be that the command is fresh against.
    """

    id: bytes
    to: Name
    path: str
    payload: bytes = field(repr=False)
    timeout: timedelta
    max_age: timedelta = DEFAULT_MAX_AGE

    @classmethod
    def parse(cls, line: bytes) -> Question:
        """Read a line. Raises LocalMisuse."""
        try:
            return _question(json.loads(line))
        except (ValueError, TypeError, RecursionError, Malformed) as error:
            raise LocalMisuse(f"not a request: {error}") from None


def _question(given: Any) -> Question:
    if not isinstance(given, dict) or not given.keys() <= _FIELDS or not {"id", "to", "path"} <= given.keys():
        raise ValueError(f"a JSON object of {', '.join(sorted(_FIELDS))} is expected")
    request_id = bytes.fromhex(given["id"])
    timeout_s = float(given.get("timeout_s", DEFAULT_TIMEOUT_S))
    max_age_s = float(given.get("max_age_s", DEFAULT_MAX_AGE.total_seconds()))
    if len(request_id) != 8 or not 0 < timeout_s <= LONGEST_TIMEOUT_S or not 1 <= max_age_s <= LONGEST_TIMEOUT_S:
        raise ValueError("id has 16 hex digits, timeout_s is 0 to a week, max_age_s 1 to a week")
    path = str(given["path"]).strip("/")
    to, payload = Name.parse(given["to"]), _payload(given)
    Message(CODE_POST, tuple(path.split("/")), payload=payload)  # what cannot be a message is refused here
    return Question(request_id, to, path, payload, timedelta(seconds=timeout_s), timedelta(seconds=max_age_s))


def _payload(given: dict[str, Any]) -> bytes:
    if "payload" in given and "payload_b64" in given:
        raise ValueError("payload and payload_b64 say the same")
    if "payload_b64" in given:
        return b64decode(given["payload_b64"], validate=True)
    text = given.get("payload", "")
    if not isinstance(text, str):
        raise TypeError("payload is text")
    return text.encode()


async def lines_as_they_come(path: Path) -> AsyncIterator[bytes]:
    """Yield whole lines: of standard input (``-``) until its end; of a file or FIFO, which is followed as it grows.

    Raises:
        LocalMisuse: it cannot be read, or a line is longer than 512 KiB.
    """
    descriptor = _open(path)
    follow, rest = str(path) != "-", b""
    try:
        while (chunk := _read(descriptor)) != b"" or follow:
            if not chunk:
                await asyncio.sleep(_LOOK_S)
                continue
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > _MOST_LINE_BYTES:
                raise LocalMisuse(f"a line of {path} is longer than {_MOST_LINE_BYTES} bytes")
            for line in filter(bytes.strip, whole):
                yield line
        if rest.strip():
            yield rest
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    if str(path) == "-":
        return os.dup(0)
    with usable(path, "the requests"):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def _read(descriptor: int) -> bytes | None:
    """Return what is there; b"" at the end (for now, of what is followed); None while there is nothing."""
    if not select.select([descriptor], [], [], 0)[0]:
        return None
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None
