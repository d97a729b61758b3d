# SPDX-License-Identifier: Apache-2.0
"""`HttpCarrier`: against a real hub, and against hubs that answer nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealway.crypto.keys import Secret, private_key
from sealway.errors import HopRefused, LocalMisuse, NotFound, RateLimited, TooLarge, TransportFailed
from sealway.hub.tls import server_context
from sealway.transports.hop_tls import client_context
from sealway.transports.http import HttpCarrier
from sealway.transports.ports import HOPS, Carrier, Collected, Deposit
from sealway.wire import carriage
from sealway.wire.bundle import Offer, Publication


@pytest.fixture
async def carriers(process):
    """Makes carriers to a running hub."""
    process.start()
    async with contextlib.AsyncExitStack() as stack:

        def make(member, **options):
            carrier = process.carrier(member, **options)
            stack.push_async_callback(carrier.close)
            return carrier

        yield make


@pytest.mark.processes
async def test_the_whole_way(carriers, domain, meter, application, gateway, sealed):
    device, receiver, carrier = carriers(meter), carriers(application), carriers(gateway)
    ports: list[Carrier] = [device, receiver, carrier]
    assert len(ports) == 3
    await carrier.publish_credential(meter.credential.chain)
    await receiver.publish_credential(application.credential.chain)
    assert await receiver.credential(meter.credential.x5t) == meter.credential.chain
    publication = meter.publication(int(time.time()), keys=1)
    bundle = Publication.decode(publication).bundle
    await carrier.publish_bundle(publication)
    assert await receiver.newest_bundle(str(meter.name)) == bundle
    assert await receiver.bundle_by_hash(hashlib.sha256(bundle).digest()) == bundle
    assert Offer.decode(await receiver.claim_bundle(str(meter.name))).one_time is not None
    await carrier.publish_consent(meter.consent(gateway, int(time.time())))
    assert await carrier.root_document() == domain.document
    command = sealed()
    polling = asyncio.create_task(carrier.collect([meter.mailbox, application.mailbox], wait=20))
    await asyncio.sleep(0.2)
    assert [verdict.status for verdict in await receiver.deposit([Deposit(meter.mailbox, command)])] == [201]
    async with asyncio.timeout(60):
        found = await polling
    assert [(item.mailbox, item.envelope) for item in found] == [(meter.mailbox, command)]
    assert carrier.refused_mailboxes == {application.mailbox}
    await carrier.acknowledge(found)
    assert await carrier.collect([meter.mailbox], wait=0) == []
    assert carrier.refused_mailboxes == frozenset()


@pytest.mark.processes
async def test_many_deposits_go_in_batches(carriers, meter, application, sealed):
    device, receiver = carriers(meter), carriers(application)
    await receiver.publish_credential(application.credential.chain)
    deposits = [Deposit(application.mailbox, sealed()) for _ in range(130)]
    deposits += [Deposit(application.mailbox, sealed(200_000)) for _ in range(15)]
    deposits += [
        Deposit("no mailbox", sealed()),
        Deposit(application.mailbox, bytes(300_000)),
        Deposit("a" * 16, sealed()),
    ]
    deposits += [Deposit(application.mailbox, sealed(), hops=1), Deposit(application.mailbox, sealed(), hops=0)]
    verdicts = await device.deposit(deposits)
    assert [verdict.status for verdict in verdicts] == [201] * 145 + [400, 400, 404, 201, 508]
    assert await device.deposit([]) == []
    total = 0
    while found := await receiver.collect([application.mailbox], wait=0):
        total += len(found)
        await receiver.acknowledge(found)
    assert total == 146


@pytest.mark.processes
async def test_refusals_are_typed(carriers, domain, meter, application, sealed):
    device = carriers(meter)
    with pytest.raises(NotFound, match="no such credential") as caught:
        await device.credential(bytes(32))
    assert caught.value.hint
    with pytest.raises(HopRefused) as refused:
        await device.collect([application.mailbox], wait=0)
    assert refused.value.status == 403
    with pytest.raises(TooLarge):
        await device.publish_bundle(bytes(100_000))
    with pytest.raises(HopRefused) as refused:
        await device.publish_credential((domain.ca,))
    assert refused.value.status == 401
    HOPS.set(0)
    with pytest.raises(HopRefused) as refused:
        await device.root_document()
    assert refused.value.status == 508


@pytest.mark.processes
async def test_rate_limits_are_typed(process, meter):
    process.limits = {"requests_per_minute": 1}
    process.start()
    carrier = process.carrier(meter)
    with pytest.raises(NotFound):
        await carrier.newest_bundle(str(meter.name))
    with pytest.raises(RateLimited):
        await carrier.newest_bundle(str(meter.name))
    await carrier.close()


async def test_nobody_is_there(domain, meter):
    carrier = HttpCarrier(
        "https://127.0.0.1:1",
        ssl_context=client_context([domain.ca]),
        name=str(meter.name),
        make_assertion=lambda _: "x",
    )
    with pytest.raises(TransportFailed, match="cannot be reached"):
        await carrier.root_document()
    await carrier.close()


@pytest.mark.parametrize(
    "url", ["http://hub.test", "hub.test", "https://", "https://a/b", "https://a?x", "https://u:p@a", "https://a:x", 7]
)
def test_addresses_that_are_none(domain, url):
    with pytest.raises(LocalMisuse):
        HttpCarrier(url, ssl_context=client_context([domain.ca]), name="n", make_assertion=lambda _: "x")


def test_authorities_that_are_none():
    for authorities in ([], [b"rubbish"]):
        with pytest.raises(LocalMisuse):
            client_context(authorities)


TOKEN = json.dumps({"access_token": "t", "token_type": "Bearer", "expires_in": 3600}).encode()


def http(body=b"", status=200, **headers):
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class FakeHub:
    """Answers each request with what a test says; None closes the connection, a number waits that long."""

    def __init__(self, context, domain, member):
        self._context = context
        self._domain = domain
        self._member = member
        self.answers = []
        self.requests = []
        self._writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.carrier = HttpCarrier(
            url,
            ssl_context=client_context([self._domain.ca]),
            name=str(self._member.name),
            make_assertion=lambda audience: self._member.assertion(audience, int(time.time())),
            timeout=1.0,
        )
        return self

    async def __aexit__(self, *_):
        await self.carrier.close()
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self._writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length")]
                await reader.readexactly(int(length[0]) if length else 0)
                self.requests.append(head)
                answer = self.answers.pop(0) if self.answers else None
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                elif answer is None:
                    break
                else:
                    await asyncio.sleep(answer)
        writer.close()


@pytest.fixture
async def fake(domain, hub_member, meter, tmp_path):
    pem = private_key(hub_member.scalar).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = server_context(hub_member.credential.chain, Secret(pem), tmp_path)
    async with FakeHub(context, domain, meter) as hub:
        yield hub


@pytest.mark.parametrize(
    "answer",
    [
        http(b"no json"),
        http(b"[]"),
        http(b"{}"),
        http(b"[" * 8000),
        http(json.dumps({"access_token": "a b", "token_type": "Bearer", "expires_in": 5}).encode()),
        http(json.dumps({"access_token": "a\nb", "token_type": "Bearer", "expires_in": 5}).encode()),
        http(json.dumps({"access_token": "", "token_type": "Bearer", "expires_in": 5}).encode()),
        http(json.dumps({"access_token": "a", "token_type": "mac", "expires_in": 5}).encode()),
        http(json.dumps({"access_token": "a", "token_type": "Bearer", "expires_in": "5"}).encode()),
        http(json.dumps({"access_token": "a", "token_type": "Bearer", "expires_in": 0}).encode()),
        b"nothing like HTTP\r\n\r\n",
        http(status=503),
        None,
        5.0,
    ],
)
async def test_tokens_that_are_none(fake, answer):
    fake.answers = [answer]
    with pytest.raises(TransportFailed):
        await fake.carrier.root_document()


async def test_a_token_is_kept_and_renewed_once_when_refused(fake):
    expired = http(b"{}", 401, **{"WWW-Authenticate": 'Bearer error="invalid_token"'})
    fake.answers = [http(TOKEN), http(b"one"), http(b"two"), expired, http(TOKEN), http(b"three"), expired, http(TOKEN)]
    fake.answers += [expired]
    assert [await fake.carrier.root_document() for _ in range(3)] == [b"one", b"two", b"three"]
    with pytest.raises(HopRefused) as caught:
        await fake.carrier.root_document()
    assert caught.value.status == 401
    assert fake.answers == []
    assert [request.split()[1] for request in fake.requests].count("/v1/token") == 3


async def test_a_401_for_another_reason_is_not_tried_again(fake):
    fake.answers = [http(TOKEN), http(b'{"error": "not trusted", "hint": "do this"}', 401)]
    with pytest.raises(HopRefused, match="not trusted") as caught:
        await fake.carrier.publish_credential((b"x",))
    assert caught.value.hint == "do this"


async def test_tokens_end(fake):
    short = json.dumps({"access_token": "t", "token_type": "bearer", "expires_in": 1}).encode()
    fake.answers = [http(short), http(b"one"), http(short), http(b"two")]
    assert await fake.carrier.root_document() == b"one"
    await asyncio.sleep(1.1)
    assert await fake.carrier.root_document() == b"two"


BOX, OTHER = "a" * 16, "b" * 16


@pytest.mark.parametrize(
    "answer",
    [
        http(b""),
        http(b"\x81\x80"),
        http(carriage.Verdicts(((201, ""), (201, ""))).encode()),
        http(carriage.Verdicts(()).encode()),
        http(b"x" * 9_000_000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        http(b"", 500),
        None,
        5.0,
    ],
)
async def test_deposits_with_answers_that_make_no_sense(fake, answer):
    fake.answers = [http(TOKEN), answer]
    with pytest.raises(TransportFailed):
        await fake.carrier.deposit([Deposit(BOX, b"envelope")])


@pytest.mark.parametrize(
    "items", [((OTHER, 1, b"e"),), ((BOX, 1, b"e"), (BOX, 2, b"e")), ((BOX, 1, b"e"), (OTHER, 2, b"e"))]
)
async def test_collecting_what_was_not_asked_for(fake, items):
    fake.answers = [http(TOKEN), http(carriage.Collected(items).encode())]
    with pytest.raises(TransportFailed):
        await fake.carrier.collect([BOX], wait=0, most=1)


async def test_refused_mailboxes_are_only_those_asked_for(fake):
    fake.answers = [http(TOKEN), http(carriage.Collected(()).encode(), **{"Sealway-Refused": f"{OTHER},{'c' * 16},!"})]
    assert await fake.carrier.collect([BOX, OTHER], wait=0) == []
    assert fake.carrier.refused_mailboxes == {OTHER}


async def test_a_later_batch_that_fails_leaves_the_first_its_verdicts(fake):
    deposits = [Deposit(BOX, b"envelope")] * 250
    fake.answers = [http(TOKEN), http(carriage.Verdicts(((201, ""),) * 100).encode()), http(b"{}", 429)]
    verdicts = await fake.carrier.deposit(deposits)
    assert [verdict.status for verdict in verdicts] == [201] * 100 + [429] * 150
    fake.answers = [http(carriage.Verdicts(((201, ""),) * 100).encode()), http(b"", 507)]
    assert [verdict.status for verdict in await fake.carrier.deposit(deposits)] == [201] * 100 + [507] * 150
    fake.answers = [http(b"", 503)]
    with pytest.raises(TransportFailed):
        await fake.carrier.deposit(deposits)


async def test_acknowledgements_are_split(fake):
    fake.answers = [http(TOKEN), *(http(b"", 204) for _ in range(3))]
    await fake.carrier.acknowledge([])
    assert fake.requests == []
    collected = [Collected(BOX, number, b"") for number in (*range(2500), 7, 8)] + [Collected(OTHER, 1, b"")]
    await fake.carrier.acknowledge(collected)
    assert [request.split()[1] for request in fake.requests] == ["/v1/token", *["/v1/acknowledge"] * 3]


@pytest.mark.parametrize(("wait", "seconds"), [(-1, 0), (0, 0), (0.2, 1), (2, 2), (600, 60)])
async def test_waits_are_whole_seconds(fake, monkeypatch, wait, seconds):
    asked = []

    async def ask(_method, _path, *, body, **_):
        asked.append(carriage.CollectRequest.decode(body).wait_seconds)
        raise TransportFailed("enough")

    monkeypatch.setattr(fake.carrier._exchange, "ask", ask)
    with pytest.raises(TransportFailed):
        await fake.carrier.collect([BOX], wait=wait)
    assert asked == [seconds]


async def test_words_of_a_stranger_are_cut_and_cleaned(fake):
    error = json.dumps({"error": "bad\x1b[31m\nnews " + "x" * 1000}).encode()
    fake.answers = [http(TOKEN), http(error, 400)]
    with pytest.raises(HopRefused) as caught:
        await fake.carrier.root_document()
    assert len(caught.value.message) <= 200
    assert caught.value.message.isprintable()


async def test_the_hub_must_prove_itself(fake, domain, meter):
    empty = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    carrier = HttpCarrier(
        fake.carrier._exchange._base, ssl_context=empty, name=str(meter.name), make_assertion=lambda _: "x"
    )
    with pytest.raises(TransportFailed):
        await carrier.root_document()
    await carrier.close()
    assert fake.requests == []
