# SPDX-License-Identifier: Apache-2.0
"""commands.json: requests and responses, and when a command is fresh. The device is "b"."""

from __future__ import annotations

from typing import Any

from scripts.vectors.script import Script, value
from sealway.wire.envelope import Envelope
from sealway.wire.message import CODE_CHANGED, CODE_POST, Freshness, Message


def cases() -> list[dict[str, Any]]:
    """Return every case."""
    return [make().case() for make in (request, fresh, stale)]


def request() -> Script:
    """One command and its answer."""
    script = Script("request", "a command names a message of the device; the answer names the command")
    script.settle()
    reference = _reference(script.seal("b", b"42.7 L"), script, 60)
    command = Message(CODE_POST, ("valve",), payload=b"close", request_id=value("request", 8), freshness=reference)
    script.open("b", script.seal("a", command))
    script.judge("b", reference)
    script.open("a", script.seal("b", Message(CODE_CHANGED, payload=b"closed", request_id=value("request", 8))))
    return script


def fresh() -> Script:
    """At the borders."""
    script = Script("fresh", "fresh until the command's own limit, or the scope's cap, has passed")
    script.settle()
    reference = _reference(script.seal("b"), script, 60)
    script.judge("b", reference)
    script.judge("b", reference, later_ms=59_900)
    script.judge("b", Freshness(reference.number, reference.tag, 600), later_ms=299_900)
    script.restart("b")
    script.judge("b", reference, later_ms=1_000)
    return script


def stale() -> Script:
    """Each reason."""
    script = Script(
        "stale", "too old, beyond the cap, another tag, never sealed, sealed before a reboot, by another session"
    )
    script.settle()
    reference = _reference(script.seal("b"), script, 60)
    script.judge("b", reference, later_ms=60_200)
    script.judge("b", Freshness(reference.number, reference.tag, 600), later_ms=300_200)
    script.judge("b", Freshness(reference.number, b"\0" * 4, 60))
    script.judge("b", Freshness(reference.number + 1, reference.tag, 60))
    script.judge("b", reference, boot=bytes(16))
    return script


def _reference(sealed: bytes, script: Script, max_age: int) -> Freshness:
    envelope = Envelope.decode(sealed)
    script.open("a", sealed)
    return Freshness(envelope.number, envelope.tag_prefix, max_age)
