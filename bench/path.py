# SPDX-License-Identifier: Apache-2.0
"""The whole path with sealing against the same path with plain messages, and what each process on it costs.

A device, a gateway, a hub and an application, each a process, as users run them; messages of 64 bytes, from the call
that sends them to the application's next look at its inbox after them. The plain ends are the same program with
``plain.py``: same outbox, journal, numbers and receipts. Both pairs of ends use the same gateway and hub, in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.machines import Machines, Server, machines
from bench.measure import Figure, Group, Sides, seconds

MESSAGES = 1_500
PROCESSES = ("device", "gateway", "hub", "application")
_ENDPOINTS = "bench.endpoints"


class _Path:
    """A device and an application with the gateway and the hub between them."""

    def __init__(self, manner: str, room: Machines, gateway: Server, hub: Server) -> None:
        for role in ("device", "application"):
            room.furnish(f"{manner}-{role}", room.domain.member(role, f"{manner}-{role}"))
        self._application = room.start(f"{manner}-application", _ENDPOINTS)
        self._device = room.start(f"{manner}-device", _ENDPOINTS)
        self._processes = (self._device, gateway, hub, self._application)

    def carry(self) -> list[float]:
        """Send messages and await them; return messages per second, and microseconds of each process for each."""
        before = [process.cpu_seconds() for process in self._processes]
        rate = MESSAGES / seconds(self._carry)
        used = [process.cpu_seconds() - at for process, at in zip(self._processes, before, strict=True)]
        return [rate, *(max(each, 0.01) / MESSAGES * 1e6 for each in used)]  # the system counts in hundredths

    def _carry(self) -> None:
        self._application.tell(str(MESSAGES))
        self._device.tell(str(MESSAGES))
        for process in (self._device, self._application):
            process.answer()


@contextmanager
def _paths() -> Iterator[Sides]:
    with machines() as room:
        hub = room.start("hub")
        (room.here / "hub.url").write_text(hub.url)
        gateway = room.start("gateway")
        (room.here / "gateway.url").write_text(gateway.url)
        sealed, plain = (_Path(manner, room, gateway, hub) for manner in ("sealed", "plain"))
        plain.carry()  # what begins a session is sealed; the first messages are acknowledged after this
        sealed.carry()
        yield Sides(sealed.carry, plain.carry)


GROUPS = (
    Group(
        "whole path",
        (
            Figure("whole path, sealed against plain", "1/s", 0.9),
            *(Figure(f"whole path, processor of the {role}", "µs", None) for role in PROCESSES),
        ),
        _paths,
    ),
)
