# SPDX-License-Identifier: Apache-2.0
"""Beginning sessions through a directory that nobody trusts, with prekeys that are gone, used twice, or substituted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sealway.errors import LocalMisuse, NotAuthentic, NotTrusted, RateLimited, Replayed, SealwayError
from sealway.identity.bundles import sign_bundle
from sealway.sdk import Device
from sealway.sdk.links import SESSIONS_PER_PEER
from sealway.sdk.sessions import Held
from sealway.transports.memory import _Published
from sealway.transports.ports import Collected
from sealway.wire.bundle import Offer, SignedBundle
from sealway.wire.envelope import Envelope
from tests.system.domain import Domain
from tests.system.world import World, counters, ready, until


class Recorder:
    """Keeps what an endpoint deposits."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def up(self, deposits: list) -> list:  # type: ignore[type-arg]
        self.seen += [deposit.envelope for deposit in deposits]
        return deposits

    def down(self, collected: list[Collected]) -> list[Collected]:
        return collected


def put(world: World, label: str, envelope: bytes) -> None:
    """Put an envelope into an endpoint's mailbox, as anyone may who reaches it."""
    stores = world.hub._stores
    mailbox = stores.mailboxes.setdefault(world.members[label].mailbox.mailbox, {})
    mailbox[stores.next_sequence] = envelope
    stores.next_sequence += 1
    world.hub._arrival.set()


async def first_reading(world: World, meter: Device) -> None:
    await meter.send(world.ops, "readings", b"first")
    await until(lambda: b"first" in world.got)


async def test_a_start_to_a_prekey_that_is_gone_has_no_reply(fast: World) -> None:
    recorder = Recorder()
    async with fast.device(tamper=recorder) as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        ops.endpoint.prekeys._bundles.clear()
        await meter.send(fast.ops, "readings", b"first")
        await until(lambda: counters(ops)["refused_PrekeyGone"] >= 1)
        assert not ops.endpoint.sessions.all()
        assert not fast.hub.waiting(fast.members["meter"].mailbox.mailbox)
        # The application renews; after an hour the reading arrives in a new session.
        await until(lambda: counters(ops)["bundles_published"] >= 2)
        fast.clock.turn(3_600)
        await until(lambda: fast.got == [b"first"])
        await until(lambda: not meter.endpoint.outbox)
        assert counters(meter)["sessions_left"] >= 1
    assert set(fast.identities.values()) == {1}


async def test_a_one_time_key_that_is_served_twice(fast: World) -> None:
    """The first start with it wins; the other is tried anew, and its messages arrive too."""
    async with fast.device("one") as one, fast.device("two") as two, fast.application() as ops, fast.watching(ops):
        await ready(one, two, ops)
        offer = (await ops.endpoint.carrier.claim_bundle(str(fast.ops)))  # fmt: skip
        for device in (one, two):
            genuine = device.endpoint.carrier.claim_bundle
            device.endpoint.carrier.claim_bundle = _once(offer, genuine)  # type: ignore[method-assign]
        await one.send(fast.ops, "readings", b"1")
        await until(lambda: fast.got == [b"1"])
        await two.send(fast.ops, "readings", b"2")
        await until(lambda: counters(ops)["refused_PrekeyGone"] >= 1)
        fast.clock.turn(3_600)
        await until(lambda: fast.got == [b"1", b"2"])
        await until(lambda: not two.endpoint.outbox)


def _once(offer: bytes, genuine: Any) -> Any:
    served: list[str] = []

    async def claim(name: str) -> bytes:
        if served:
            return bytes(await genuine(name))
        served.append(name)
        return offer

    return claim


async def test_a_start_that_is_played_again(fast: World) -> None:
    recorder = Recorder()
    async with fast.device(tamper=recorder) as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await first_reading(fast, meter)
        start = next(e for e in recorder.seen if Envelope.decode(e).start is not None)
        put(fast, "ops", start)
        await until(lambda: counters(ops)["refused_Replayed"] == 1)
        held = ops.endpoint.sessions.all()[0]
        ops.endpoint.sessions.close(held, fast.clock.now_ms())
        await ops.endpoint.journal.commit()
        put(fast, "ops", start)
        await until(lambda: counters(ops)["refused_Replayed"] == 2)
        assert not ops.endpoint.sessions.all()
    async with fast.application() as ops, fast.watching(ops):
        put(fast, "ops", start)
        await until(lambda: counters(ops)["refused_Replayed"] == 3)
    assert fast.got == [b"first"]


@pytest.mark.parametrize("attempt", range(4))
async def test_crossing_starts_converge(world: World, attempt: int) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        asking = asyncio.create_task(ops.request(world.meter, "valve", b"x"))
        sending = [asyncio.create_task(meter.send(world.ops, "readings", b"%d" % n)) for n in range(5)]
        await asyncio.gather(asking, *sending)
        for n in range(5, 10):
            await meter.send(world.ops, "readings", b"%d" % n)
        await ops.request(world.meter, "valve", b"y")
        await until(lambda: len(world.got) == 10)
        begun = counters(meter)["sessions_begun"] + counters(ops)["sessions_begun"]
        there = meter.endpoint.sessions.sending_to(str(world.ops))
        back = ops.endpoint.sessions.sending_to(str(world.meter))
        assert there is not None and back is not None
        assert begun >= 1 and there.session.hash == back.session.hash
    assert set(world.identities.values()) == {1} and set(world.executed.values()) == {1}


async def test_too_many_sessions_with_one_peer(world: World) -> None:
    """A certified peer that begins session after session is refused at the bound; others are served."""
    async with world.application() as ops, world.watching(ops), world.device("other") as other:
        async with world.device() as meter:
            await ready(meter, ops, other)
            sessions, old = meter.endpoint.sessions, set[bytes]()
            found = sessions.sending_to

            def of_the_new(peer: str) -> Held | None:
                held = found(peer)
                return held if held is not None and held.session.hash not in old else None

            sessions.sending_to = of_the_new  # type: ignore[method-assign]
            for n in range(3 * SESSIONS_PER_PEER):
                old.update(held.session.hash for held in sessions.all())
                for held in meter.endpoint.sessions.all():
                    held.session.stopped = None
                try:
                    await meter.send(world.ops, "readings", b"%d" % n)
                except RateLimited:
                    break
                await until(lambda n=n: b"%d" % n in world.got)  # type: ignore[misc]
            assert n == 2 * SESSIONS_PER_PEER  # it refuses itself too
            assert len(ops.endpoint.sessions.all()) <= 2 * SESSIONS_PER_PEER
        await other.send(world.ops, "readings", b"other")
        await until(lambda: b"other" in world.got)


# substitution ----------------------------------------------------------------------------------------------------


async def _offer(world: World, kind: str) -> bytes:
    """What a directory might serve instead of the application's newest bundle."""
    members, stores, clock = world.members, world.hub._stores, world.clock
    genuine = stores.published[str(world.ops)]
    if kind == "another endpoint's":
        return stores.published[str(members["other"].name)].offer().encode()
    if kind == "forged":
        bundle = bytearray(genuine.bundle)
        bundle[-1] ^= 1
        return Offer(bytes(bundle)).encode()
    if kind == "another key":
        theirs = stores.published[str(members["other"].name)].offer().one_time
        return Offer(genuine.bundle, theirs).encode()
    claims = SignedBundle.decode(genuine.bundle).claims
    member = members["ops"]
    if kind == "expired":
        day = clock.now_ms() // 1_000
        claims = replace(claims, issued=day - 200, expires=day - 100, sequence=claims.sequence + 5)
        return Offer(sign_bundle(claims, member.credential, member.signer)).encode()
    stranger = Domain().member("application", "ops")
    stores.credentials[stranger.credential.x5t] = stranger.credential.chain
    claims = replace(claims, sequence=claims.sequence + 5)
    return Offer(sign_bundle(claims, stranger.credential, stranger.signer)).encode()


@pytest.mark.parametrize("kind", ["another endpoint's", "forged", "another key", "expired", "another domain's"])
async def test_a_substituted_bundle_is_refused(world: World, kind: str) -> None:
    async with world.device() as meter, world.application() as ops, world.device("other") as other:
        await ready(meter, ops, other)
        offer = await _offer(world, kind)
        meter.endpoint.carrier.claim_bundle = _once(offer, None)  # type: ignore[method-assign]
        with pytest.raises((NotTrusted, NotAuthentic)):
            await meter.send(world.ops, "readings", b"secret")
        assert not meter.endpoint.sessions.all() and not meter.endpoint.outbox


async def test_an_older_bundle_than_one_seen_is_refused(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        old = world.hub._stores.published[str(world.ops)]
        publication = ops.endpoint.prekeys.renew(world.clock.now_ms() // 1_000, os.urandom)
        await ops.endpoint.journal.commit()
        await ops.endpoint.carrier.publish_bundle(publication)
        await first_reading(world, meter)
        world.hub._stores.published[str(world.ops)] = _Published(old.bundle, old.sequence, old.one_time)
        held = meter.endpoint.sessions.sending_to(str(world.ops))
        assert held is not None
        with pytest.raises(Replayed):
            await meter.endpoint.links.instead_of(held)
    async with world.device() as meter:  # it remembers, over a restart
        held = meter.endpoint.sessions.sending_to(str(world.ops))
        assert held is not None
        with pytest.raises(Replayed):
            await meter.endpoint.links.instead_of(held)


async def test_a_start_that_names_what_the_directory_does_not_serve(fast: World) -> None:
    """Bundle and certificate are found by hash: what does not have the hash is nothing; the sender offers it again."""
    async with fast.device() as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        stores = fast.hub._stores
        mine = SignedBundle.decode(stores.published[str(fast.meter)].bundle).hash
        kept, stores.bundles[mine] = stores.bundles[mine], stores.published[str(fast.ops)].bundle
        await meter.send(fast.ops, "readings", b"first")
        await until(lambda: counters(ops)["refused_NotAuthentic"] >= 1)
        del stores.bundles[mine]
        await until(lambda: counters(ops)["refused_NotFound"] >= 1)
        stores.bundles[mine] = kept
        await until(lambda: fast.got == [b"first"])


async def test_nobody_begins_a_session_with_himself(world: World) -> None:
    async with world.device() as meter:
        await ready(meter)
        with pytest.raises(LocalMisuse):
            await meter.send(world.meter, "readings", b"me")


async def test_a_peer_without_a_bundle(world: World) -> None:
    async with world.device() as meter:
        with pytest.raises(SealwayError):
            await meter.send(world.member("application", "nobody").name, "readings", b"me")


class Gate:
    """Lets pass on the way up what it is told to (everything at first); on the way down all or nothing."""

    def __init__(self) -> None:
        self.passes: Callable[[Envelope], bool] = lambda _: True
        self.keeps_down = False

    def up(self, deposits: list) -> list:  # type: ignore[type-arg]
        return [deposit for deposit in deposits if self.passes(Envelope.decode(deposit.envelope))]

    def down(self, collected: list[Collected]) -> list[Collected]:
        return [] if self.keeps_down else collected


async def test_a_start_that_comes_late_is_no_proof_of_a_lost_state(fast: World) -> None:
    """It was sealed before its sender knew of the session in use; what was opened in that does not come again."""
    of_ops, of_meter = Gate(), Gate()
    async with fast.application(tamper=of_ops) as ops, fast.watching(ops):
        async with fast.device(tamper=of_meter) as meter:
            await ready(meter, ops)
            of_ops.passes = lambda envelope: envelope.start is None
            asked = await ops.ask(fast.meter, "valve", b"late", timeout=timedelta(days=2))
            await meter.send(fast.ops, "readings", b"1")
            await until(lambda: fast.got == [b"1"])
            await until(lambda: not meter.endpoint.outbox)
        async with fast.device(tamper=of_meter) as meter:
            of_meter.keeps_down = True
            of_ops.passes = lambda _: False
            await meter.send(fast.ops, "readings", b"2")
            await until(lambda: fast.got == [b"1", b"2"])
            of_ops.passes = lambda envelope: envelope.start is not None  # no receipt for what was opened
            of_meter.keeps_down = False
            await until(lambda: counters(meter)["sessions_accepted"] == 1)
            await until(lambda: counters(meter)["sessions_left"] >= 1)
            of_ops.passes = lambda _: True
            await asyncio.wait_for(ops.answer(asked), 30)
            await meter.send(fast.ops, "readings", b"3")
            await until(lambda: b"3" in fast.got)
            await until(lambda: not meter.endpoint.outbox)
    assert fast.got == [b"1", b"2", b"3"]
