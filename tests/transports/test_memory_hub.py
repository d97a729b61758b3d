# SPDX-License-Identifier: Apache-2.0
"""The hub in memory behaves as the real one where the ends can tell; its faults are what they say."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time

import pytest

from sealway.errors import HopRefused, NotFound, Replayed, TransportFailed
from sealway.transports.memory import Faults, MemoryHub
from sealway.transports.ports import Collected, Deposit
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.bundle import BundleClaims, Offer, Publication, SignedBundle
from sealway.wire.consent import ConsentClaims, SignedConsent
from sealway.wire.cose import TYP_BUNDLE, TYP_CONSENT, Sign1, X5t
from sealway.wire.envelope import Envelope
from sealway.wire.merkle import merkle_root, verify_path

DEVICE = Name("building.example", "device", "meter-1")
CHANCE = random.Random(3)


def envelope() -> bytes:
    return Envelope(b"k", CHANCE.randrange(1 << 32), CHANCE.randbytes(40)).encode()


def publication(sequence: int, keys: int) -> Publication:
    """A bundle with a signature that no one checks here."""
    one_time = tuple(CHANCE.randbytes(32) for _ in range(keys))
    now = int(time.time())
    claims = BundleClaims(
        bundle_id=CHANCE.randbytes(4),
        name=DEVICE,
        mailbox=MailboxAddress("https://hub.example", DEVICE.mailbox),
        sequence=sequence,
        suites=(1,),
        agreement_key=CHANCE.randbytes(32),
        signed_prekey=CHANCE.randbytes(32),
        issued=now,
        expires=now + 60,
        one_time_root=merkle_root(one_time) if keys else None,
        one_time_count=keys or None,
    )
    return Publication(Sign1(TYP_BUNDLE, X5t(bytes(32)), claims.encode(), bytes(64)).encode(), one_time)


def consent() -> bytes:
    now = int(time.time())
    claims = ConsentClaims(DEVICE, Name("building.example", "gateway", "g"), DEVICE.mailbox, now, now + 60)
    return SignedConsent(Sign1(TYP_CONSENT, X5t(bytes(32)), claims.encode(), bytes(64)), claims).encode()


async def test_mailboxes_hold_each_envelope_once_until_it_is_acknowledged() -> None:
    hub = MemoryHub()
    carrier = hub.carrier()
    first, second = envelope(), envelope()
    verdicts = await carrier.deposit([Deposit(DEVICE.mailbox, e) for e in (first, second, first)])
    assert [verdict.status for verdict in verdicts] == [201, 201, 201]
    items = await carrier.collect([DEVICE.mailbox], wait=0)
    assert [item.envelope for item in items] == [first, second]
    assert items[0].sequence < items[1].sequence
    await carrier.acknowledge(items[:1])
    assert await carrier.collect([DEVICE.mailbox], wait=0) == items[1:]
    assert (hub.held, hub.deposited, hub.delivered) == (1, 2, 1)
    await carrier.close()


async def test_bad_deposits_get_their_verdicts() -> None:
    carrier = MemoryHub().carrier()
    good = envelope()
    deposits = [Deposit("x", good), Deposit(DEVICE.mailbox, b"x"), Deposit(DEVICE.mailbox, good, 0)]
    assert [verdict.status for verdict in await carrier.deposit(deposits)] == [400, 400, 508]


async def test_collect_waits_and_ends_with_the_first_arrival() -> None:
    hub = MemoryHub()
    carrier = hub.carrier()
    waiting = asyncio.create_task(carrier.collect([DEVICE.mailbox], wait=10))
    await asyncio.sleep(0.05)
    hub.take(Deposit("b" * 16, envelope()))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    hub.take(Deposit(DEVICE.mailbox, envelope()))
    assert len(await asyncio.wait_for(waiting, 1)) == 1
    assert await carrier.collect(["b" * 16], wait=0, most=1)
    assert await carrier.collect(["c" * 16], wait=0.05) == []


async def test_one_time_keys_are_handed_out_once() -> None:
    hub = MemoryHub()
    carrier = hub.carrier()
    published = publication(1, 3)
    with pytest.raises(NotFound):
        await carrier.claim_bundle(str(DEVICE))
    await carrier.publish_bundle(published.encode())
    await carrier.publish_bundle(published.encode())  # again: no key comes back
    offers = [Offer.decode(await carrier.claim_bundle(str(DEVICE))) for _ in range(4)]
    assert [offer.one_time and offer.one_time.index for offer in offers] == [0, 1, 2, None]
    claims = SignedBundle.decode(published.bundle).claims
    for offer in offers[:3]:
        assert offer.one_time is not None
        assert claims.one_time_root is not None
        key = offer.one_time
        assert verify_path(claims.one_time_root, 3, key.index, key.key, key.path) == key.key


async def test_bundles_are_found_by_name_and_hash_and_never_go_back() -> None:
    carrier = MemoryHub().carrier()
    first, second = publication(1, 0), publication(2, 1)
    for published in (first, second):
        await carrier.publish_bundle(published.encode())
    assert await carrier.newest_bundle(str(DEVICE)) == second.bundle
    assert await carrier.bundle_by_hash(hashlib.sha256(first.bundle).digest()) == first.bundle
    with pytest.raises(Replayed):
        await carrier.publish_bundle(first.encode())
    with pytest.raises(NotFound):
        await carrier.bundle_by_hash(bytes(32))
    with pytest.raises(NotFound):
        await carrier.newest_bundle("sealway://building.example/device/other")


async def test_credentials_root_and_consents() -> None:
    hub = MemoryHub()
    carrier = hub.carrier(needs_consent=True)
    with pytest.raises(NotFound):
        await carrier.root_document()
    hub.root = b"root"
    assert await carrier.root_document() == b"root"
    await carrier.publish_credential([b"leaf", b"issuer"])
    assert await carrier.credential(hashlib.sha256(b"leaf").digest()) == (b"leaf", b"issuer")
    with pytest.raises(NotFound):
        await carrier.credential(bytes(32))
    with pytest.raises(HopRefused) as refused:
        await carrier.collect([DEVICE.mailbox], wait=0)
    assert refused.value.status == 403
    await carrier.publish_consent(consent())
    assert await carrier.collect([DEVICE.mailbox], wait=0) == []


async def test_a_hub_that_is_away_and_one_that_is_wiped() -> None:
    hub = MemoryHub()
    carrier = hub.carrier()
    await carrier.deposit([Deposit(DEVICE.mailbox, envelope())])
    (before,) = await carrier.collect([DEVICE.mailbox], wait=0)
    hub.away = True
    with pytest.raises(TransportFailed):
        await carrier.deposit([Deposit(DEVICE.mailbox, envelope())])
    hub.away = False
    hub.wipe()
    assert hub.held == 0
    await carrier.deposit([Deposit(DEVICE.mailbox, envelope())])
    (after,) = await carrier.collect([DEVICE.mailbox], wait=0)
    assert after.sequence > before.sequence  # an old acknowledgement never hits a new envelope


async def test_faults_do_what_they_say() -> None:
    sent = [Deposit(DEVICE.mailbox, envelope()) for _ in range(200)]
    arrived = Faults(random.Random(1), drop=0.5).up(list(sent))
    assert 60 < len(arrived) < 140
    assert len(Faults(random.Random(1), duplicate=1.0).up(list(sent))) == 400
    corrupted = Faults(random.Random(1), corrupt=1.0).up(list(sent))
    assert all(bad.envelope != good.envelope for bad, good in zip(corrupted, sent, strict=True))
    late = Faults(random.Random(1), reorder=0.5)
    once = late.up(list(sent))
    late.reorder = 0.0
    assert sorted(once + late.up([]), key=sent.index) == sent
    assert once + late.up([]) != sent
    items = [Collected(DEVICE.mailbox, 1, envelope())]
    assert late.down(items) == items


async def test_a_lying_hop_says_that_it_took_what_it_dropped() -> None:
    hub = MemoryHub()
    carrier = hub.carrier(Faults(random.Random(1), drop=1.0))
    verdicts = await carrier.deposit([Deposit(DEVICE.mailbox, envelope())])
    assert verdicts[0].accepted
    assert hub.held == 0
