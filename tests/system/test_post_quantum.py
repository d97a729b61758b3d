# SPDX-License-Identifier: Apache-2.0
"""ML-KEM between real endpoints: the policy of each end, and hops that would do without."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from sealway.errors import NotPostQuantum, Replayed, TransportFailed
from sealway.protocol.policy import DEFAULT_POLICY, Policy, PostQuantum
from sealway.transports.ports import Deposit
from sealway.vault.wrapping import OVERHEAD
from sealway.wire.bundle import Offer, SignedBundle
from sealway.wire.envelope import Envelope
from tests.system.test_starts import Recorder
from tests.system.world import World, counters, ready, until


def policy(choice: PostQuantum) -> Policy:
    return replace(DEFAULT_POLICY, post_quantum=choice)


REQUIRED, PREFERRED, OFF = map(policy, PostQuantum)


def started(recorder: Recorder) -> list[Envelope]:
    return [envelope for envelope in map(Envelope.decode, recorder.seen) if envelope.start is not None]


@pytest.mark.parametrize(("mine", "theirs"), [*itertools.product((REQUIRED, PREFERRED, OFF), repeat=2)])
async def test_post_quantum_policies_between_real_endpoints(fast: World, mine: Policy, theirs: Policy) -> None:
    recorder = Recorder()
    async with (
        fast.device(tamper=recorder, policy=mine) as meter,
        fast.application(policy=theirs) as ops,
        fast.watching(ops),
    ):
        await ready(meter, ops)
        offered = ops.endpoint.prekeys.newest
        assert offered is not None and (offered.proven.claims.ml_kem is not None) == (theirs is not OFF)
        if mine is REQUIRED and theirs is OFF:
            with pytest.raises(NotPostQuantum):
                await meter.send(fast.ops, "readings", b"first")
            return
        await meter.send(fast.ops, "readings", b"first")
        if mine is OFF and theirs is REQUIRED:
            await until(lambda: counters(ops)["refused_NotPostQuantum"] >= 1)
            assert fast.got == []
            return
        await until(lambda: fast.got == [b"first"])
        with_it = mine is not OFF and theirs is not OFF
        assert {e.start.ml_kem is not None for e in started(recorder) if e.start is not None} == {with_it}
        assert counters(meter)["begun_without_ml_kem"] == (theirs is OFF)


async def test_a_hop_that_strips_the_ciphertext_is_noticed_and_withholds_at_most(fast: World) -> None:
    class Stripping(Recorder):
        on = True

        def up(self, deposits: list[Deposit]) -> list[Deposit]:
            changed = []
            for deposit in deposits:
                envelope = Envelope.decode(deposit.envelope)
                if self.on and envelope.start is not None:
                    without = replace(envelope, start=replace(envelope.start, ml_kem=None))
                    deposit = replace(deposit, envelope=without.encode())
                changed.append(deposit)
            return changed

    stripping = Stripping()
    async with fast.device(tamper=stripping) as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"first")
        await until(lambda: counters(ops)["refused_NotAuthentic"] >= 1)
        assert fast.got == [] and not ops.endpoint.sessions.all()
        stripping.on = False
        fast.clock.turn(60)
        await until(lambda: fast.got == [b"first"])


async def test_a_hop_that_serves_the_bundle_from_before_the_ml_kem_key(fast: World) -> None:
    """Whoever has seen the newer one refuses it; the policy that changed made the endpoint publish one at once."""
    async with fast.application(policy=OFF) as ops:
        await ready(ops)
        older = await ops.endpoint.carrier.claim_bundle(str(fast.ops))
        assert SignedBundle.decode(Offer.decode(older).bundle).claims.ml_kem is None
    async with fast.application(policy=PREFERRED) as ops, fast.device() as meter, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"first")
        await until(lambda: fast.got == [b"first"])

        async def serve_older(name: str) -> bytes:
            return older

        meter.endpoint.carrier.claim_bundle = serve_older  # type: ignore[method-assign]
        with pytest.raises(Replayed):
            await meter.endpoint.links.instead_of(meter.endpoint.sessions.all()[0])


async def test_the_private_half_is_kept_over_a_restart_and_goes_with_its_bundle(fast: World) -> None:
    async with fast.device() as meter, fast.application() as ops:
        await ready(meter, ops)
        offer = await ops.endpoint.carrier.claim_bundle(str(fast.ops))
    async with fast.application() as ops, fast.device() as meter, fast.watching(ops):
        await ready(meter, ops)

        async def serve(name: str) -> bytes:
            return offer

        meter.endpoint.carrier.claim_bundle = serve  # type: ignore[method-assign]
        await meter.send(fast.ops, "readings", b"first")
        await until(lambda: fast.got == [b"first"])
        store = ops.endpoint.store
        (stored,) = store.read_now(lambda c: c.execute("SELECT length(signed_prekey) FROM prekeys").fetchall())
        assert stored == (OVERHEAD + 32 + 64,)
        fast.clock.turn(31 * 86_400)
        left = "SELECT count(*), max(issued) FROM prekeys"
        now_s = fast.clock.now_ms() // 1_000 - 60
        await until(lambda: (row := store.read_now(lambda c: c.execute(left).fetchone()))[0] == 1 and row[1] > now_s)


async def test_an_application_that_requires_it_says_why_it_cannot_begin(fast: World) -> None:
    async with fast.device(policy=OFF) as meter, fast.application(policy=REQUIRED) as ops:
        await ready(meter, ops)
        with pytest.raises(NotPostQuantum, match="publishes no ML-KEM key") as refusal:
            await ops.request(fast.meter, "valve", b"x", timeout=timedelta(seconds=5))
        assert not isinstance(refusal.value, TransportFailed)
        assert refusal.value.hint is not None
