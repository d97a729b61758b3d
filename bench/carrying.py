# SPDX-License-Identifier: Apache-2.0
"""What a gateway takes from devices and brings to the hub, against aiocoap's own server with a resource for POST.

The clock stops for the gateway when the last envelope is durably in the mailbox at the hub: what is measured holds two
commits to disk and an HTTPS hop, and the hub shares the computer with it. The devices are the same for both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.coap_load import Devices, post
from bench.machines import admitted, machines
from bench.measure import Pair, Subject, seconds
from sealway.hub.store import DATABASE
from sealway.storage.store import connect_readonly
from sealway.wire.envelope import Envelope

DEVICES = 128
ENVELOPE_BYTES = 80
MESSAGES = 2_000
_PATIENCE_SECONDS = 60.0


def requests(mailbox: str, count: int) -> list[bytes]:
    """Return so many deposits, each of an envelope of its own."""
    return [post(mailbox, Envelope(b"k", n, os.urandom(ENVELOPE_BYTES)).encode()) for n in range(count)]


@contextmanager
def _carrying() -> Iterator[Pair]:
    with machines() as room:
        hub, plain = room.start("hub"), room.start("coap")
        (room.here / "hub.url").write_text(hub.url)
        admitted(hub.url, room.meter, room)
        gateway = room.start("gateway")
        mailbox, database = room.meter.mailbox, room.here / "hub" / DATABASE
        with closing(Devices(gateway.port, DEVICES)) as near, closing(Devices(plain.port, DEVICES)) as far:

            def carried() -> float:
                given, before = requests(mailbox, MESSAGES), _arrived(database)

                def work() -> None:
                    near.send(given)
                    _await(database, before + MESSAGES)

                return MESSAGES / seconds(work)

            def answered() -> float:
                given = requests(mailbox, MESSAGES)
                return MESSAGES / seconds(lambda: far.send(given))

            yield Pair(carried, answered)


def _arrived(database: Path) -> int:
    """How many envelopes the hub has durably held so far."""
    with closing(connect_readonly(database)) as connection:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'parcels'").fetchone()
    return int(row[0]) if row else 0


def _await(database: Path, count: int) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while _arrived(database) < count:
        if time.monotonic() > until:
            raise RuntimeError("the gateway does not bring what it took")
        time.sleep(0.005)


SUBJECTS = (Subject("gateway, device to hub", "1/s", 0.5, _carrying),)
