# SPDX-License-Identifier: Apache-2.0
"""Deposits at a hub over TLS on loopback, against a bare FastAPI route that keeps the same bytes as durably.

The clients are threads with a connection each, which send prepared requests and wait for each answer: what they cost
themselves is small and the same on both sides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPSConnection

from bench.machines import Machines, Server, admitted, machines
from bench.measure import Course, Figure, Pair, Result, Subject, judged, seconds
from sealway.wire.carriage import Deposits
from sealway.wire.envelope import Envelope

ENVELOPE_BYTES = 80
SINGLE = 400  # of a round
FEW_BATCHES = 30  # of a round at a certain filling
BATCH, BATCHES = 100, 168  # of a round; eight rounds are more than the hub keeps in memory, see hub/digests.py


class _Clients:
    """Clients with open connections to a server."""

    def __init__(self, server: Server, room: Machines, headers: dict[str, str], count: int, stack: ExitStack) -> None:
        self._headers = headers
        self._threads = stack.enter_context(ThreadPoolExecutor(count))
        self._connections = [HTTPSConnection("127.0.0.1", server.port, context=room.context) for _ in range(count)]
        for connection in self._connections:
            stack.callback(connection.close)

    def rate(self, path: str, media_type: str, bodies: list[bytes], envelopes: int) -> float:
        """Send requests, shared out among the clients; return envelopes per second."""
        headers = {**self._headers, "Content-Type": media_type}
        count = len(self._connections)
        shares = [bodies[at::count] for at in range(count)]
        one = partial(_post, path=path, headers=headers)
        return envelopes / seconds(lambda: list(self._threads.map(one, self._connections, shares)))


def _post(connection: HTTPSConnection, bodies: list[bytes], *, path: str, headers: dict[str, str]) -> None:
    for body in bodies:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{answer.status}: {text!r}")


def _envelope() -> bytes:
    return Envelope(b"k", int.from_bytes(os.urandom(2)), os.urandom(ENVELOPE_BYTES)).encode()


@contextmanager
def _servers(clients: int) -> Iterator[tuple[_Clients, _Clients, str]]:
    with machines() as room, ExitStack() as stack:
        hub, bare = room.start("hub"), room.start("bare")
        headers = admitted(hub.url, room.meter, room)
        subject, baseline = (_Clients(server, room, headers, clients, stack) for server in (hub, bare))
        yield subject, baseline, room.meter.mailbox


@contextmanager
def _one_by_one(clients: int) -> Iterator[Pair]:
    with _servers(clients) as (hub, bare, mailbox):

        def rate(server: _Clients) -> float:
            bodies = [_envelope() for _ in range(SINGLE)]
            return server.rate(f"/v1/mailboxes/{mailbox}/envelopes", "application/cose", bodies, len(bodies))

        yield Pair(lambda: rate(hub), lambda: rate(bare))


@contextmanager
def _batches(clients: int) -> Iterator[Pair]:
    with _servers(clients) as (hub, bare, mailbox):
        yield Pair(
            lambda: _deposit_batches(hub, mailbox, BATCHES), lambda: _deposit_batches(bare, mailbox, BATCHES)
        )  # fmt: skip


def _held(rounds: int) -> list[Result]:
    """Fill both to each of the points, and measure a few batches there, in turn."""
    rows: list[Result] = []
    with _servers(1) as (hub, bare, mailbox):
        held = 0
        for figure, point in zip(HELD_FIGURES, HELD, strict=True):
            while held < point:  # a stretch at a time, so that no connection is idle for long
                stretch = min(BATCHES, (point - held) // BATCH)
                for server in (hub, bare):
                    _deposit_batches(server, mailbox, stretch)
                held += stretch * BATCH
            pairs = [
                (_deposit_batches(hub, mailbox, FEW_BATCHES), _deposit_batches(bare, mailbox, FEW_BATCHES))
                for _ in range(rounds)
            ]
            held += rounds * FEW_BATCHES * BATCH
            rows.append(judged(figure, pairs))
    return rows


def _deposit_batches(server: _Clients, mailbox: str, count: int) -> float:
    bodies = [Deposits(tuple((mailbox, _envelope()) for _ in range(BATCH))).encode() for _ in range(count)]
    return server.rate("/v1/deposits", "application/cbor", bodies, count * BATCH)


HELD = (1_000, 50_000, 100_000, 200_000, 300_000)
HELD_FIGURES = tuple(Figure(f"hub deposits, batches, {count:,} held", "1/s", None) for count in HELD)
COURSES = (Course("hub deposits, held", HELD_FIGURES, _held),)

SUBJECTS = (
    Subject("hub deposits, one by one", "1/s", 0.5, partial(_one_by_one, 1)),
    Subject("hub deposits, one by one, 8 clients", "1/s", 0.5, partial(_one_by_one, 8)),
    Subject("hub deposits, batches of 100", "1/s", 0.8, partial(_batches, 1)),
    Subject("hub deposits, batches of 100, 8 clients", "1/s", 0.8, partial(_batches, 8)),
)
