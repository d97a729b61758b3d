# SPDX-License-Identifier: Apache-2.0
"""A hub in memory and carriers to it, so that the whole system runs without sockets.

It keeps the semantics of the real hub (mailboxes without doubles, sequences, acknowledgement, bundles, one-time keys
handed out once) and verifies nothing: the ends must not rely on it anyway. A test may stand between with `Tamper`, take
the hub away, or wipe it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sealway.errors import HopRefused, NotFound, Replayed, SealwayError, TransportFailed, codes_of
from sealway.transports.ports import Collected, Deposit, Verdict
from sealway.wire.address import check_mailbox
from sealway.wire.bundle import Offer, OneTimeKey, Publication, SignedBundle
from sealway.wire.consent import SignedConsent
from sealway.wire.envelope import Envelope
from sealway.wire.merkle import merkle_path


class Tamper(Protocol):
    """What stands between an endpoint and the hub; it may drop, repeat, reorder and change."""

    def up(self, deposits: list[Deposit]) -> list[Deposit]:
        """What reaches the hub of these deposits (their sender is told that all were accepted)."""

    def down(self, collected: list[Collected]) -> list[Collected]:
        """What reaches the endpoint of what waits for it."""


class Honest:
    """Changes nothing."""

    def up(self, deposits: list[Deposit]) -> list[Deposit]:
        """All of them."""
        return deposits

    def down(self, collected: list[Collected]) -> list[Collected]:
        """All of it."""
        return collected


@dataclass(slots=True)
class Faults:
    """Does each kind of harm with a probability, on the way up; what is delayed comes with a later call.

    Fields: a seeded ``random``; the probabilities ``drop``, ``duplicate``, ``reorder`` (delay), ``corrupt`` (one bit).
    """

    random: random.Random
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    held_back: list[Deposit] = field(default_factory=list)

    def up(self, deposits: list[Deposit]) -> list[Deposit]:
        """These deposits and delayed earlier ones, less those dropped or delayed now."""
        arriving, self.held_back = self.held_back, []
        for deposit in deposits:
            arriving += self._fate(deposit)
        return arriving

    def down(self, collected: list[Collected]) -> list[Collected]:
        """All of it."""
        return collected

    def _fate(self, deposit: Deposit) -> list[Deposit]:
        if self.random.random() < self.drop:
            return []
        if self.random.random() < self.corrupt:
            deposit = self._corrupted(deposit)
        copies = [deposit, deposit] if self.random.random() < self.duplicate else [deposit]
        if self.random.random() < self.reorder:
            self.held_back += copies
            return []
        return copies

    def _corrupted(self, deposit: Deposit) -> Deposit:
        changed = bytearray(deposit.envelope)
        changed[self.random.randrange(len(changed))] ^= 1 << self.random.randrange(8)
        return Deposit(deposit.mailbox, bytes(changed), deposit.hops)


@dataclass(slots=True)
class _Published:
    bundle: bytes
    sequence: int
    one_time: tuple[bytes, ...]
    next_index: int = 0

    def offer(self) -> Offer:
        """The bundle and its next one-time key, if any is left."""
        index = self.next_index
        if index >= len(self.one_time):
            return Offer(self.bundle)
        self.next_index += 1
        key = OneTimeKey(index, self.one_time[index], merkle_path(self.one_time, index))
        return Offer(self.bundle, key)


@dataclass(slots=True)
class _Stores:
    """All that a wipe takes away."""

    mailboxes: dict[str, dict[int, bytes]] = field(default_factory=dict)
    next_sequence: int = 1
    published: dict[str, _Published] = field(default_factory=dict)
    bundles: dict[bytes, bytes] = field(default_factory=dict)
    credentials: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    consents: dict[str, bytes] = field(default_factory=dict)


class MemoryHub:
    """The hub's stores. ``away`` makes every call fail as if the hub could not be reached.

    ``root`` is the owner root document it hands out. ``deposited`` and ``delivered`` count what it took and what was
    acknowledged, over wipes.
    """

    def __init__(self, root: bytes = b"") -> None:
        self.away = False
        self.root = root
        self.deposited = 0
        self.delivered = 0
        self._stores = _Stores()
        self._arrival = asyncio.Event()

    def carrier(self, tamper: Tamper | None = None, *, needs_consent: bool = False) -> MemoryCarrier:
        """A carrier to this hub; ``needs_consent`` makes it a gateway's, that collects for consented mailboxes only."""
        return MemoryCarrier(self, tamper or Honest(), needs_consent=needs_consent)

    def wipe(self) -> None:
        """Lose everything, as a hub whose disk is gone; configuration (the root document) stays."""
        self._stores = _Stores(next_sequence=self._stores.next_sequence)

    def waiting(self, mailbox: str) -> list[bytes]:
        """The envelopes in a mailbox, in the order they came."""
        return list(self._stores.mailboxes.get(mailbox, {}).values())

    @property
    def held(self) -> int:
        """Envelopes in all mailboxes."""
        return sum(len(mailbox) for mailbox in self._stores.mailboxes.values())

    def take(self, deposit: Deposit) -> Verdict:
        """Hold an envelope; the same bytes in the same mailbox once."""
        try:
            check_mailbox(deposit.mailbox)
            Envelope.decode(deposit.envelope)
        except SealwayError as error:
            return Verdict(codes_of(error)[1], error.message)
        if deposit.hops < 1:
            return Verdict(508, "hop limit reached")
        mailbox = self._stores.mailboxes.setdefault(deposit.mailbox, {})
        if deposit.envelope not in mailbox.values():
            mailbox[self._stores.next_sequence] = deposit.envelope
            self._stores.next_sequence += 1
            self.deposited += 1
            self._arrival.set()
        return Verdict(201)

    def look(self, mailboxes: Sequence[str], most: int) -> list[Collected]:
        """What waits in these mailboxes, the oldest first."""
        found = [Collected(m, s, e) for m in mailboxes for s, e in self._stores.mailboxes.get(m, {}).items()]
        return sorted(found, key=lambda item: item.sequence)[:most]

    def forget(self, collected: Sequence[Collected]) -> None:
        """Remove what was acknowledged."""
        for item in collected:
            if self._stores.mailboxes.get(item.mailbox, {}).pop(item.sequence, None) is not None:
                self.delivered += 1

    async def arrival(self) -> None:
        """Wait for the next envelope in any mailbox."""
        self._arrival.clear()
        await self._arrival.wait()

    def reachable(self) -> _Stores:
        """The stores. Raises TransportFailed while the hub is away."""
        if self.away:
            raise TransportFailed("the hub is away")
        return self._stores

    def publish(self, publication: bytes) -> None:
        """Keep a bundle and its one-time keys. Raises Replayed for an older sequence."""
        stores, publication_ = self.reachable(), Publication.decode(publication)
        signed = SignedBundle.decode(publication_.bundle)
        name = str(signed.claims.name)
        known = stores.published.get(name)
        if known is not None and known.sequence > signed.claims.sequence:
            raise Replayed("an older bundle than the one published")
        stores.bundles[signed.hash] = publication_.bundle
        if known is None or known.bundle != publication_.bundle:
            stores.published[name] = _Published(publication_.bundle, signed.claims.sequence, publication_.one_time)


class MemoryCarrier:
    """Implements `ports.Carrier` on a `MemoryHub`."""

    def __init__(self, hub: MemoryHub, tamper: Tamper, *, needs_consent: bool) -> None:
        self._hub = hub
        self._tamper = tamper
        self._needs_consent = needs_consent
        self.calls: Counter[str] = Counter()

    def _enter(self, call: str) -> _Stores:
        self.calls[call] += 1
        return self._hub.reachable()

    async def deposit(self, deposits: Sequence[Deposit]) -> list[Verdict]:
        """See `ports.Carrier`. What the tamper drops is accepted all the same: a hop that lies."""
        self._enter("deposit")
        verdicts = {deposit: self._hub.take(deposit) for deposit in self._tamper.up(list(deposits))}
        return [verdicts.get(deposit, Verdict(201)) for deposit in deposits]

    async def collect(self, mailboxes: Sequence[str], *, wait: float, most: int = 100) -> list[Collected]:
        """See `ports.Carrier`."""
        end = asyncio.get_running_loop().time() + wait
        while True:
            self._check_consents(self._enter("collect"), mailboxes)
            found = self._tamper.down(self._hub.look(mailboxes, most))
            left = end - asyncio.get_running_loop().time()
            if found or left <= 0:
                return found
            try:
                async with asyncio.timeout(min(left, 1.0)):
                    await self._hub.arrival()
            except TimeoutError:
                continue

    def _check_consents(self, stores: _Stores, mailboxes: Sequence[str]) -> None:
        if self._needs_consent and any(mailbox not in stores.consents for mailbox in mailboxes):
            raise HopRefused("no consent of that device", status=403)

    async def acknowledge(self, collected: Sequence[Collected]) -> None:
        """See `ports.Carrier`."""
        self._enter("acknowledge")
        self._hub.forget(collected)

    async def publish_credential(self, chain: Sequence[bytes]) -> None:
        """See `ports.Carrier`."""
        self._enter("publish_credential").credentials[hashlib.sha256(chain[0]).digest()] = tuple(chain)

    async def publish_bundle(self, publication: bytes) -> None:
        """See `ports.Carrier`. Raises Replayed for an older sequence."""
        self._enter("publish_bundle")
        self._hub.publish(publication)

    async def publish_consent(self, consent: bytes) -> None:
        """See `ports.Carrier`."""
        stores = self._enter("publish_consent")
        stores.consents[SignedConsent.decode(consent).claims.mailbox] = consent

    async def claim_bundle(self, name: str) -> bytes:
        """See `ports.Carrier`. Raises NotFound."""
        published = self._enter("claim_bundle").published.get(name)
        if published is None:
            raise NotFound(f"no bundle of {name}")
        return published.offer().encode()

    async def newest_bundle(self, name: str) -> bytes:
        """See `ports.Carrier`."""
        published = self._enter("newest_bundle").published.get(name)
        if published is None:
            raise NotFound(f"no bundle of {name}")
        return published.bundle

    async def bundle_by_hash(self, digest: bytes) -> bytes:
        """See `ports.Carrier`."""
        return _found(self._enter("bundle_by_hash").bundles.get(digest), "bundle")

    async def credential(self, x5t: bytes) -> tuple[bytes, ...]:
        """See `ports.Carrier`."""
        chain = self._enter("credential").credentials.get(x5t)
        if chain is None:
            raise NotFound("no such credential")
        return chain

    async def root_document(self) -> bytes:
        """See `ports.Carrier`."""
        self._enter("root_document")
        return _found(self._hub.root or None, "root document")

    async def close(self) -> None:
        """Nothing to release."""


def _found(value: bytes | None, what: str) -> bytes:
    if value is None:
        raise NotFound(f"no such {what}")
    return value
