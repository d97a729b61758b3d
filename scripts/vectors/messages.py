# SPDX-License-Identifier: Apache-2.0
"""message.json: encoded messages with their options, and bytes that are no message."""

from __future__ import annotations

from typing import Any

from scripts.vectors.script import value
from sealway.errors import Malformed
from sealway.wire.message import (
    CODE_CHANGED,
    CODE_EMPTY,
    CODE_GET,
    CODE_POST,
    FirstIdentity,
    Freshness,
    Message,
    Receipt,
)

GOOD: list[tuple[str, Message]] = [
    ("a reading", Message(CODE_POST, ("readings",), payload=b"42.7 L", sent_at=1_764_000_000_123)),
    ("nothing but a code", Message(CODE_EMPTY)),
    ("a path and a query", Message(CODE_GET, ("a", "bc", "d" * 255), ("x=1", ""))),
    ("a response", Message(CODE_CHANGED, content_format=60, payload=b"\xa0", request_id=value("request", 8))),
    ("a bare receipt", Message(CODE_EMPTY, receipt=Receipt(900, b"abcd", ((3, 3), (10, 700)), ((5, 8),)))),
    (
        "a command",
        Message(
            CODE_POST, ("valve",), payload=b"close", request_id=value("request", 8),
            freshness=Freshness(17, b"wxyz", 60), grant=b"not a real grant",
        ),
    ),
    (
        "moved",
        Message(CODE_POST, payload=b"m", first_identity=FirstIdentity(value("session"), 70_000), void=((1, 1), (4, 9))),
    ),
    ("of a start", Message(CODE_POST, payload=b"s", start_signature=value("signature", 64), newest_session=b"")),
    (
        "of a start after a fork",
        Message(
            CODE_POST, start_signature=value("signature", 64), newest_session=b"", forked_session=value("session")
        ),
    ),
    ("of a first reply", Message(CODE_CHANGED, receive_kid=b"\x0b", max_silence=3_600)),
]  # fmt: skip
BAD = {
    "nothing": "",
    "a code that is none": "08",
    "a response of class 3": "60",
    "a payload marker without a payload": "02ff",
    "a reserved delta": "02f0",
    "a reserved length": "020f",
    "an option that is cut off": "02b87265",
    "an extended delta that is cut off": "02d0",
    "an unknown critical option": "02910a",
    "a path segment ..": "02b22e2e",
    "a path segment that is not UTF-8": "02b1ff",
    "a content format with a leading zero": "02c20001",
    "content format twice": "02c13c013d",
    "a request id of 7 bytes": "02" + "e7fcdc" + "00" * 7,
    "an option number above 65535": "02e0ffff",
}


def cases() -> list[dict[str, Any]]:
    """Return every case."""
    good = [{"name": name, "verdict": "read", **_told(message)} for name, message in GOOD]
    return good + [_bad(name, bytes.fromhex(data)) for name, data in BAD.items()]


def _told(message: Message) -> dict[str, Any]:
    return {"message": message.encode().hex(), "code": message.code, "payload": message.payload.hex()}


def _bad(name: str, data: bytes) -> dict[str, Any]:
    try:
        Message.decode(data)
    except Malformed:
        return {"name": name, "verdict": "malformed", "message": data.hex()}
    raise LookupError(f"{name} is a message")
