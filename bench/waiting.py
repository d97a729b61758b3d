# SPDX-License-Identifier: Apache-2.0
"""What a gateway's memory grows by while envelopes wait in it for a hub that is away.

The gateway is a process, filled over CoAP as devices fill it; memory is what the system counts as resident (RSS), above
what it was before the first envelope. It is filled once, so instead of rounds there are ten stretches of ten thousand:
the spread is that of what each of them added, widened to hold the whole.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

from bench.carrying import DEVICES, requests
from bench.coap_load import Devices
from bench.machines import machines
from bench.measure import Course, Figure, Result, judged, spread

LIMIT_BYTES = 1_024
POINTS = (1_000, 3_000, 10_000, 30_000, 100_000)
_STEP = 10_000
_MEASURED = (1_000, 3_000, *range(_STEP, POINTS[-1] + 1, _STEP))


def _name(count: int) -> str:
    return f"gateway memory, {count:,} envelopes waiting"


FIGURES = (*(Figure(_name(count), "B", None) for count in POINTS[:-1]), Figure(_name(POINTS[-1]), "B", 1.0))


def _grown() -> Iterator[tuple[int, int]]:
    """Give (envelopes that wait, bytes that memory has grown by) at each point."""
    with machines() as room, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # never listens: a hub that is away
        (room.here / "hub.url").write_text(f"https://127.0.0.1:{nobody.getsockname()[1]}")
        gateway = room.start("gateway")
        with closing(Devices(gateway.port, DEVICES)) as devices:
            before, waiting = gateway.process.memory_info().rss, 0
            for point in _MEASURED:
                devices.send(requests(room.meter.mailbox, point - waiting))
                waiting = point
                yield point, gateway.process.memory_info().rss - before


def _measured(_: int) -> list[Result]:
    grown = dict(_grown())
    stretches = range(_STEP, POINTS[-1] + 1, _STEP)
    added = sorted((grown[count] - grown.get(count - _STEP, 0)) / _STEP / LIMIT_BYTES for count in stretches)
    rows = [
        judged(figure, [(grown[count] / count, LIMIT_BYTES)]) for figure, count in zip(FIGURES, POINTS, strict=True)
    ]
    low, high = spread(added)
    rows[-1]["spread"] = [min(low, rows[-1]["ratio"]), max(high, rows[-1]["ratio"])]
    return rows


COURSES = (Course("gateway memory", FIGURES, _measured),)
