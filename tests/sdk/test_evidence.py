# SPDX-License-Identifier: Apache-2.0
"""Each thing that an endpoint refuses is told with the digest of its very bytes and the typed error."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from sealway.errors import NotFound, SealwayError, TransportFailed
from sealway.protocol.policy import Policy
from sealway.sdk.evidence import Evidence, digest_of
from sealway.transports.ports import Collected, Deposit
from sealway.wire.bundle import Offer
from sealway.wire.carriage import CertChain
from tests.system.world import World, counters, ready, until


class Told:
    """A listener that writes down."""

    def __init__(self, role: Any) -> None:
        self.lines: Counter[tuple[str, str]] = Counter()
        role.endpoint.on_refused = self

    def __call__(self, digest: str, error: SealwayError) -> None:
        self.lines[digest, type(error).__name__] += 1

    def knows(self, digest: str) -> bool:
        return any(known == digest for known, _ in self.lines)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def test_a_digest_is_the_first_16_hex_digits_of_sha_256() -> None:
    assert digest_of(b"abc") == "ba7816bf8f01cfea"


async def test_each_refused_envelope_is_told_once_with_its_digest(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        told = Told(ops)
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"x")
        await until(lambda: [held.session.start for held in meter.endpoint.sessions.all()] == [None])
        await meter.send(world.ops, "readings", b"y")  # nothing makes a receipt due: it is kept
        await until(lambda: len(world.got) == 2)
        mailbox = ops.endpoint.member.mailbox.mailbox
        query = "SELECT envelope FROM sent WHERE envelope IS NOT NULL"
        ((envelope,),) = await meter.endpoint.store.read(lambda c: c.execute(query).fetchall())
        changed = envelope[:-1] + bytes([envelope[-1] ^ 1])
        for content in (envelope, changed, b"\xa0", bytes.fromhex("d08349a2010a0441ff064100a04800000000000000ff")):
            world.hub._stores.mailboxes.setdefault(mailbox, {})[world.hub._stores.next_sequence] = content
            world.hub._stores.next_sequence += 1
            world.hub._arrival.set()
            await until(partial(told.knows, sha(content)), content.hex())
        assert told.lines[sha(envelope), "Replayed"] >= 1
        assert {name for d, name in told.lines if d == sha(changed)} <= {"NotAuthentic", "Replayed", "Malformed"}
        assert told.lines[sha(b"\xa0"), "Malformed"] == 1
        names = ("Replayed", "NotAuthentic", "Malformed")  # the counters become durable with the next group
        await until(lambda: sum(counters(ops)[f"refused_{name}"] for name in names) == told.lines.total())


async def test_answers_of_the_directory_that_were_not_asked_for_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.device() as meter, world.application() as ops:
        told = Told(meter)
        await ready(meter, ops)
        carrier = meter.endpoint.carrier
        own = await carrier.newest_bundle(str(world.meter))
        other = await carrier.credential(meter.endpoint.member.credential.x5t)
        swapped = Offer(own).encode()

        async def claim(name: str) -> bytes:
            return swapped

        async def credential(x5t: bytes) -> tuple[bytes, ...]:
            return other

        with monkeypatch.context() as patch:
            patch.setattr(carrier, "claim_bundle", claim)
            with pytest.raises(SealwayError):
                await meter.send(world.ops, "readings", b"x")
        assert told.lines[sha(swapped), "NotTrusted"] == 1
        with monkeypatch.context() as patch:
            patch.setattr(carrier, "credential", credential)
            with pytest.raises(SealwayError):
                await meter.send(world.ops, "readings", b"x")
        assert told.lines[sha(CertChain(other).encode()), "NotAuthentic"] == 1
        await meter.send(world.ops, "readings", b"x")


async def test_an_old_or_foreign_bundle_in_ones_own_name_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.device() as meter, world.application() as ops:
        told = Told(ops)
        await ready(meter, ops)
        carrier, publisher = ops.endpoint.carrier, ops.endpoint.publisher
        old = await carrier.newest_bundle(str(world.ops))
        foreign = await carrier.newest_bundle(str(world.meter))
        for shown, name in ((foreign, "NotTrusted"), (old, "Replayed")):

            async def newest(asked: str, shown: bytes = shown) -> bytes:
                return shown

            with monkeypatch.context() as patch:
                patch.setattr(carrier, "newest_bundle", newest)
                publisher.check_soon()
                await publisher._look(world.clock.now_ms() // 1_000)
            assert told.lines[sha(shown), name] >= 1, name


@pytest.mark.parametrize(("failure", "told_of"), [(TransportFailed("away"), 0), (NotFound("gone"), 1)])
async def test_an_answer_that_names_what_nobody_has_is_told_and_one_that_could_not_be_judged_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch, failure: SealwayError, told_of: int
) -> None:
    async with world.device() as meter, world.application() as ops:
        told = Told(meter)
        await ready(meter, ops)

        async def fail(x5t: bytes) -> tuple[bytes, ...]:
            raise failure

        monkeypatch.setattr(meter.endpoint.carrier, "credential", fail)
        with pytest.raises(type(failure)):
            await meter.send(world.ops, "readings", b"x", within=timedelta(0))
        assert {name for _, name in told.lines} == ({"NotFound"} if told_of else set())


class Holds:
    """A hop that keeps what goes to one mailbox, until told otherwise."""

    def __init__(self, mailbox: str) -> None:
        self.mailbox = mailbox
        self.holding = False
        self.held: list[Deposit] = []

    def up(self, deposits: list[Deposit]) -> list[Deposit]:
        if not self.holding:
            released, self.held = self.held, []
            return [*released, *deposits]
        self.held += [d for d in deposits if d.mailbox == self.mailbox]
        return [d for d in deposits if d.mailbox != self.mailbox]

    def down(self, collected: list[Collected]) -> list[Collected]:
        return collected


async def test_a_command_that_comes_too_late_is_told_with_the_envelope_that_brought_it(world: World) -> None:
    async with world.device() as meter:
        holds = Holds(meter.endpoint.member.mailbox.mailbox)
        async with world.application(tamper=holds) as ops, world.watching(ops):
            told = Told(meter)
            await ready(meter, ops)
            await meter.send(world.ops, "readings", b"x")
            assert (await ops.request(world.meter, "valve", b"one")).payload
            holds.holding = True
            asked = await ops.ask(world.meter, "valve", b"two", timeout=timedelta(days=1))
            await until(lambda: len(holds.held) >= 1)
            late = holds.held[0].envelope
            world.clock.turn(3_600)
            holds.holding = False
            await ops.answer(asked)
            await until(lambda: told.lines[sha(late), "Stale"] == 1)
        assert world.executed[b"two"] == 1


def test_requests_are_remembered_in_bounds_and_only_if_anybody_listens() -> None:
    silent, told = Evidence(), Evidence()
    silent.opened(1, b"x")
    assert not silent._requests
    lines: list[str] = []
    told.listener = lambda digest, error: lines.append(digest)
    for row in range(5_000):
        told.opened(row, b"x")
    assert len(told._requests) == 4_096
    told.request_refused(4_999, SealwayError("x"))
    told.request_refused(0, SealwayError("forgotten"))
    assert lines == [sha(b"x")]


def test_the_pause_before_an_envelope_is_offered_again_is_a_matter_of_policy() -> None:
    from sealway.sdk.outbox import Outbox, Outgoing

    box = Outbox(Policy(reoffer_after_ms=100, longest_reoffer_ms=300))
    box.add_all([((b"s", 0), Outgoing("a" * 16, b"e", kept=True))])
    pauses = []
    for _ in range(4):
        box.accepted((b"s", 0), 0)
        pauses.append(box.next_due_ms())
    assert pauses == [100, 200, 300, 300]
