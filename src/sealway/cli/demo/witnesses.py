# SPDX-License-Identifier: Apache-2.0
"""What the two ends print while they are attacked: what they refused, what they reported, what they executed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sealway.cli.demo.process import RoleProcess
from sealway.errors import TransportFailed

PATIENCE_S = 240.0
LOOK_S = 0.03


Report: TypeAlias = tuple[str, str, str]
"""Who tells (a title), what (the kind of event), of whom (a name)."""


@dataclass(slots=True)
class Witnesses:
    """All that was told, in the order in which it was read."""

    refused: list[tuple[str, str]] = field(default_factory=list)
    """Digest and error."""
    reports: list[Report] = field(default_factory=list)
    of_act: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each attack that is to be reported: what was, while it was on."""
    executed: Counter[str] = field(default_factory=Counter)
    """Request ids, as often as a handler was called."""
    asked: int = 0
    """How many requests the application has sealed."""
    answered: set[str] = field(default_factory=set)
    calm: set[str] = field(default_factory=set)
    """Titles of devices that were told to fall silent."""
    _kinds: set[tuple[str, str]] = field(default_factory=set)

    def look(self, roles: Mapping[str, RoleProcess]) -> None:
        """Read what the ends have printed since the last look."""
        for title, process in roles.items():
            for event in process.events():
                self._note(title, event)

    def _note(self, title: str, event: dict[str, Any]) -> None:
        kind = str(event.get("event", ""))
        self._kinds.add((title, kind))
        if kind == "refused" and "digest" in event:
            self.refused.append((str(event["digest"]), str(event["error"])))
        elif kind == "reported":
            self.reports.append((title, str(event["kind"]), str(event.get("peer", ""))))
        elif kind == "command" and event.get("path") == "identify":
            self.executed[str(event["id"])] += 1
        elif kind == "command" and event.get("path") == "interval":
            self.calm.add(title)
        elif kind == "asked":
            self.asked += 1
        elif kind in ("answered", "refused", "unknown"):
            self.answered.add(str(event.get("id")))

    def has(self, title: str, kind: str) -> bool:
        """Say whether this role has printed such an event."""
        return (title, kind) in self._kinds

    def is_calm(self, title: str) -> bool:
        """Say whether this device was told to fall silent."""
        return title in self.calm

    @property
    def reports_so_far(self) -> int:
        """How many reports there are."""
        return len(self.reports)

    def reported(self, attack: str, wanted: Report, *, since: int) -> bool:
        """Say whether this was reported after the first so many reports; remember it for the attack's row."""
        times = self.reports[since:].count(wanted)
        if times:
            self.of_act.setdefault(attack, {})[wanted[1]] = times
        return times > 0

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait for something. Raises TransportFailed after four minutes."""
        end = time.monotonic() + PATIENCE_S
        while not reached():
            if time.monotonic() > end:
                raise TransportFailed(f"waited in vain for {what}")
            await asyncio.sleep(LOOK_S)
