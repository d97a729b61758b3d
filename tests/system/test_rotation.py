# SPDX-License-Identifier: Apache-2.0
"""Keys that are replaced on schedule, with overlap, and sessions that are begun anew: spec/session.md, "Prekeys" and
"Renewal"."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sealway.errors import PrekeyGone
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.rotation import Rotation
from sealway.protocol.session import Session
from sealway.sdk.role import Role
from sealway.transports.ports import Deposit
from sealway.wire.envelope import Envelope
from tests.system.test_starts import Recorder
from tests.system.world import World, counters, ready, until

DAY_S = 86_400
QUICK = replace(DEFAULT_POLICY, rotation=Rotation(agreement_after_ms=7 * DAY_S * 1_000))
"""A new agreement key with each new bundle."""


class Holding(Recorder):
    """Keeps envelopes back, as a hop may, until it is told to let them through."""

    on = False

    def up(self, deposits: list[Deposit]) -> list[Deposit]:
        if self.on:
            self.seen += [deposit.envelope for deposit in deposits]
            return []
        return deposits


def long_lived(world: World) -> None:
    world.domain.days = 300
    world.member("device", "meter")
    world.member("application", "ops")


async def renewed(role: Role, times: int = 1) -> None:
    """Wait until another bundle is published."""
    await until(lambda: counters(role)["bundles_published"] > times)


def _sessions(*roles: Role) -> list[Session]:
    return [held.session for role in roles for held in role.endpoint.sessions.all()]


def _sealed(*roles: Role) -> list[int]:
    return [session.send.next_number for session in _sessions(*roles)]


async def grown_old(world: World, *roles: Role) -> None:
    """Let a month pass, in whose first days the last receipts go: nothing more is sealed after that."""
    world.clock.turn(2 * DAY_S)
    before: list[int] = []
    while (now := _sealed(*roles)) != before:
        before = now
        await until(lambda: all(session.receipt_at() is None for session in _sessions(*roles)))
        await asyncio.sleep(0.3)  # a minute of theirs: what was on its way has come, and asks for nothing more
    world.clock.turn(29 * DAY_S)
    for role in roles:
        await renewed(role)


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, QUICK], ids=["the same agreement key", "another agreement key"])
async def test_a_start_to_the_previous_bundle_opens_during_the_overlap(fast: World, policy: object) -> None:
    """Also if signed prekey, ML-KEM key and agreement key have been replaced while it was on its way."""
    long_lived(fast)
    holding = Holding()
    async with (
        fast.device(tamper=holding) as meter,
        fast.application(policy=policy) as ops,
        fast.watching(ops),
    ):
        await ready(meter, ops)
        first = fast.members["ops"].agreer.public
        holding.on = True
        await meter.send(fast.ops, "readings", b"in flight")
        await until(lambda: bool(holding.seen))
        fast.clock.turn(8 * DAY_S)
        await renewed(ops)
        assert (fast.members["ops"].agreer.public == first) == (policy is DEFAULT_POLICY)
        holding.on = False
        await until(lambda: b"in flight" in fast.got)
        (held, *_) = ops.endpoint.sessions.all()
        start = Envelope.decode(holding.seen[0])
        newest = ops.endpoint.prekeys.newest
        assert newest is not None and start.kid != newest.proven.claims.bundle_id
        assert held.session.peer == str(fast.meter)
        fast.clock.turn(31 * DAY_S)
        agreements = fast.members["ops"].agreements
        await until(lambda: (agreements.find(first) is None) == (policy is QUICK))
    assert fast.got.count(b"in flight") == 1


async def test_after_the_overlap_its_prekeys_are_gone(fast: World) -> None:
    long_lived(fast)
    holding = Holding()
    async with fast.device(tamper=holding) as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        holding.on = True
        await meter.send(fast.ops, "readings", b"too late")
        await until(lambda: bool(holding.seen))
        start = Envelope.decode(holding.seen[0])
        assert start.start is not None
        fast.clock.turn(31 * DAY_S)
        await renewed(ops)
        await until(lambda: not ops.endpoint.prekeys.holds(start.kid))
        with pytest.raises(PrekeyGone):
            await ops.endpoint.links.open_start(start, start.start)
        holding.on = False
        fast.clock.turn(3_700)
        await until(lambda: fast.got == [b"too late"])  # begun anew over the present bundle
    assert set(fast.identities.values()) == {1}


async def test_a_bundle_whose_agreement_key_is_not_in_the_keystore_is_gone(fast: World) -> None:
    """As in a state that was restored beside a newer keystore: a refusal, and a new bundle."""
    long_lived(fast)
    async with fast.device() as meter, fast.application() as ops:
        await ready(meter, ops)
        own = ops.endpoint.prekeys.newest
        assert own is not None
        fast.members["ops"].agreements.replace()  # and a crash before a bundle said so
        fast.members["ops"].agreements.keep([])
        with pytest.raises(PrekeyGone, match="agreement key"):
            ops.endpoint.links._own_keys(own)
    async with fast.application() as ops:
        await until(lambda: counters(ops)["bundles_published"] == 2)
        newest = ops.endpoint.prekeys.newest
        assert newest is not None and newest.proven.claims.agreement_key == fast.members["ops"].agreer.public


async def test_a_session_is_renewed_by_age_at_the_next_send_and_nothing_is_handled_twice(fast: World) -> None:
    long_lived(fast)
    holding = Holding()
    async with fast.device(tamper=holding) as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"young")
        await until(lambda: not meter.endpoint.outbox and fast.got == [b"young"])
        (old,) = meter.endpoint.sessions.all()
        await grown_old(fast, meter, ops)
        assert meter.endpoint.sessions.sending_to(str(fast.ops)) is old  # nothing was sent in it: it stays
        holding.on = True
        await meter.send(fast.ops, "readings", b"owed by the old one")
        await until(lambda: counters(meter)["sessions_renewed"] == 1)
        new = meter.endpoint.sessions.sending_to(str(fast.ops))
        assert new is not None and new is not old and old.session.stopped is None
        await meter.send(fast.ops, "readings", b"in the new one")
        holding.on = False
        fast.clock.turn(60)
        await until(lambda: len(fast.got) == 3)
        there = ops.endpoint.sessions.sending_to(str(fast.meter))
        assert there is not None and there.session.hash == new.session.hash
        await until(lambda: not meter.endpoint.outbox)
    assert set(fast.identities.values()) == {1} and len(fast.identities) == 3


async def test_what_a_renewed_session_still_owes_moves_with_its_first_identity(fast: World) -> None:
    """Receipts are lost, so the message moves when the old session is given up: it is recognised."""
    long_lived(fast)
    holding = Holding()
    async with fast.device() as meter, fast.application(tamper=holding) as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"young")
        await until(lambda: not meter.endpoint.outbox and fast.got == [b"young"])
        (old,) = meter.endpoint.sessions.all()
        await grown_old(fast, meter, ops)
        holding.on = True
        await meter.send(fast.ops, "readings", b"opened, and never acknowledged")
        await until(lambda: len(fast.got) == 2 and counters(meter)["sessions_renewed"] == 1)
        assert old.owed == 1
        meter.endpoint.sessions.leave(old)
        await until(lambda: counters(ops)["opened_again"] >= 1)
    assert set(fast.identities.values()) == {1} and len(fast.identities) == 2


async def test_a_session_is_renewed_by_count(fast: World) -> None:
    long_lived(fast)
    often = replace(DEFAULT_POLICY, rotation=Rotation(session_after_messages=10))
    async with fast.device(policy=often) as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        for n in range(12):
            await meter.send(fast.ops, "readings", b"%d" % n)
        await until(lambda: len(fast.got) == 12 and not meter.endpoint.outbox)
        assert counters(meter)["sessions_renewed"] == 0  # not within a day of its beginning
        fast.clock.turn(DAY_S + 60)
        await meter.send(fast.ops, "readings", b"12")
        await until(lambda: counters(meter)["sessions_renewed"] == 1)
        await until(lambda: len(fast.got) == 13)
    assert set(fast.identities.values()) == {1}


async def test_without_a_bundle_an_old_session_goes_on(fast: World) -> None:
    long_lived(fast)
    async with fast.device() as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"young")
        await until(lambda: not meter.endpoint.outbox and fast.got == [b"young"])

        async def nothing(name: str) -> bytes:
            raise PrekeyGone("for the test")

        meter.endpoint.carrier.claim_bundle = nothing  # type: ignore[method-assign]
        fast.clock.turn(31 * DAY_S)
        for n in range(3):
            await meter.send(fast.ops, "readings", b"old %d" % n)
        await until(lambda: len(fast.got) == 4)
        assert counters(meter)["sessions_renewed"] == 0
    assert set(fast.identities.values()) == {1}
