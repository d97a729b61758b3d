# SPDX-License-Identifier: Apache-2.0
"""A hostile hop as a carrier: what an endpoint, or a gateway, takes for its next hop, before the real one.

It is a position like those in positions/, for what runs in the same process: a test in memory, or a gateway of one's
own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

from sealway.adversary.middlebox import Middlebox
from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.positions.boxes import Boxes
from sealway.errors import NotFound
from sealway.transports.ports import Carrier, Collected, Deposit, Verdict
from sealway.wire.bundle import Publication, SignedBundle
from sealway.wire.carriage import MAX_BATCH, Acknowledgement, CertChain, Verdicts
from sealway.wire.consent import SignedConsent

LOOK_S: Final = 0.05
"""How often who waits is looked after for what the middlebox has for it."""

_CREATED: Final = 201


class HostileCarrier:
    """Implements ``transports.ports.Carrier`` before another one.

    Args:
        middlebox: decides on everything; several carriers may share one.
        carrier: the real next hop.
    """

    def __init__(self, middlebox: Middlebox, carrier: Carrier) -> None:
        self._middlebox = middlebox
        self._carrier = carrier
        self._boxes = Boxes(middlebox)

    # envelopes -------------------------------------------------------------------------------------------------
    async def deposit(self, deposits: Sequence[Deposit]) -> list[Verdict]:
        """See ``ports.Carrier``. What is dropped or changed is reported as taken, unless the middlebox invents more."""
        outcomes = [self._up(Kind.ENVELOPE, deposit.mailbox, deposit.envelope) for deposit in deposits]
        going = [(passing, deposit.hops) for outcome, deposit in zip(outcomes, deposits, strict=True)
                 for passing in outcome]  # fmt: skip
        for mailbox in dict.fromkeys(deposit.mailbox for deposit in deposits):
            going += [(passing, deposits[0].hops) for passing in self._middlebox.due(Leg.UP, mailbox)]
        given = await self._given(going)
        return [
            self._told(deposit.mailbox, given.get(id(outcome[0]), Verdict(_CREATED)) if outcome else Verdict(_CREATED))
            for outcome, deposit in zip(outcomes, deposits, strict=True)
        ]

    async def _given(self, going: list[tuple[Passing, int]]) -> dict[int, Verdict]:
        """Hand over what goes on; return the real verdicts by the identity of the item."""
        verdicts: dict[int, Verdict] = {}
        for at in range(0, len(going), MAX_BATCH):
            batch = going[at : at + MAX_BATCH]
            given = await self._carrier.deposit([Deposit(p.subject, p.content, hops) for p, hops in batch])
            for (passing, _), verdict in zip(batch, given, strict=True):
                verdicts[id(passing)] = verdict
                if verdict.accepted:
                    self._middlebox.note_reached(passing)
        return verdicts

    def _told(self, mailbox: str, verdict: Verdict) -> Verdict:
        content = Verdicts(((verdict.status, verdict.text),)).encode()
        outcome = self._middlebox.pass_on(Passing(Kind.VERDICT, Leg.DOWN, mailbox, content))
        if not outcome:
            return Verdict(_CREATED)
        self._middlebox.note_reached(outcome[0])
        return Verdict(*Verdicts.decode(outcome[0].content).items[0])

    async def collect(self, mailboxes: Sequence[str], *, wait: float, most: int = 100) -> list[Collected]:
        """See ``ports.Carrier``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        while True:
            left = end - loop.time()
            is_ready = any(self._boxes.has_news(mailbox) for mailbox in mailboxes)
            await self._bring(mailboxes, 0.0 if is_ready else min(LOOK_S, max(0.0, left)), most)
            rows = self._boxes.ready(mailboxes, most)
            if rows or left <= 0:
                self._boxes.handed_out(rows)
                return [Collected(*row) for row in rows]

    async def _bring(self, mailboxes: Sequence[str], wait: float, most: int) -> None:
        """Take in what the next hop has; let it forget what does not go on."""
        arrived = await self._carrier.collect(mailboxes, wait=wait, most=most)
        swallowed = set(self._boxes.arrived((item.mailbox, item.sequence, item.envelope) for item in arrived))
        forgotten = [item for item in arrived if (item.mailbox, item.sequence) in swallowed]
        if forgotten:
            await self._carrier.acknowledge(forgotten)
        elif arrived:
            await asyncio.sleep(0)

    async def acknowledge(self, collected: Sequence[Collected]) -> None:
        """See ``ports.Carrier``."""
        by_mailbox: dict[str, dict[int, Collected]] = {}
        for item in collected:
            by_mailbox.setdefault(item.mailbox, {})[item.sequence] = item
        genuine: list[Collected] = []
        for mailbox, items in by_mailbox.items():
            content = Acknowledgement(((mailbox, tuple(items)),)).encode()
            for passing in self._up(Kind.ACKNOWLEDGEMENT, mailbox, content):
                for box, sequences in Acknowledgement.decode(passing.content).items:
                    kept = self._boxes.acknowledged(box, sequences)
                    genuine += [Collected(box, n, items[n].envelope if n in items else b"") for n in kept]
                self._middlebox.note_reached(passing)
        if genuine:
            await self._carrier.acknowledge(genuine)

    # publishing ------------------------------------------------------------------------------------------------
    async def publish_credential(self, chain: Sequence[bytes]) -> None:
        """See ``ports.Carrier``."""
        subject = hashlib.sha256(chain[0]).hexdigest()
        for passing in self._up(Kind.CHAIN, subject, CertChain(tuple(chain)).encode()):
            await self._carrier.publish_credential(CertChain.decode(passing.content).certificates)
            self._middlebox.note_reached(passing)

    async def publish_bundle(self, publication: bytes) -> None:
        """See ``ports.Carrier``."""
        name = str(SignedBundle.decode(Publication.decode(publication).bundle).claims.name)
        for passing in self._up(Kind.PUBLICATION, name, publication):
            await self._carrier.publish_bundle(passing.content)
            self._middlebox.note_reached(passing)

    async def publish_consent(self, consent: bytes) -> None:
        """See ``ports.Carrier``."""
        for passing in self._up(Kind.CONSENT, SignedConsent.decode(consent).claims.mailbox, consent):
            await self._carrier.publish_consent(passing.content)
            self._middlebox.note_reached(passing)

    # the directory ---------------------------------------------------------------------------------------------
    async def claim_bundle(self, name: str) -> bytes:
        """See ``ports.Carrier``."""
        return self._answer(Kind.OFFER, name, await self._carrier.claim_bundle(name))

    async def newest_bundle(self, name: str) -> bytes:
        """See ``ports.Carrier``."""
        return self._answer(Kind.BUNDLE, name, await self._carrier.newest_bundle(name))

    async def bundle_by_hash(self, digest: bytes) -> bytes:
        """See ``ports.Carrier``."""
        return self._answer(Kind.BUNDLE, digest.hex(), await self._carrier.bundle_by_hash(digest))

    async def credential(self, x5t: bytes) -> tuple[bytes, ...]:
        """See ``ports.Carrier``."""
        chain = CertChain(tuple(await self._carrier.credential(x5t))).encode()
        return CertChain.decode(self._answer(Kind.CREDENTIAL, x5t.hex(), chain)).certificates

    async def root_document(self) -> bytes:
        """See ``ports.Carrier``."""
        return self._answer(Kind.ROOT, "", await self._carrier.root_document())

    async def close(self) -> None:
        """See ``ports.Carrier``."""
        await self._carrier.close()

    def _answer(self, kind: Kind, subject: str, content: bytes) -> bytes:
        outcome = self._middlebox.pass_on(Passing(kind, Leg.DOWN, subject, content))
        if not outcome:
            raise NotFound("not held here")
        self._middlebox.note_reached(outcome[0])
        return outcome[0].content

    def _up(self, kind: Kind, subject: str, content: bytes) -> list[Passing]:
        return self._middlebox.pass_on(Passing(kind, Leg.UP, subject, content))
