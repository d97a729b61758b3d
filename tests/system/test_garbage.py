# SPDX-License-Identifier: Apache-2.0
"""What anybody can put into a mailbox: counted, given back to oblivion, and of no consequence for anyone else."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from sealway.crypto.ports import Signer
from sealway.sdk import Device, Member
from sealway.wire.envelope import Envelope
from sealway.wire.header import Claims, Opener, StartHeader
from tests.system.test_starts import Recorder, put
from tests.system.world import World, counters, ready, until


def _garbage(chance: random.Random, samples: list[bytes], kids: list[bytes]) -> bytes:
    """Something between noise and an almost genuine envelope."""
    sample, noise = chance.choice(samples), chance.randbytes
    match chance.randrange(4):
        case 0:
            return noise(chance.randrange(1, 300))
        case 1:
            changed = bytearray(sample)
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            return bytes(changed)
        case 2:
            return sample[: chance.randrange(1, 40)]
    return _forged(chance, chance.choice([*kids, noise(1), noise(4), noise(8)])).encode()


def _forged(chance: random.Random, kid: bytes) -> Envelope:
    noise = chance.randbytes
    ciphertext = noise(chance.choice([9, 40, 40, 40, 65_600, 200_000]))
    number = chance.choice([0, 1, 5, 4_000, 70_000, 2**32 - 1])
    match chance.randrange(4):
        case 0:
            return Envelope(kid, number, ciphertext)
        case 1:
            return Envelope(kid, number, ciphertext, opener=Opener(number, noise(32), number, None))
        case 2:
            opener = Opener(0, None, None, (chance.randrange(1, 2_000), noise(16)))
            return Envelope(kid, number, ciphertext, opener=opener, claims=Claims(topic="x"))
    start = StartHeader(noise(32), noise(32), noise(1), noise(32), chance.choice([None, 0, 63]))
    return Envelope(kid, number, ciphertext, start=start)


async def test_a_thousand_envelopes_of_garbage(world: World) -> None:
    recorder = Recorder()
    async with world.device(tamper=recorder) as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"before")
        await ops.request(world.meter, "valve", b"x")
        await until(lambda: world.got == [b"before"])
        newest = ops.endpoint.prekeys.newest
        assert newest is not None
        kids = [held.session.kid_in for held in ops.endpoint.sessions.all()] + [newest.proven.claims.bundle_id]
        chance = random.Random(5)
        samples = list(recorder.seen)
        for n in range(1_000):
            put(world, "ops", _garbage(chance, samples, kids))
            if n % 100 == 0:
                await meter.send(world.ops, "readings", b"%d" % n)
        await until(lambda: len(world.got) == 11, "readings arrive among the garbage")
        await until(lambda: world.hub.held == 0, "nothing is left in any mailbox")
        await ops.request(world.meter, "valve", b"y")
        refused = sum(count for name, count in counters(ops).items() if name.startswith("refused_"))
        assert refused >= 900
        assert len(ops.endpoint.sessions.all()) == len(meter.endpoint.sessions.all())
    assert set(world.identities.values()) == {1}


@pytest.mark.parametrize("head", ["unfetchable starts", "numbers far ahead", "failing openers"])
async def test_garbage_at_the_head_of_a_mailbox_does_not_block_it(world: World, head: str) -> None:
    """A hundred envelopes that cannot be opened now, before a genuine one: as many as one call collects."""
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"before")
        await until(lambda: world.got == [b"before"])
        newest = ops.endpoint.prekeys.newest
        assert newest is not None
        kid = ops.endpoint.sessions.all()[0].session.kid_in
        for _ in range(150):
            start = StartHeader(os.urandom(32), os.urandom(32), b"k", os.urandom(32), None)
            put(
                world,
                "ops",
                {
                    "unfetchable starts": Envelope(newest.proven.claims.bundle_id, 0, os.urandom(40), start=start),
                    "numbers far ahead": Envelope(kid, 2**32 - 1, os.urandom(40)),
                    "failing openers": Envelope(
                        kid, 60_000, os.urandom(40), opener=Opener(60_000, None, None, (900, os.urandom(16)))
                    ),
                }[head].encode(),
            )
        await meter.send(world.ops, "readings", b"after")
        await until(lambda: world.got == [b"before", b"after"], seconds=20)
        await until(lambda: world.hub.held == 0)


async def test_a_certified_stranger_s_start_with_a_wrong_signature(world: World) -> None:
    """Its bundle is genuine, its signature is not: refused, and the one-time key is still there."""
    async with world.device("stranger") as stranger, world.application() as ops:
        await ready(stranger, ops)
        genuine = stranger.endpoint.member.signer
        stranger.endpoint.links._member = _with_signer(stranger, genuine)
        await stranger.send(world.ops, "readings", b"x")
        await until(lambda: counters(ops)["refused_NotAuthentic"] >= 1)
        newest = ops.endpoint.prekeys.newest
        assert newest is not None and len(newest.one_time) == 64
        assert not ops.endpoint.sessions.all()


def _with_signer(device: Device, genuine: Signer) -> Member:
    class Wrong:
        public = genuine.public

        def sign(self, message: bytes) -> bytes:
            return bytes(genuine.sign(message + b"x"))

    return replace(device.endpoint.member, signer=Wrong())


async def test_failed_opens_are_counted_durably(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"x")
        await until(lambda: world.got == [b"x"])
        kid = ops.endpoint.sessions.all()[0].session.kid_in
        for _ in range(20):
            put(world, "ops", Envelope(kid, 1, os.urandom(40)).encode())
        await until(lambda: world.hub.held == 0)
    async with world.application() as ops:
        assert ops.endpoint.sessions.all()[0].session.failed_opens >= 20
