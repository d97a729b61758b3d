# SPDX-License-Identifier: Apache-2.0
"""The compact form on a device's bearer: a real gateway on loopback, sizes as they are on the wire, peers of old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import LocalMisuse, Malformed
from sealway.gateway.forms import collected, handed, taken
from sealway.gateway.limits import Limits
from sealway.gateway.refusal import Refusal
from sealway.gateway.status import gateway_status
from sealway.transports.coap import CoapCarrier
from sealway.transports.coap_api import FORMAT_CBOR, FORMAT_COMPACT, FORMAT_ENVELOPE, FORMAT_HANDED
from sealway.transports.coap_stack import StackLimits, open_server
from sealway.transports.ports import Collected, Deposit
from sealway.wire import carriage
from sealway.wire.compact import from_compact, is_compactable, to_compact
from sealway.wire.envelope import Envelope
from sealway.wire.header import Claims, Opener
from tests.gateway.gateway_bench import Bench, Running
from tests.gateway.test_gateway_refuses import answer, plain
from tests.wire.wire_strategies import envelopes

APPLICATION = "b" * 16
compactable = envelopes().filter(is_compactable)


@dataclass
class Wiretap:
    """Passes datagrams on between devices and a gateway; keeps them all as messages."""

    up: list[Message] = field(default_factory=list)
    down: list[Message] = field(default_factory=list)
    sizes_down: list[int] = field(default_factory=list)

    def posted(self) -> list[Message]:
        return [m for m in self.up if m.code is Code.POST and m.opt.uri_path[0] == "m"]

    def handed(self) -> list[Message]:
        formats = (FORMAT_CBOR, FORMAT_HANDED)
        return [m for m in self.down if m.opt.content_format in formats and m.payload != b"\x80"]


class _Side(asyncio.DatagramProtocol):
    def __init__(self, take: Any) -> None:
        self.take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.take(data, addr)


@asynccontextmanager
async def tapped(gateway: Running) -> AsyncIterator[tuple[str, Wiretap]]:
    """A way to the gateway on which a test sees each datagram."""
    loop, tap = asyncio.get_running_loop(), Wiretap()
    backs: dict[Any, asyncio.DatagramTransport] = {}

    async def go_up(data: bytes, address: Any) -> None:
        def go_down(answered: bytes, _: Any) -> None:
            tap.down.append(Message.decode(answered))
            tap.sizes_down.append(len(answered))
            front.sendto(answered, address)

        if address not in backs:
            there = ("127.0.0.1", gateway.port)
            backs[address], _ = await loop.create_datagram_endpoint(lambda: _Side(go_down), remote_addr=there)
        backs[address].sendto(data)

    tasks: set[asyncio.Task[None]] = set()

    def arrived(data: bytes, address: Any) -> None:
        tap.up.append(Message.decode(data))
        tasks.add(asyncio.ensure_future(go_up(data, address)))

    front, _ = await loop.create_datagram_endpoint(lambda: _Side(arrived), local_addr=("127.0.0.1", 0))
    try:
        yield f"coap://127.0.0.1:{front.get_extra_info('sockname')[1]}", tap
    finally:
        await asyncio.gather(*tasks)
        for transport in [front, *backs.values()]:
            transport.close()
        await asyncio.sleep(0)


def steady(length: int = 64, number: int = 300, **parts: Any) -> bytes:
    """An envelope around a message of so many bytes, in the steady state of suite 1."""
    return Envelope(b"k", number, bytes(length) + b"t" * 8, **parts).encode()


STARTLIKE = steady(claims=Claims(topic="readings"))  # there is no compact form of it


async def test_a_device_posts_12_bytes_more_than_the_message_and_the_hub_gets_cose(bench: Bench) -> None:
    gateway = await bench.gateway()
    async with tapped(gateway) as (uri, tap):
        carrier = await bench.carrier(uri, compact=True)
        sent = [steady(64), STARTLIKE]
        assert [v.status for v in await carrier.deposit([Deposit(APPLICATION, e) for e in sent])] == [204, 204]
        await bench.until(lambda: set(bench.hub.waiting(APPLICATION)) == set(sent))
        posted = {int(m.opt.content_format): len(m.payload) for m in tap.posted()}
        assert posted == {FORMAT_COMPACT: 64 + 12, FORMAT_ENVELOPE: len(STARTLIKE)}
        assert len(steady(64)) == 64 + 24
        await carrier.close()
    await gateway.stop()
    assert gateway_status(gateway.state_dir)["counters"]["deposits_compact"] == 1


async def test_the_same_envelope_in_both_forms_is_held_once(bench: Bench) -> None:
    gateway = await bench.gateway()
    bench.hub.away = True
    for compact in (True, False, True):
        carrier = await bench.carrier(gateway.uri, compact=compact)
        assert [v.status for v in await carrier.deposit([Deposit(APPLICATION, steady())])] == [204]
    assert gateway_status(gateway.state_dir)["in_flight"] == 1


async def test_a_device_that_asks_gets_compact_where_cose_would_go_in_blocks(bench: Bench) -> None:
    gateway = await bench.gateway(limits=Limits(bearer_bytes=96))
    async with tapped(gateway) as (uri, tap):
        carrier = await bench.carrier(uri, compact=True)
        await carrier.publish_consent(bench.consent())
        envelope = steady(72)
        assert len(envelope) == 96  # COSE does not fit with what is around it
        bench.hub.take(Deposit(bench.mailbox(), envelope))
        items = await carrier.collect([bench.mailbox()], wait=5)
        assert [(item.mailbox, item.envelope) for item in items] == [(bench.mailbox(), envelope)]
        (message,) = tap.handed()
        assert int(message.opt.content_format) == FORMAT_HANDED
        assert message.opt.block2 is None
        ((sequence, compact, form),) = carriage.Handed.decode(message.payload).items
        assert (sequence, compact, form) == (items[0].sequence, True, to_compact(Envelope.decode(envelope)))
        assert len(form) == 72 + 12
        await carrier.acknowledge(items)
        assert await carrier.collect([bench.mailbox()], wait=0) == []
        assert max(tap.sizes_down) <= 96 + 4 + 8 + 16  # header, token, options
        await carrier.close()


async def test_a_device_that_does_not_ask_gets_cose(bench: Bench) -> None:
    gateway = await bench.gateway(limits=Limits(bearer_bytes=96))
    async with tapped(gateway) as (uri, tap):
        carrier = await bench.carrier(uri)
        await carrier.publish_consent(bench.consent())
        bench.hub.take(Deposit(bench.mailbox(), steady(72)))
        assert [item.envelope for item in await carrier.collect([bench.mailbox()], wait=5)] == [steady(72)]
        assert {int(m.opt.content_format) for m in tap.handed()} == {FORMAT_CBOR}
        assert all(m.opt.block2 is not None and m.opt.block2.size == 64 for m in tap.handed())
        await carrier.close()


async def test_where_all_fits_as_cose_there_is_nothing_to_convert(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri, compact=True)
    await carrier.publish_consent(bench.consent())
    bench.hub.take(Deposit(bench.mailbox(), steady(72)))
    assert [item.envelope for item in await carrier.collect([bench.mailbox()], wait=5)] == [steady(72)]
    await gateway.stop()
    assert gateway_status(gateway.state_dir)["counters"]["handed_compact"] == 0


@pytest.mark.parametrize("bearer", [16, 48, 100, 1024])
async def test_everything_arrives_whatever_the_bearer(bench: Bench, bearer: int) -> None:
    gateway = await bench.gateway(limits=Limits(bearer_bytes=bearer))
    async with tapped(gateway) as (uri, tap):
        carrier = await bench.carrier(uri, compact=True)
        await carrier.publish_consent(bench.consent())
        up = [steady(size) for size in (1, 40, 800, 3000)]
        for envelope in up:
            assert [v.status for v in await carrier.deposit([Deposit(APPLICATION, envelope)])] == [204]
        await bench.until(lambda: bench.hub.waiting(APPLICATION) == up)
        down = [*up, STARTLIKE, steady(20, opener=Opener(7, bytes(32), 7)), *bench.envelopes(20)]
        for envelope in down:
            bench.hub.take(Deposit(bench.mailbox(), envelope))
        received: list[bytes] = []
        while len(received) < len(down):
            items = await carrier.collect([bench.mailbox()], wait=5)
            assert items
            received += [item.envelope for item in items]
            await carrier.acknowledge(items)
        assert received == down
        assert max(len(m.payload) for m in tap.down) <= bearer
        await carrier.close()


MALFORMED = {
    "nothing": b"",
    "no suite": b"\x02k\x01\x02" + bytes(9),
    "a leading zero": b"\x42k\x00\x02" + bytes(9),
    "a ciphertext of the tag alone": b"\x42k\x01\x02" + bytes(8),
    "an opener that is none": b"\x43k\x01\x02" + bytes(30),
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=list(MALFORMED))
async def test_a_malformed_compact_form_is_refused_and_nothing_is_held(bench: Bench, payload: bytes) -> None:
    gateway = await bench.gateway()
    bench.hub.away = True
    message = plain(Code.POST, f"m/{APPLICATION}", content_format=FORMAT_COMPACT, payload=payload)
    refused = await answer(bench, gateway, message)
    assert refused.code is Code.BAD_REQUEST
    assert refused.payload
    await gateway.stop()
    status = gateway_status(gateway.state_dir)
    assert (status["in_flight"], status["counters"]["deposits_taken"]) == (0, 0)


async def test_a_compact_form_as_cose_is_malformed_too(bench: Bench) -> None:
    gateway = await bench.gateway()
    payload = to_compact(Envelope.decode(steady()))
    message = plain(Code.POST, f"m/{APPLICATION}", content_format=FORMAT_ENVELOPE, payload=payload)
    assert (await answer(bench, gateway, message)).code is Code.BAD_REQUEST


async def test_a_compact_form_whose_envelope_is_too_large_is_refused(bench: Bench) -> None:
    gateway = await bench.gateway(limits=Limits(envelope_bytes=len(steady()) - 1))
    payload = to_compact(Envelope.decode(steady()))
    message = plain(Code.POST, f"m/{APPLICATION}", content_format=FORMAT_COMPACT, payload=payload)
    assert (await answer(bench, gateway, message)).code is Code.REQUEST_ENTITY_TOO_LARGE


async def test_a_format_that_there_is_not_is_not_acceptable(bench: Bench) -> None:
    gateway = await bench.gateway()
    refused = await answer(bench, gateway, plain(Code.GET, f"m/{APPLICATION}", accept=50))
    assert refused.code is Code.NOT_ACCEPTABLE


class Elder:
    """A gateway that knows COSE only; ``accept`` is how it answers the option that it does not know."""

    def __init__(self, waiting: Sequence[bytes], accept: Code = Code.CONTENT) -> None:
        self.waiting = waiting
        self.accept = accept
        self.taken: list[bytes] = []
        self.formats: list[int] = []
        self.asked: list[int | None] = []

    async def render_to_pipe(self, pipe: Any) -> None:
        """Answer as a gateway did before there was a compact form."""
        request = pipe.request
        if request.code is Code.GET:
            self.asked.append(request.opt.accept)
            pipe.add_response(self._collected(request), is_last=True)
            return
        self.formats.append(int(request.opt.content_format))
        if request.opt.content_format != FORMAT_ENVELOPE:
            pipe.add_response(Message(code=Code.UNSUPPORTED_CONTENT_FORMAT), is_last=True)
            return
        self.taken.append(request.payload)
        pipe.add_response(Message(code=Code.CHANGED), is_last=True)

    def _collected(self, request: Message) -> Message:
        if request.opt.accept is not None and self.accept is not Code.CONTENT:
            return Message(code=self.accept)
        rows = tuple((request.opt.uri_path[1], number, envelope) for number, envelope in enumerate(self.waiting))
        return Message(code=Code.CONTENT, payload=carriage.Collected(rows).encode(), content_format=FORMAT_CBOR)


@asynccontextmanager
async def elder(site: Elder) -> AsyncIterator[CoapCarrier]:
    context, port = await open_server(site, "127.0.0.1", 0, limits=StackLimits(), count=lambda _: None)
    carrier = CoapCarrier(f"coap://127.0.0.1:{port}", compact=True, timeout=4.0)
    try:
        yield carrier
    finally:
        await carrier.close()
        await context.shutdown()


async def test_a_gateway_that_does_not_know_the_format_gets_cose_from_then_on() -> None:
    site = Elder([])
    async with elder(site) as carrier:
        for number in range(300, 304):
            envelope = steady(number=number)
            assert [v.status for v in await carrier.deposit([Deposit(APPLICATION, envelope)])] == [204]
            assert site.taken[-1] == envelope
    assert site.formats == [FORMAT_COMPACT, *[FORMAT_ENVELOPE] * 4]


async def test_a_window_of_deposits_falls_back_as_a_whole() -> None:
    site = Elder([])
    async with elder(site) as carrier:
        sent = [steady(number=number) for number in range(300, 320)]
        assert {v.status for v in await carrier.deposit([Deposit(APPLICATION, e) for e in sent])} == {204}
    assert set(site.taken) == set(sent)
    assert site.formats == [FORMAT_COMPACT, *[FORMAT_ENVELOPE] * 20]


@pytest.mark.parametrize("answers", [Code.CONTENT, Code.NOT_ACCEPTABLE, Code.BAD_OPTION])
async def test_a_gateway_that_does_not_know_what_is_accepted(answers: Code) -> None:
    site = Elder([steady()], answers)
    async with elder(site) as carrier:
        for _ in range(3):
            assert [i.envelope for i in await carrier.collect([APPLICATION], wait=0)] == [steady()]
    assert site.asked == ([FORMAT_HANDED] * 3 if answers is Code.CONTENT else [FORMAT_HANDED, None, None, None])


async def test_after_silence_the_gateway_may_be_another_one() -> None:
    site = Elder([])
    async with elder(site) as carrier:
        await carrier.deposit([Deposit(APPLICATION, steady())])
        carrier._doubt()  # what the lanes call when an exchange got no answer
        await carrier.deposit([Deposit(APPLICATION, steady())])
    assert site.formats == [FORMAT_COMPACT, FORMAT_ENVELOPE] * 2


@given(compactable)
def test_the_gateway_converts_byte_for_byte_both_ways(envelope: Envelope) -> None:
    cose = envelope.encode()
    compact = to_compact(envelope)
    assert taken(compact, FORMAT_COMPACT, 1 << 20) == cose == taken(cose, FORMAT_ENVELOPE, 1 << 20)
    ((_, is_compact, form),) = handed([Collected(APPLICATION, 1, cose)], len(cose)).items
    assert (form == compact) if is_compact else (form == cose)
    assert (from_compact(form).encode() if is_compact else form) == cose


@given(st.binary(max_size=120), st.sampled_from([FORMAT_COMPACT, FORMAT_ENVELOPE]))
def test_what_the_gateway_takes_is_an_envelope(payload: bytes, content_format: int) -> None:
    try:
        envelope = taken(payload, content_format, 1 << 16)
    except (Malformed, Refusal):
        return
    assert Envelope.decode(envelope).encode() == envelope


@given(st.lists(st.one_of(compactable, envelopes()), min_size=1, max_size=16), st.integers(16, 1024))
def test_what_is_handed_over_fits_or_is_one(sent: list[Envelope], most: int) -> None:
    waiting = [Collected(APPLICATION, number * 70_000, envelope.encode()) for number, envelope in enumerate(sent)]
    body = handed(waiting, most)
    assert body.items
    assert len(body.encode()) <= most or len(body.items) == 1
    for item, (sequence, compact, form) in zip(waiting, body.items, strict=False):
        assert (sequence, from_compact(form).encode() if compact else form) == (item.sequence, item.envelope)
    plain_rows = carriage.Collected.decode(collected(waiting, most)).items
    assert len(plain_rows) <= len(body.items)  # whoever asks never gets less of it at once


def test_what_a_hop_hands_over_in_place_of_an_envelope_goes_on_as_it_is() -> None:
    body = handed([Collected(APPLICATION, 1, b"no envelope" * 20)], 64)
    assert body.items == ((1, False, b"no envelope" * 20),)


@pytest.mark.parametrize("wrong", [15, 1025])
def test_a_bearer_has_16_to_1024_bytes(wrong: int) -> None:
    with pytest.raises(LocalMisuse, match="bearer"):
        Limits(bearer_bytes=wrong)
