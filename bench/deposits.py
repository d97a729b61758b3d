# SPDX-License-Identifier: Apache-2.0
"""Deposits at a hub over TLS on loopback, against a bare FastAPI route that keeps the same bytes as durably.

The clients are threads with a connection each, which send prepared requests and wait for each answer: what they cost
themselves is small and the same on both sides.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.measure import Pair, Subject, seconds
from sealway.crypto.keys import private_key
from sealway.hub.admission import ASSERTION_TYPE
from sealway.hub.service import token_url
from sealway.transports.hop_tls import client_context
from sealway.wire.carriage import Deposits
from sealway.wire.envelope import Envelope
from tests.hub.conftest import Domain, Member

ROOT = Path(__file__).resolve().parents[1]
ENVELOPE_BYTES = 80
BATCH = 100


class _Server:
    """One of the two, running; and clients with open connections to it."""

    def __init__(self, kind: str, here: Path, context: ssl.SSLContext, stack: ExitStack, clients: int) -> None:
        arguments = [sys.executable, "-m", "bench.servers", kind, str(here)]
        process = stack.enter_context(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=ROOT))
        stack.callback(process.terminate)
        line = process.stdout.readline() if process.stdout is not None else ""
        if "ready https://" not in line:
            raise RuntimeError(f"the {kind} did not start")
        self.url = line.split()[-1]
        self.headers: dict[str, str] = {}
        self._threads = stack.enter_context(ThreadPoolExecutor(clients))
        host, port = self.url.removeprefix("https://").split(":")
        self._connections = [HTTPSConnection(host, int(port), context=context) for _ in range(clients)]
        for connection in self._connections:
            stack.callback(connection.close)

    def rate(self, path: str, media_type: str, bodies: list[bytes], envelopes: int) -> float:
        """Send requests, shared out among the clients; return envelopes per second."""
        headers = {**self.headers, "Content-Type": media_type}
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


def _admitted(url: str, member: Member, context: ssl.SSLContext) -> dict[str, str]:
    """Ask the hub for an access token, and have it make the member's mailbox."""
    with httpx.Client(base_url=url, verify=context, trust_env=False) as http:
        assertion = member.assertion(token_url(url), int(time.time()))
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        token = http.post("/v1/token", data=form).raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        typed = {**headers, "Content-Type": "application/cbor"}
        http.put("/v1/credentials", content=member.chain_body, headers=typed).raise_for_status()
        return headers


def _envelope() -> bytes:
    return Envelope(b"k", int.from_bytes(os.urandom(2)), os.urandom(ENVELOPE_BYTES)).encode()


@contextmanager
def _servers(clients: int) -> Iterator[tuple[_Server, _Server, str]]:
    domain = Domain()
    hub, meter = domain.member("hub", "hub", ip=[ip_address("127.0.0.1")]), domain.member("device", "meter")
    with ExitStack() as stack:
        here = Path(stack.enter_context(TemporaryDirectory(prefix="sealway-bench-")))
        key = private_key(hub.scalar).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for name, content in (("root", domain.document), ("chain", hub.chain_body), ("key", key)):
            (here / name).write_bytes(content)
        context = client_context([domain.ca])
        subject, bare = (_Server(kind, here, context, stack, clients) for kind in ("hub", "bare"))
        subject.headers = bare.headers = _admitted(subject.url, meter, context)
        yield subject, bare, meter.mailbox


@contextmanager
def _one_by_one(clients: int) -> Iterator[Pair]:
    with _servers(clients) as (hub, bare, mailbox):

        def rate(server: _Server) -> float:
            bodies = [_envelope() for _ in range(300)]
            return server.rate(f"/v1/mailboxes/{mailbox}/envelopes", "application/cose", bodies, len(bodies))

        yield Pair(lambda: rate(hub), lambda: rate(bare))


@contextmanager
def _batches() -> Iterator[Pair]:
    with _servers(1) as (hub, bare, mailbox):

        def rate(server: _Server) -> float:
            bodies = [Deposits(tuple((mailbox, _envelope()) for _ in range(BATCH))).encode() for _ in range(30)]
            return server.rate("/v1/deposits", "application/cbor", bodies, len(bodies) * BATCH)

        yield Pair(lambda: rate(hub), lambda: rate(bare))


SUBJECTS = (
    Subject("hub deposits, one by one", "1/s", 0.5, partial(_one_by_one, 1)),
    Subject("hub deposits, one by one, 8 clients", "1/s", 0.5, partial(_one_by_one, 8)),
    Subject("hub deposits, batches of 100", "1/s", 0.8, _batches),
)
