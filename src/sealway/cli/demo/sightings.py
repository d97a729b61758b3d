# SPDX-License-Identifier: Apache-2.0
"""One message as each role sees it: what the device sealed, what hops hold of it, what the application opened."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from sealway.wire.inspect import describe


@dataclass(frozen=True, slots=True)
class Sighting:
    """One message.

    Args:
        plaintext: the reading as the device had it.
        outside: what ``sealway inspect`` tells of the envelope that gateway and hub held, with its bytes as ``hex``.
        opened: the reading as the application has it.
    """

    plaintext: str
    outside: dict[str, Any]
    opened: str


class Sightings:
    """Puts together what the roles told of the same message, by session and number."""

    def __init__(self) -> None:
        self._sealed: dict[tuple[str, int], dict[str, Any]] = {}

    def sealed(self, event: dict[str, Any]) -> None:
        """Note a device's word of a message it has sealed; the newest few are kept."""
        self._sealed[str(event["session"]), int(event["number"])] = event
        while len(self._sealed) > 256:
            del self._sealed[next(iter(self._sealed))]

    def opened(self, reading: dict[str, Any]) -> Sighting | None:
        """Return the whole picture of a message that the application has opened, if the device told of it."""
        event = self._sealed.pop((str(reading["session"]), int(reading["number"])), None)
        if event is None or "envelope_b64" not in event:
            return None
        envelope = base64.b64decode(event["envelope_b64"])
        outside = describe(envelope) | {"hex": envelope.hex()}
        opened = base64.b64decode(reading["payload_b64"]).decode("utf-8", "replace")
        return Sighting(str(event["payload"]), outside, opened)
