# SPDX-License-Identifier: Apache-2.0
"""The gateway between CoAP devices and a hub in memory, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import pytest

from sealway.errors import HopRefused, LocalMisuse, NotFound, TransportFailed
from sealway.gateway.gateway import GatewayConfig, Service
from sealway.gateway.limits import Limits
from sealway.gateway.status import gateway_status
from sealway.transports.coap import CoapCarrier
from sealway.transports.memory import Honest, MemoryCarrier
from sealway.transports.ports import Collected, Deposit, Verdict
from tests.gateway.gateway_bench import Bench


def deposits(mailbox: str, envelopes: Sequence[bytes]) -> list[Deposit]:
    return [Deposit(mailbox, envelope) for envelope in envelopes]


async def collected_until_refused(carrier: CoapCarrier, mailbox: str) -> None:
    for _ in range(100):
        await carrier.collect([mailbox], wait=0.2)


async def test_three_devices_at_once_lose_nothing_and_keep_their_order(bench: Bench) -> None:
    gateway = await bench.gateway()

    async def device(label: str) -> tuple[str, list[bytes]]:
        carrier = await bench.carrier(gateway.uri, window=1)
        sent = bench.envelopes(150)
        for start in range(0, 150, 50):
            verdicts = await carrier.deposit(deposits(bench.mailbox(label), sent[start : start + 50]))
            assert [verdict.status for verdict in verdicts] == [204] * 50
        return label, sent

    results = await asyncio.gather(*(device(f"meter-{n}") for n in range(3)))
    await bench.until(lambda: bench.hub.held == 450)
    for label, sent in results:
        assert bench.hub.waiting(bench.mailbox(label)) == sent
    await bench.until(lambda: gateway_status(gateway.state_dir)["in_flight"] == 0)


async def test_window_takes_a_batch_concurrently(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    sent = bench.envelopes(100)
    assert all(v.accepted for v in await carrier.deposit(deposits(bench.mailbox(), sent)))
    await bench.until(lambda: bench.hub.held == 100)
    assert set(bench.hub.waiting(bench.mailbox())) == set(sent)


async def test_hub_away_then_back_gets_everything_in_order_and_in_batches(bench: Bench) -> None:
    uplink = bench.hub.carrier()
    gateway = await bench.gateway(uplink=uplink)
    bench.hub.away = True
    carrier = await bench.carrier(gateway.uri, window=1)
    sent = bench.envelopes(350)
    for start in range(0, 350, 50):
        assert all(v.accepted for v in await carrier.deposit(deposits(bench.mailbox(), sent[start : start + 50])))
    assert gateway_status(gateway.state_dir)["in_flight"] == 350
    uplink.calls.clear()
    bench.hub.away = False
    await bench.until(lambda: bench.hub.held == 350)
    assert bench.hub.waiting(bench.mailbox()) == sent
    assert uplink.calls["deposit"] <= 8  # 350 in batches of 100, and calls that failed before
    await bench.until(lambda: gateway_status(gateway.state_dir)["in_flight"] == 0)


async def test_same_envelope_offered_twice_is_held_once(bench: Bench) -> None:
    gateway = await bench.gateway()
    bench.hub.away = True
    carrier = await bench.carrier(gateway.uri)
    envelope = bench.envelope()
    for _ in range(3):
        assert [v.status for v in await carrier.deposit(deposits(bench.mailbox(), [envelope]))] == [204]
    assert gateway_status(gateway.state_dir)["in_flight"] == 1


async def test_ten_kibibytes_go_blockwise_up_and_down(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())
    up, down = bench.envelope(10_240), bench.envelope(10_240)
    application = "b" * 16
    assert [v.status for v in await carrier.deposit(deposits(application, [up]))] == [204]
    await bench.until(lambda: bench.hub.waiting(application) == [up])
    waiting = asyncio.create_task(carrier.collect([bench.mailbox()], wait=10))
    await asyncio.sleep(0.2)
    bench.hub.take(Deposit(bench.mailbox(), down))
    assert [item.envelope for item in await waiting] == [down]


async def test_devices_collect_and_acknowledge_what_the_hub_holds(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())
    sent = bench.envelopes(40)
    for envelope in sent:
        bench.hub.take(Deposit(bench.mailbox(), envelope))
    received: list[bytes] = []
    while len(received) < 40:
        items = await carrier.collect([bench.mailbox()], wait=5)
        assert items, "nothing came in five seconds"
        received += [item.envelope for item in items]
        await carrier.acknowledge(items)
    assert received == sent
    await bench.until(lambda: bench.hub.held == 0)
    assert gateway_status(gateway.state_dir)["in_flight"] == 0
    assert await carrier.collect([bench.mailbox()], wait=0) == []


async def test_what_is_not_acknowledged_is_offered_again(bench: Bench) -> None:
    gateway = await bench.gateway()
    first = await bench.carrier(gateway.uri)
    await first.publish_consent(bench.consent())
    bench.hub.take(Deposit(bench.mailbox(), bench.envelope()))
    items = await first.collect([bench.mailbox()], wait=5)
    assert len(items) == 1
    second = await bench.carrier(gateway.uri)
    assert await second.collect([bench.mailbox()], wait=5) == items
    assert bench.hub.held == 0  # durable at the gateway
    assert gateway_status(gateway.state_dir)["inbound"] == 1


async def test_a_notification_comes_at_once(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri, refresh=30)
    await carrier.publish_consent(bench.consent())
    loop = asyncio.get_running_loop()
    for _ in range(5):
        waiting = asyncio.create_task(carrier.collect([bench.mailbox()], wait=20))
        await asyncio.sleep(0.1)
        start = loop.time()
        envelope = bench.envelope()
        bench.hub.take(Deposit(bench.mailbox(), envelope))
        items = await waiting
        assert [item.envelope for item in items] == [envelope]
        assert loop.time() - start < 1.0
        await carrier.acknowledge(items)


async def test_nothing_is_collected_without_an_accepted_consent(bench: Bench) -> None:
    class Refusing(MemoryCarrier):
        async def publish_consent(self, consent: bytes) -> None:
            raise HopRefused("not the signature of that device", status=403)

    uplink = Refusing(bench.hub, Honest(), needs_consent=False)
    gateway = await bench.gateway(uplink=uplink)
    carrier = await bench.carrier(gateway.uri)
    with pytest.raises(HopRefused) as refused:
        await carrier.publish_consent(bench.consent())
    assert refused.value.status == 403
    bench.hub.take(Deposit(bench.mailbox(), bench.envelope()))
    assert await carrier.collect([bench.mailbox()], wait=0.5) == []
    assert uplink.calls["collect"] == 0
    assert gateway_status(gateway.state_dir)["consents"] == 0


async def test_a_wiped_hub_gets_the_consents_again(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())
    bench.hub.wipe()
    bench.hub.away = True
    await asyncio.sleep(0.1)
    bench.hub.away = False
    envelope = bench.envelope()
    bench.hub.take(Deposit(bench.mailbox(), envelope))
    assert [i.envelope for i in await carrier.collect([bench.mailbox()], wait=10)] == [envelope]


async def test_a_device_is_told_when_the_hub_forgot_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())

    async def forgotten(*_: object, **__: object) -> None:
        raise NotFound("no such mailbox")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryCarrier, "collect", forgotten)
        patch.setattr(MemoryCarrier, "publish_consent", forgotten)
        bench.hub.away = True  # ends the long poll that is under way
        await asyncio.sleep(0.1)
        bench.hub.away = False
        with pytest.raises(NotFound, match="publish anew"):
            await collected_until_refused(carrier, bench.mailbox())
    await carrier.publish_consent(bench.consent())
    bench.hub.take(Deposit(bench.mailbox(), bench.envelope()))
    assert len(await carrier.collect([bench.mailbox()], wait=10)) == 1


async def test_a_consent_survives_the_gateways_restart(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())
    await gateway.stop()
    again = await bench.gateway(port=gateway.port)
    assert again.uri == gateway.uri
    bench.hub.take(Deposit(bench.mailbox(), bench.envelope()))
    assert len(await carrier.collect([bench.mailbox()], wait=10)) == 1


async def test_an_observer_survives_the_gateways_restart(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())
    assert await carrier.collect([bench.mailbox()], wait=0.3) == []  # now there is an observation
    await gateway.stop()
    with pytest.raises(TransportFailed):
        await carrier.collect([bench.mailbox()], wait=5)
    await bench.gateway(port=gateway.port)
    waiting = asyncio.create_task(_collect_stubbornly(carrier, bench.mailbox()))
    await asyncio.sleep(0.5)
    bench.hub.take(Deposit(bench.mailbox(), bench.envelope()))
    assert len(await asyncio.wait_for(waiting, 4)) == 1


async def test_a_failed_deposit_brings_the_observation_back_soon(bench: Bench) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri, refresh=60)
    await carrier.publish_consent(bench.consent())
    waiting = asyncio.create_task(_collect_stubbornly(carrier, bench.mailbox()))
    await asyncio.sleep(0.3)
    await gateway.stop()
    with pytest.raises(TransportFailed):
        await carrier.deposit(deposits(bench.mailbox(), [bench.envelope()]))
    await bench.gateway(port=gateway.port)
    await asyncio.sleep(0.2)
    bench.hub.take(Deposit(bench.mailbox(), bench.envelope()))
    assert len(await asyncio.wait_for(waiting, 3)) == 1


async def _collect_stubbornly(carrier: CoapCarrier, mailbox: str) -> list[Collected]:
    while True:
        try:
            if items := await carrier.collect([mailbox], wait=10):
                return items
        except TransportFailed:
            await asyncio.sleep(0.1)


async def test_verdicts_decide_what_is_dropped_and_what_is_tried_again(bench: Bench) -> None:
    class Picky(MemoryCarrier):
        busy = True

        async def deposit(self, batch: Sequence[Deposit]) -> list[Verdict]:
            verdicts = await super().deposit([d for d in batch if d.mailbox.startswith("b")])
            good = iter(verdicts)
            return [next(good) if d.mailbox.startswith("b") else self._other(d) for d in batch]

        def _other(self, deposit: Deposit) -> Verdict:
            if deposit.mailbox.startswith("c"):
                return Verdict(403, "never")
            return Verdict(429, "later") if self.busy else self._hub.take(deposit)

    uplink = Picky(bench.hub, Honest(), needs_consent=False)
    gateway = await bench.gateway(uplink=uplink)
    carrier = await bench.carrier(gateway.uri)
    good, never, later = (deposits(letter * 16, bench.envelopes(20)) for letter in "bcd")
    mixed = [deposit for three in zip(good, never, later, strict=True) for deposit in three]
    assert all(v.accepted for v in await carrier.deposit(mixed))
    await bench.until(lambda: bench.hub.held == 20 and gateway_status(gateway.state_dir)["in_flight"] == 20)
    uplink.busy = False
    await bench.until(lambda: bench.hub.held == 40 and gateway_status(gateway.state_dir)["in_flight"] == 0)
    await bench.until(lambda: gateway_status(gateway.state_dir)["counters"]["deposits_dropped"] == 20)


async def test_a_hop_that_refuses_the_call_loses_only_the_envelope_it_means(bench: Bench) -> None:
    poison = bench.envelope()

    class Strict(MemoryCarrier):
        async def deposit(self, batch: Sequence[Deposit]) -> list[Verdict]:
            if any(deposit.envelope == poison for deposit in batch):
                raise HopRefused("bad body", status=400)
            return await super().deposit(batch)

    bench.hub.away = True
    gateway = await bench.gateway(uplink=Strict(bench.hub, Honest(), needs_consent=False))
    carrier = await bench.carrier(gateway.uri)
    others = bench.envelopes(60)
    await carrier.deposit(deposits(bench.mailbox(), [*others[:30], poison, *others[30:]]))
    bench.hub.away = False
    await bench.until(lambda: gateway_status(gateway.state_dir)["in_flight"] == 0)
    assert set(bench.hub.waiting(bench.mailbox())) == set(others)


async def test_a_fault_in_the_carrier_only_costs_time(bench: Bench) -> None:
    class Faulty(MemoryCarrier):
        faults = 3

        async def deposit(self, batch: Sequence[Deposit]) -> list[Verdict]:
            self.faults -= 1
            if self.faults == 2:
                raise ValueError("a bug")
            if self.faults >= 0:
                return []
            return await super().deposit(batch)

    gateway = await bench.gateway(uplink=Faulty(bench.hub, Honest(), needs_consent=False))
    carrier = await bench.carrier(gateway.uri)
    await carrier.deposit(deposits(bench.mailbox(), bench.envelopes(5)))
    await bench.until(lambda: bench.hub.held == 5)


async def test_directory_requests_pass_through(bench: Bench) -> None:
    bench.hub.root = b"the root document" * 100
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    assert await carrier.root_document() == bench.hub.root
    chain = (b"leaf" * 100, b"issuer" * 200)
    await carrier.publish_credential(chain)
    assert await carrier.credential(hashlib.sha256(chain[0]).digest()) == chain
    with pytest.raises(NotFound):
        await carrier.credential(bytes(32))
    with pytest.raises(NotFound):
        await carrier.newest_bundle("sealway://building.example/device/none")
    with pytest.raises(NotFound):
        await carrier.claim_bundle("sealway://building.example/device/none")
    with pytest.raises(NotFound):
        await carrier.bundle_by_hash(bytes(32))
    bench.hub.away = True
    with pytest.raises(HopRefused) as refused:
        await carrier.root_document()
    assert refused.value.status == 503


async def test_two_gateways_in_a_row_and_a_ring_of_two(bench: Bench) -> None:
    far = await bench.gateway("far")
    near = await bench.gateway("near", uplink=await bench.carrier(far.uri))
    carrier = await bench.carrier(near.uri)
    envelope = bench.envelope()
    assert [v.status for v in await carrier.deposit([Deposit(bench.mailbox(), envelope, 3)])] == [204]
    await bench.until(lambda: bench.hub.waiting(bench.mailbox()) == [envelope])
    assert [v.status for v in await carrier.deposit([Deposit(bench.mailbox(), envelope, 2)])] == [204]
    await bench.until(lambda: gateway_status(near.state_dir)["in_flight"] == 0)  # the far one said 5.08
    assert [v.status for v in await carrier.deposit([Deposit(bench.mailbox(), envelope, 1)])] == [508]

    ring = await bench.carrier("coap://127.0.0.1:9")
    one = await bench.gateway("one", uplink=ring)
    two = await bench.gateway("two", uplink=await bench.carrier(one.uri))
    ring._lanes._uri = two.uri
    carrier = await bench.carrier(one.uri)
    assert [v.status for v in await carrier.deposit([Deposit(bench.mailbox(), bench.envelope())])] == [204]
    await bench.until(
        lambda: gateway_status(one.state_dir)["in_flight"] + gateway_status(two.state_dir)["in_flight"] == 0
    )
    with pytest.raises(HopRefused) as refused:
        await carrier.root_document()
    assert refused.value.status == 508


async def test_a_gateway_does_not_feed_itself(bench: Bench) -> None:
    running = await bench.gateway("first")
    await running.stop()
    config = GatewayConfig(bench.root / "self", port=running.port, uplink_uri=f"coap://localhost:{running.port}")
    with pytest.raises(LocalMisuse, match="leads back"):
        await Service(config, bench.hub.carrier()).run(lambda uri: None)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])
async def test_plain_coap_stays_on_loopback(bench: Bench, host: str) -> None:
    with pytest.raises(LocalMisuse) as refused:
        await Service(GatewayConfig(bench.root / "g", host=host, port=0), bench.hub.carrier()).run(lambda uri: None)
    assert refused.value.hint


async def test_one_gateway_for_each_directory_and_port(bench: Bench) -> None:
    gateway = await bench.gateway("g")
    with pytest.raises(LocalMisuse, match="another gateway"):
        await bench.gateway("g")
    with pytest.raises(TransportFailed, match="cannot listen"):
        await bench.gateway("h", port=gateway.port)


async def test_queue_full_is_unavailable_and_what_was_taken_stays(bench: Bench) -> None:
    gateway = await bench.gateway(limits=Limits(queue_bytes=2000))
    bench.hub.away = True
    carrier = await bench.carrier(gateway.uri, window=1)
    verdicts = await carrier.deposit(deposits(bench.mailbox(), bench.envelopes(40)))
    taken = [verdict for verdict in verdicts if verdict.accepted]
    assert 15 < len(taken) < 25
    assert {verdict.status for verdict in verdicts} == {204, 503}
    bench.hub.away = False
    await bench.until(lambda: bench.hub.held == len(taken))
    assert all(v.accepted for v in await carrier.deposit(deposits(bench.mailbox(), bench.envelopes(3))))


async def test_a_full_inbox_leaves_the_rest_at_the_hub(bench: Bench) -> None:
    gateway = await bench.gateway(limits=Limits(inbox_bytes=2000))
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())
    await carrier.publish_consent(bench.consent("meter-2"))
    for envelope in bench.envelopes(250):
        bench.hub.take(Deposit(bench.mailbox(), envelope))
    await bench.until(lambda: gateway_status(gateway.state_dir)["inbound"] == 100)
    other = bench.envelope()
    bench.hub.take(Deposit(bench.mailbox("meter-2"), other))
    assert [i.envelope for i in await carrier.collect([bench.mailbox("meter-2")], wait=5)] == [other]
    assert len(bench.hub.waiting(bench.mailbox())) == 150
    received: set[bytes] = set()
    while len(received) < 250:
        items = await carrier.collect([bench.mailbox()], wait=5)
        received |= {item.envelope for item in items}
        await carrier.acknowledge(items)
