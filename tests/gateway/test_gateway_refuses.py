# SPDX-License-Identifier: Apache-2.0
"""Every refusal of the gateway is a CoAP code and a counter, and costs the others nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from aiocoap import Context
from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber

from sealway.errors import LocalMisuse, RateLimited
from sealway.gateway.limits import Limits
from sealway.gateway.status import gateway_status
from sealway.transports.coap import CoapCarrier
from sealway.transports.ports import Deposit
from tests.gateway.gateway_bench import Bench, Running

MAILBOX = "a" * 16
ENVELOPE, CBOR, SIGN1 = 16, 60, 18


def plain(code: Code, path: str, **options: Any) -> Message:
    message = Message(code=code)
    message.opt.uri_path = tuple(path.split("/"))
    payload = options.pop("payload", b"")
    message.payload = payload
    for name, value in options.items():
        setattr(message.opt, name, value)
    return message


def with_option(number: int, path: str = f"m/{MAILBOX}") -> Message:
    message = plain(Code.GET, path)
    message.opt.add_option(OptionNumber(number).create_option(decode=b"x"))
    return message


async def answer(bench: Bench, gateway: Running, message: Message) -> Message:
    """Send a request as it is, with aiocoap's own client."""
    context = await Context.create_client_context(transports=["udp6"])
    try:
        probe = Message(code=Code.GET, uri=gateway.uri)
        await context.find_remote_and_interface(probe)
        message.remote = probe.remote
        return await asyncio.wait_for(context.request(message, handle_blockwise=False).response, 10)
    finally:
        await context.shutdown()


def block(number: int, *, more: bool, size: int = 1024, exponent: int = 6) -> Message:
    return plain(
        Code.POST, f"m/{MAILBOX}", content_format=ENVELOPE, payload=bytes(size), block1=(number, more, exponent)
    )


REFUSED: list[tuple[str, Callable[[], Message], str, str]] = [
    ("no path", lambda: plain(Code.GET, ""), "4.04", "refused_path"),
    ("unknown path", lambda: plain(Code.GET, "x/y"), "4.04", "refused_path"),
    ("no mailbox", lambda: plain(Code.GET, "m"), "4.04", "refused_path"),
    ("not a mailbox id", lambda: plain(Code.GET, "m/Meter-1"), "4.04", "refused_path"),
    ("more than a mailbox", lambda: plain(Code.GET, f"m/{MAILBOX}/x"), "4.04", "refused_path"),
    ("not a hash", lambda: plain(Code.GET, "c/abcd"), "4.04", "refused_path"),
    ("root with more", lambda: plain(Code.GET, "r/x"), "4.04", "refused_path"),
    ("delete a mailbox", lambda: plain(Code.DELETE, f"m/{MAILBOX}"), "4.05", "refused_method"),
    ("put the root", lambda: plain(Code.PUT, "r", payload=b"x"), "4.05", "refused_method"),
    ("no format", lambda: plain(Code.POST, f"m/{MAILBOX}", payload=b"x"), "4.15", "refused_format"),
    (
        "wrong format",
        lambda: plain(Code.POST, f"m/{MAILBOX}", payload=b"x", content_format=0),
        "4.15",
        "refused_format",
    ),
    ("empty", lambda: plain(Code.POST, f"m/{MAILBOX}", content_format=ENVELOPE), "4.00", "refused_malformed"),
    (
        "not an envelope",
        lambda: plain(Code.POST, f"m/{MAILBOX}", content_format=ENVELOPE, payload=b"\xd0\x83\x41"),
        "4.00",
        "refused_malformed",
    ),
    (
        "not an acknowledgement",
        lambda: plain(Code.POST, "a", content_format=CBOR, payload=b"\x80"),
        "4.00",
        "refused_malformed",
    ),
    ("not a chain", lambda: plain(Code.PUT, "c", content_format=CBOR, payload=b"\x80"), "4.00", "refused_malformed"),
    ("not a consent", lambda: plain(Code.PUT, "k", content_format=SIGN1, payload=b"\x80"), "4.00", "refused_malformed"),
    ("no name", lambda: plain(Code.GET, "b"), "4.00", "refused_malformed"),
    ("an empty name", lambda: plain(Code.GET, "b", uri_query=("n=",)), "4.00", "refused_malformed"),
    ("another query", lambda: plain(Code.POST, "b", uri_query=("x=1",)), "4.00", "refused_malformed"),
    ("unknown critical option", lambda: with_option(65001), "4.02", "refused_option"),
    ("If-Match", lambda: with_option(1), "4.02", "refused_option"),
    ("OSCORE", lambda: with_option(9), "4.02", "refused_option"),
    ("forward proxy", lambda: plain(Code.GET, "", proxy_uri="coap://x"), "5.05", "refused_option"),
    ("proxy scheme", lambda: plain(Code.GET, "", proxy_scheme="http"), "5.05", "refused_option"),
    ("no hops left", lambda: plain(Code.GET, f"m/{MAILBOX}", hop_limit=1), "5.08", "refused_hops"),
    ("hop limit zero", lambda: plain(Code.GET, f"m/{MAILBOX}", hop_limit=0), "4.00", "refused_malformed"),
    ("hop limit 256", lambda: plain(Code.GET, f"m/{MAILBOX}", hop_limit=256), "4.00", "refused_malformed"),
    ("a block that does not follow", lambda: block(3, more=True), "4.08", "refused_incomplete"),
    ("a reserved block size", lambda: block(0, more=True, exponent=7), "4.00", "refused_malformed"),
    ("a block of another size", lambda: block(0, more=True, size=1000), "4.00", "refused_malformed"),
    (
        "announced too large",
        lambda: plain(Code.POST, f"m/{MAILBOX}", content_format=ENVELOPE, payload=b"x", size1=1 << 24),
        "4.13",
        "refused_too_large",
    ),
    (
        "a later block of nothing",
        lambda: plain(Code.GET, f"m/{MAILBOX}", block2=(3, False, 6)),
        "4.08",
        "refused_incomplete",
    ),
]


@pytest.mark.parametrize(("make", "code", "counter"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_refusal(bench: Bench, make: Callable[[], Message], code: str, counter: str) -> None:
    gateway = await bench.gateway()
    response = await answer(bench, gateway, make())
    assert response.code.dotted == code
    assert response.payload, "a refusal says why"
    await gateway.stop()
    counters = gateway_status(gateway.state_dir)["counters"]
    assert {name: count for name, count in counters.items() if count} == {counter: 1}


async def test_too_large_is_refused_before_it_is_all_there(bench: Bench) -> None:
    gateway = await bench.gateway(limits=Limits(envelope_bytes=4096))
    carrier = await bench.carrier(gateway.uri)
    verdicts = await carrier.deposit([Deposit(MAILBOX, bench.envelope(5000)), Deposit(MAILBOX, bench.envelope(4000))])
    assert [verdict.status for verdict in verdicts] == [413, 204]


async def test_rate_of_a_source_and_of_a_mailbox(bench: Bench) -> None:
    gateway = await bench.gateway(limits=Limits(mailbox_per_minute=5, per_minute=20))
    carrier = await bench.carrier(gateway.uri, window=1)
    verdicts = await carrier.deposit([Deposit(MAILBOX, envelope) for envelope in bench.envelopes(10)])
    assert [verdict.status for verdict in verdicts] == [204] * 5 + [429] * 5
    verdicts = await carrier.deposit([Deposit("b" * 16, envelope) for envelope in bench.envelopes(3)])
    assert [verdict.status for verdict in verdicts] == [204] * 3  # another mailbox is not to blame
    for _ in range(7):  # 13 of the source's 20 are spent
        await carrier.collect([MAILBOX], wait=0)
    with pytest.raises(RateLimited):
        await carrier.collect([MAILBOX], wait=0)
    response = await answer(bench, gateway, plain(Code.GET, f"m/{MAILBOX}"))
    assert response.code.dotted == "4.29"
    assert response.opt.max_age


async def test_uploads_under_way_are_bounded_and_forgotten(bench: Bench) -> None:
    gateway = await bench.gateway(limits=Limits(uploads=2, upload_seconds=0.3))
    first = [await answer(bench, gateway, block(0, more=True)) for _ in range(3)]
    assert [response.code.dotted for response in first] == ["2.31", "2.31", "5.03"]
    await asyncio.sleep(0.4)
    assert (await answer(bench, gateway, block(0, more=True))).code.dotted == "2.31"


async def test_observers_are_bounded(bench: Bench) -> None:
    gateway = await bench.gateway(limits=Limits(observers=1))
    carriers = [await bench.carrier(gateway.uri) for _ in range(2)]
    await carriers[0].publish_consent(bench.consent())
    await carriers[0].collect([bench.mailbox()], wait=0.2)
    waiting = asyncio.create_task(carriers[1].collect([bench.mailbox()], wait=10))  # polls instead
    await asyncio.sleep(0.3)
    bench.hub.take(Deposit(bench.mailbox(), bench.envelope()))
    assert len(await waiting) == 1


async def test_bytes_that_are_not_coap_do_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    strange = [os.urandom(size) for size in (0, 1, 3, 4, 20, 500)]
    strange += [b"\x40\x01\x00\x01\xb2\xff\xfe", b"\x4f\x01\x00\x01", b"\x40\x01\x00\x02\xff", b"\x40\x01\x00\x03\xf1a"]
    strange += [b"\x40\x01" + number.to_bytes(2, "big") + os.urandom(12) for number in range(50, 250)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for datagram in strange:
            sock.sendto(datagram, ("127.0.0.1", gateway.port))
    sent = bench.envelopes(20)
    assert all(v.accepted for v in await carrier.deposit([Deposit(MAILBOX, envelope) for envelope in sent]))
    await bench.until(lambda: bench.hub.held == 20)
    await gateway.stop()
    assert gateway_status(gateway.state_dir)["counters"]["coap_malformed_datagrams"] > 0
    assert not [record for record in caplog.records if record.exc_info], "no traceback for a stranger's bytes"


async def test_duplicates_are_answered_from_memory(bench: Bench) -> None:
    gateway = await bench.gateway()
    request = b"\x41\x02\x30\x39\x77\xb1m" + b"\x0d\x03" + b"a" * 16 + b"\x11\x10\xff" + bench.envelope()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        answers = []
        for _ in range(3):
            sock.sendto(request, ("127.0.0.1", gateway.port))
            answers.append(await asyncio.wait_for(loop.sock_recv(sock, 2048), 5))
    assert answers[0][1] == 0x44
    assert len(set(answers)) == 1
    await gateway.stop()
    counters = gateway_status(gateway.state_dir)["counters"]
    assert (counters["deposits_taken"], counters["deposits_repeated"], counters["coap_duplicates"]) == (1, 0, 2)


async def test_metrics_are_text(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.deposit([Deposit(MAILBOX, bench.envelope())])
    text = (await carrier._ask(Code.GET, "metrics")).decode()
    assert "sealway_gateway_deposits_taken_total 1\n" in text
    assert "# TYPE sealway_gateway_outbound_envelopes gauge" in text


async def test_what_is_held_too_long_is_dropped(bench: Bench) -> None:
    bench.hub.away = True
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.deposit([Deposit(MAILBOX, envelope) for envelope in bench.envelopes(30)])
    await gateway.stop()
    again = await bench.gateway(limits=Limits(held_for=timedelta(seconds=0)))
    await bench.until(lambda: gateway_status(again.state_dir)["in_flight"] == 0)
    await bench.until(lambda: gateway_status(again.state_dir)["counters"].get("deposits_expired") == 30)


@pytest.mark.parametrize("uri", ["http://127.0.0.1", "coap://", "coap://127.0.0.1/path", "127.0.0.1:5683", "coaps://x"])
async def test_a_carrier_wants_a_gateways_uri(uri: str) -> None:
    with pytest.raises(LocalMisuse):
        CoapCarrier(uri)
