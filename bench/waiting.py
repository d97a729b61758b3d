# SPDX-License-Identifier: Apache-2.0
"""What a gateway's memory grows by while envelopes wait in it for a hub that is away.

The gateway is a process, filled over CoAP as devices fill it; memory is what the system counts as resident (RSS), above
what it was before the first envelope. Each ten thousand envelopes are a round: the spread is that of their growth.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import closing

from bench.carrying import DEVICES, requests
from bench.coap_load import Devices
from bench.machines import machines
from bench.measure import Course, Figure, Result, spread

LIMIT_BYTES = 1_024
POINTS = (1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 70_000, 80_000, 90_000, 100_000)
_STEP = 10_000


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
            for point in POINTS:
                devices.send(requests(room.meter.mailbox, point - waiting))
                waiting = point
                yield point, gateway.process.memory_info().rss - before


def _measured(_: int) -> list[Result]:
    gc.collect()
    grown = dict(_grown())
    steps = [count for count in POINTS if count % _STEP == 0]
    each = sorted((grown[count] - grown.get(count - _STEP, 0)) / _STEP / LIMIT_BYTES for count in steps)
    results = []
    for figure, (count, size) in zip(FIGURES, grown.items(), strict=True):
        value = size / count
        low, high = spread(each) if count == POINTS[-1] else (value / LIMIT_BYTES, value / LIMIT_BYTES)
        results.append(
            Result(
                name=figure.name, value=value, unit=figure.unit, baseline=LIMIT_BYTES, ratio=value / LIMIT_BYTES,
                spread=[low, high], target=figure.target, holds=figure.target is None or low <= figure.target,
            )
        )  # fmt: skip
    return results


COURSES = (Course("gateway memory", FIGURES, _measured),)
