# SPDX-License-Identifier: Apache-2.0
"""The relay between a device and its gateway: a real gateway behind it, a real carrier before it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest

from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.positions import coap_datagrams as datagrams
from sealway.adversary.positions.coap_relay import CoapRelay
from sealway.errors import LocalMisuse, Malformed, NotFound
from sealway.transports.coap import CoapCarrier
from sealway.transports.ports import Deposit
from sealway.wire import carriage
from tests.adversary_positions.puppet import Puppet, box
from tests.gateway.conftest import bench  # noqa: F401 - a fixture
from tests.gateway.gateway_bench import Bench

pytestmark = pytest.mark.processes


async def relayed(bench: Bench, puppet: Puppet, *, compact: bool = False) -> CoapCarrier:  # noqa: F811
    """A carrier that believes the relay to be its gateway."""
    gateway = await bench.gateway()
    relay = CoapRelay(box(puppet), "127.0.0.1", 0, ("127.0.0.1", gateway.port))
    await relay.open()
    bench.stack.push_async_callback(relay.close)
    return await bench.carrier(relay.uri, compact=compact)


async def test_an_honest_middlebox_is_not_noticed(bench: Bench) -> None:  # noqa: F811
    puppet = Puppet()
    carrier = await relayed(bench, puppet)
    mailbox = bench.mailbox()
    small, large = bench.envelope(), bench.envelope(5_000)
    verdicts = await carrier.deposit([Deposit("b" * 16, small), Deposit("b" * 16, large)])
    assert [verdict.status for verdict in verdicts] == [204, 204]
    await bench.until(lambda: sorted(bench.hub.waiting("b" * 16)) == sorted([small, large]))
    await carrier.publish_consent(bench.consent())
    bench.hub.take(Deposit(mailbox, small))
    (item,) = await carrier.collect([mailbox], wait=10)
    assert item.envelope == small
    await carrier.acknowledge([item])
    waiting = asyncio.create_task(carrier.collect([mailbox], wait=10))
    await asyncio.sleep(0.2)
    bench.hub.take(Deposit(mailbox, large))
    ((_, _, envelope),) = [(i.mailbox, i.sequence, i.envelope) for i in await waiting]
    assert envelope == large, "blockwise answers pass as they are"
    with pytest.raises(NotFound):
        await carrier.claim_bundle("sealway://building.example/device/none")
    assert {(Kind.ENVELOPE, Leg.UP), (Kind.VERDICT, Leg.DOWN), (Kind.CONSENT, Leg.UP), (Kind.ENVELOPE, Leg.DOWN),
            (Kind.ACKNOWLEDGEMENT, Leg.UP)} == puppet.kinds()  # fmt: skip


async def test_deposits_are_dropped_changed_copied_and_led_astray(bench: Bench) -> None:  # noqa: F811
    puppet = Puppet()
    carrier = await relayed(bench, puppet)
    dropped, original, changed, astray, honest = bench.envelopes(5)
    fates: dict[bytes, Any] = {
        dropped: lambda one: [],
        original: lambda one: [replace(one, content=changed)],
        astray: lambda one: [replace(one, subject="c" * 16)],
    }
    puppet.on(Kind.ENVELOPE, Leg.UP, lambda one: fates.get(one.content, lambda same: [same])(one))
    there = [Deposit("b" * 16, envelope) for envelope in (dropped, original, astray, honest)]
    assert all(verdict.accepted for verdict in await carrier.deposit(there))
    await bench.until(lambda: bench.hub.deposited == 3)
    assert sorted(bench.hub.waiting("b" * 16)) == sorted([changed, honest])
    assert bench.hub.waiting("c" * 16) == [astray]
    reached = [one.content for one in puppet.reached if (one.kind, one.leg) == (Kind.ENVELOPE, Leg.UP)]
    assert sorted(reached) == sorted([changed, astray, honest])


async def test_a_device_that_speaks_compact_is_attacked_all_the_same(bench: Bench) -> None:  # noqa: F811
    puppet, mailbox = Puppet(), bench.mailbox()
    carrier = await relayed(bench, puppet, compact=True)
    original, changed, down = bench.envelopes(3)
    puppet.on(Kind.ENVELOPE, Leg.UP, lambda one: [replace(one, content=changed)])
    assert (await carrier.deposit([Deposit("b" * 16, original)]))[0].accepted
    await bench.until(lambda: bench.hub.waiting("b" * 16) == [changed])
    await carrier.publish_consent(bench.consent())
    puppet.on(Kind.ENVELOPE, Leg.DOWN, lambda one: [one, one])
    bench.hub.take(Deposit(mailbox, down))
    assert [item.envelope for item in await carrier.collect([mailbox], wait=10)] == [down, down]


async def test_what_is_added_goes_as_requests_of_the_relay_s_own(bench: Bench) -> None:  # noqa: F811
    puppet = Puppet()
    carrier = await relayed(bench, puppet)
    one, more, injected = bench.envelopes(3)
    puppet.on(Kind.ENVELOPE, Leg.UP, lambda passing: [passing, replace(passing, content=more)])
    puppet.inject(Passing(Kind.ENVELOPE, Leg.UP, "b" * 16, injected))
    await carrier.deposit([Deposit("b" * 16, one)])
    await bench.until(lambda: bench.hub.deposited == 3)
    await bench.until(lambda: sum(p.kind is Kind.ENVELOPE for p in puppet.reached) == 3)


async def test_what_comes_is_dropped_changed_and_copied(bench: Bench) -> None:  # noqa: F811
    puppet, mailbox = Puppet(), bench.mailbox()
    carrier = await relayed(bench, puppet)
    dropped, original, changed, copied = bench.envelopes(4)
    fates = {dropped: [], original: [changed], copied: [copied, copied]}
    puppet.on(Kind.ENVELOPE, Leg.DOWN, lambda one: [replace(one, content=c) for c in fates[one.content]])
    await carrier.publish_consent(bench.consent())
    for envelope in (dropped, original, copied):
        bench.hub.take(Deposit(mailbox, envelope))
    got: list[bytes] = []
    while len(got) < 3:
        items = await carrier.collect([mailbox], wait=10)
        assert items
        got += [item.envelope for item in items]
        await carrier.acknowledge(items)
    assert sorted(got) == sorted([changed, copied, copied])
    assert await carrier.collect([mailbox], wait=0) == []
    await bench.until(lambda: bench.hub.held == 0)


async def test_an_observer_is_notified_of_what_is_injected(bench: Bench) -> None:  # noqa: F811
    puppet, mailbox = Puppet(), bench.mailbox()
    carrier = await relayed(bench, puppet)
    await carrier.publish_consent(bench.consent())
    for envelope in bench.envelopes(3):
        waiting = asyncio.create_task(carrier.collect([mailbox], wait=20))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        puppet.inject(Passing(Kind.ENVELOPE, Leg.DOWN, mailbox, envelope))
        (item,) = await waiting
        assert item.envelope == envelope
        await carrier.acknowledge([item])
    assert [one.content for one in puppet.reached if one.leg is Leg.DOWN and one.kind is Kind.ENVELOPE]


async def test_answers_and_verdicts_are_replaced(bench: Bench) -> None:  # noqa: F811
    puppet = Puppet()
    bench.hub.root = b"root document"
    carrier = await relayed(bench, puppet)
    assert await carrier.root_document() == b"root document"
    puppet.on(Kind.ROOT, Leg.DOWN, lambda one: [replace(one, content=b"another")])
    assert await carrier.root_document() == b"another"
    puppet.on(Kind.ROOT, Leg.DOWN, lambda one: [])
    with pytest.raises(NotFound):
        await carrier.root_document()
    lie = carriage.Verdicts(((503, ""),)).encode()
    puppet.on(Kind.VERDICT, Leg.DOWN, lambda one: [replace(one, content=lie)])
    (verdict,) = await carrier.deposit([Deposit("b" * 16, bench.envelope())])
    assert verdict.status == 503
    puppet.on(Kind.CONSENT, Leg.UP, lambda one: [])
    await carrier.publish_consent(bench.consent())  # reported as taken
    assert bench.hub._stores.consents == {}


async def test_acknowledgements_are_kept_back(bench: Bench) -> None:  # noqa: F811
    puppet, mailbox = Puppet(), bench.mailbox()
    carrier = await relayed(bench, puppet)
    puppet.on(Kind.ACKNOWLEDGEMENT, Leg.UP, lambda one: [])
    await carrier.publish_consent(bench.consent())
    bench.hub.take(Deposit(mailbox, bench.envelope()))
    for _ in range(2):
        (item,) = await carrier.collect([mailbox], wait=10)
        await carrier.acknowledge([item])
        carrier._acknowledged.clear()


async def test_odd_datagrams_pass_as_they_are(bench: Bench) -> None:  # noqa: F811
    puppet = Puppet()
    carrier = await relayed(bench, puppet)
    port = int(carrier._uri.rsplit(":", 1)[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for content in (b"", b"\x00", b"\xff" * 9, bytes(70), b"\x40\x01\x00\x01\xb1"):
            stranger.sendto(content, ("127.0.0.1", port))
        await asyncio.sleep(0.2)
    (verdict,) = await carrier.deposit([Deposit("b" * 16, bench.envelope())])
    assert verdict.accepted


def test_a_relay_stays_on_this_machine() -> None:
    with pytest.raises(LocalMisuse):
        CoapRelay(box(Puppet()), "0.0.0.0", 0, ("127.0.0.1", 5683))


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"\x80\x01\x00\x01", b"\x40\x01\x00\x01\xb1"])
def test_what_is_no_message_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        datagrams.read(content)
