# SPDX-License-Identifier: Apache-2.0
"""How far things are, read from what the application appends and what the roles print."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Progress:
    """Counts that only grow.

    Args:
        received: the application's received.jsonl.
    """

    received: Path
    delivered: int = 0
    by_device: dict[str, int] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    asked: dict[str, str] = field(default_factory=dict)
    """Request id to what was asked, as people read it."""
    taken: set[str] = field(default_factory=set)
    """Ids of requests that the application has made durable."""
    answered: dict[str, dict[str, Any]] = field(default_factory=dict)
    _offset: int = 0

    def look(self) -> list[dict[str, Any]]:
        """Return the readings that were appended since the last look."""
        if not self.received.exists():
            return []
        with self.received.open("rb") as file:
            file.seek(self._offset)
            fresh = file.read()
        whole = fresh.rfind(b"\n") + 1
        self._offset += whole
        readings = [json.loads(line) for line in fresh[:whole].splitlines()]
        for reading in readings:
            self.by_device[reading["device"]] = self.by_device.get(reading["device"], 0) + 1
        self.delivered += len(readings)
        return readings

    def note(self, device: str | None, event: dict[str, Any]) -> None:
        """Take in an event that a role printed."""
        kind, request = event.get("event"), str(event.get("id", ""))
        if kind == "finished" and device is not None:
            self.finished.add(device)
        elif kind == "asked":
            self.taken.add(request)
        elif kind in ("answered", "refused", "unknown") and request:  # an envelope that is refused has no id
            self.taken.add(request)
            self.answered[request] = event
