# SPDX-License-Identifier: Apache-2.0
"""The position before a hub: what clients believe to be the hub, passed on to it over TLS of its own.

It knows the routes of spec/carriage.md and nothing of envelopes. A token passes through; it belongs to the client.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final, TypeAlias
from urllib.parse import parse_qs

from sealway.adversary.middlebox import Middlebox
from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.positions.boxes import Boxes, Row
from sealway.adversary.positions.upstream import Answered, Asked, Upstream
from sealway.errors import PeerMisbehaved, SealwayError, TransportFailed
from sealway.wire import carriage
from sealway.wire.bundle import Publication, SignedBundle
from sealway.wire.consent import SignedConsent

LOOK_S: Final = 0.05
"""How often a client that waits is looked after for what the middlebox has for it."""

_MOST_POLLS: Final = 256
_CREATED: Final = 201
_TAKEN: Final = (_CREATED, "")
_CBOR: Final = {"content-type": "application/cbor"}
_JSON: Final = {"content-type": "application/json"}
_NOT_HELD: Final = Answered(404, b'{"error":"not held here"}', _JSON)

_Key: TypeAlias = tuple[str, bytes]
"""The value of a client's Authorization header, and the body of its request."""

Answer: TypeAlias = Callable[["HttpPosition", Asked, str], Awaitable[Answered]]


class HttpPosition:
    """What becomes of each request.

    Args:
        middlebox: decides.
        upstream: the hub, or whoever stands before it.
    """

    def __init__(self, middlebox: Middlebox, upstream: Upstream) -> None:
        self._middlebox = middlebox
        self._upstream = upstream
        self._boxes = Boxes(middlebox)
        self._polls: dict[_Key, asyncio.Task[Answered]] = {}
        self._admitted: OrderedDict[str, None] = OrderedDict()

    async def answer(self, asked: Asked) -> Answered:
        """Return what the client gets. Raises TransportFailed if the next hop does not answer."""
        for method, pattern, take in _ROUTES:
            found = pattern.fullmatch(asked.target) if method == asked.method else None
            if found is None:
                continue
            try:
                return await take(self, asked, found[1] if found.lastindex else "")
            except PeerMisbehaved:
                break  # whoever is next refuses it in its own words
        return await self._upstream.ask(asked)

    async def close(self) -> None:
        """End what is still asked of the next hop."""
        polls, self._polls = list(self._polls.values()), {}
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)

    # towards the hub -------------------------------------------------------------------------------------------
    async def _deposits(self, asked: Asked, _: str) -> Answered:
        """POST /v1/deposits: each envelope is decided on; what is dropped or changed is reported as taken."""
        originals = carriage.Deposits.decode(asked.body).items
        outcomes = [self._up(Kind.ENVELOPE, mailbox, envelope) for mailbox, envelope in originals]
        going = [passing for outcome in outcomes for passing in outcome] + self._due_up(m for m, _ in originals)
        verdicts: dict[int, tuple[int, str]] = {}
        for at in range(0, len(going), carriage.MAX_BATCH):
            batch = going[at : at + carriage.MAX_BATCH]
            answer = await self._deposit(asked, batch)
            if not answer.good:
                return answer
            given = carriage.Verdicts.decode(answer.body).items
            verdicts |= {id(passing): verdict for passing, verdict in zip(batch, given, strict=False)}
        told = [
            self._told(mailbox, verdicts.get(id(outcome[0]), _TAKEN) if _is_honest(outcome, envelope) else _TAKEN)
            for outcome, (mailbox, envelope) in zip(outcomes, originals, strict=True)
        ]
        return Answered(200, carriage.Verdicts(tuple(told)).encode(), _CBOR)

    def _told(self, mailbox: str, verdict: tuple[int, str]) -> tuple[int, str]:
        """Return what the sender of a deposit is told."""
        content = carriage.Verdicts((verdict,)).encode()
        outcome = self._middlebox.pass_on(Passing(Kind.VERDICT, Leg.DOWN, mailbox, content))
        if not outcome:
            return _NOT_HELD.status, ""
        self._middlebox.note_reached(outcome[0])
        return carriage.Verdicts.decode(outcome[0].content).items[0]

    async def _deposit(self, asked: Asked, batch: list[Passing]) -> Answered:
        body = carriage.Deposits(tuple((passing.subject, passing.content) for passing in batch)).encode()
        answer = await self._upstream.ask(Asked("POST", "/v1/deposits", asked.headers, body))
        if answer.good:
            given = carriage.Verdicts.decode(answer.body).items
            for passing, (status, _) in zip(batch, given, strict=False):
                if status == _CREATED:  # 200: the hub holds the same bytes already, and nobody gets them twice
                    self._middlebox.note_reached(passing)
        return answer

    async def _single(self, asked: Asked, mailbox: str) -> Answered:
        """POST /v1/mailboxes/{mailbox}/envelopes."""
        body = carriage.Deposits(((mailbox, asked.body),)).encode()
        answer = await self._deposits(Asked("POST", asked.target, dict(asked.headers) | _CBOR, body), "")
        if not answer.good:
            return answer
        status, text = carriage.Verdicts.decode(answer.body).items[0]
        return Answered(status, json.dumps({"error": text}).encode() if text else b"", _JSON if text else {})

    def _due_up(self, mailboxes: Iterable[str]) -> list[Passing]:
        return [passing for mailbox in dict.fromkeys(mailboxes) for passing in self._middlebox.due(Leg.UP, mailbox)]

    def _up(self, kind: Kind, subject: str, content: bytes) -> list[Passing]:
        return self._middlebox.pass_on(Passing(kind, Leg.UP, subject, content))

    async def _publication(self, asked: Asked, _: str) -> Answered:
        name = str(SignedBundle.decode(Publication.decode(asked.body).bundle).claims.name)
        return await self._published(asked, Kind.PUBLICATION, name)

    async def _chain(self, asked: Asked, _: str) -> Answered:
        leaf = carriage.CertChain.decode(asked.body).certificates[0]
        return await self._published(asked, Kind.CHAIN, hashlib.sha256(leaf).hexdigest())

    async def _consent(self, asked: Asked, _: str) -> Answered:
        return await self._published(asked, Kind.CONSENT, SignedConsent.decode(asked.body).claims.mailbox)

    async def _published(self, asked: Asked, kind: Kind, subject: str) -> Answered:
        """PUT of a document: passed on, or kept here and reported as taken."""
        answer = Answered(204)
        for passing in self._up(kind, subject, asked.body):
            answer = await self._upstream.ask(Asked(asked.method, asked.target, asked.headers, passing.content))
            if answer.good:
                self._middlebox.note_reached(passing)
        return answer

    # towards an endpoint ---------------------------------------------------------------------------------------
    async def _document(self, asked: Asked, kind: Kind, subject: str) -> Answered:
        """An answer of the directory."""
        answer = await self._upstream.ask(asked)
        if not answer.good:
            return answer
        outcome = self._middlebox.pass_on(Passing(kind, Leg.DOWN, subject, answer.body))
        if not outcome:
            return _NOT_HELD
        self._middlebox.note_reached(outcome[0])
        return Answered(answer.status, outcome[0].content, answer.headers)

    async def _offer(self, asked: Asked, query: str) -> Answered:
        return await self._document(asked, Kind.OFFER, _name_in(query))

    async def _newest(self, asked: Asked, query: str) -> Answered:
        return await self._document(asked, Kind.BUNDLE, _name_in(query))

    async def _bundle(self, asked: Asked, digest: str) -> Answered:
        return await self._document(asked, Kind.BUNDLE, digest)

    async def _credential(self, asked: Asked, digest: str) -> Answered:
        return await self._document(asked, Kind.CREDENTIAL, digest)

    async def _root(self, asked: Asked, _: str) -> Answered:
        return await self._document(asked, Kind.ROOT, "")

    # mailboxes -------------------------------------------------------------------------------------------------
    async def _collect(self, asked: Asked, _: str) -> Answered:
        """POST /v1/collect: what the hub has, and what the middlebox has; a long poll like the hub's own."""
        wanted = carriage.CollectRequest.decode(asked.body)
        loop = asyncio.get_running_loop()
        end = loop.time() + wanted.wait_seconds
        client = asked.headers.get("authorization", "")
        while True:
            known = client in self._admitted
            now = asked if known else replace(asked, body=replace(wanted, wait_seconds=0).encode())
            poll = self._poll((client, now.body), now)
            await asyncio.wait({poll}, timeout=LOOK_S)
            answer = self._settled((client, now.body), poll)
            if answer is not None and not answer.good:
                return answer
            if answer is not None:
                self._admit(client)
            rows = self._boxes.ready(wanted.mailboxes, wanted.most) if known or answer is not None else []
            if rows or loop.time() >= end:
                return self._handed(rows, answer)

    def _poll(self, key: _Key, asked: Asked) -> asyncio.Task[Answered]:
        """The one poll that is under way for this client and these mailboxes."""
        poll = self._polls.get(key)
        if poll is None:
            if len(self._polls) >= _MOST_POLLS:
                self._polls = {known: other for known, other in self._polls.items() if not other.done()}
            if len(self._polls) >= _MOST_POLLS:
                raise TransportFailed("too many clients wait here")
            poll = self._polls[key] = asyncio.create_task(self._bring(asked), name="poll of the next hop")
        return poll

    def _admit(self, client: str) -> None:
        """Remember that the hub serves this client: only then is it handed anything of this position's own."""
        self._admitted[client] = None
        if len(self._admitted) > _MOST_POLLS:
            self._admitted.popitem(last=False)

    def _settled(self, key: _Key, poll: asyncio.Task[Answered]) -> Answered | None:
        if not poll.done():
            return None
        if self._polls.get(key) is poll:
            del self._polls[key]
        return poll.result()

    async def _bring(self, asked: Asked) -> Answered:
        """Ask the hub; let the middlebox decide on what it has; let the hub forget what does not go on."""
        try:
            answer = await self._upstream.ask(asked)
            if answer.good:
                swallowed = self._boxes.arrived(carriage.Collected.decode(answer.body).items)
                await self._forget(asked, swallowed)
        except (TransportFailed, PeerMisbehaved) as error:
            return away(error)
        return answer

    def _handed(self, rows: list[Row], answer: Answered | None) -> Answered:
        self._boxes.handed_out(rows)
        headers = dict(answer.headers) if answer is not None else _CBOR
        return Answered(200, carriage.Collected(tuple(rows)).encode(), headers)

    async def _acknowledge(self, asked: Asked, _: str) -> Answered:
        """POST /v1/acknowledge: what the middlebox leaves of it, and of that what the hub knows."""
        genuine: list[tuple[str, int]] = []
        for mailbox, sequences in carriage.Acknowledgement.decode(asked.body).items:
            content = carriage.Acknowledgement(((mailbox, sequences),)).encode()
            for passing in self._up(Kind.ACKNOWLEDGEMENT, mailbox, content):
                for box, numbers in carriage.Acknowledgement.decode(passing.content).items:
                    genuine += [(box, number) for number in self._boxes.acknowledged(box, numbers)]
                self._middlebox.note_reached(passing)
        return await self._forget(asked, genuine)

    async def _forget(self, asked: Asked, items: list[tuple[str, int]]) -> Answered:
        by_mailbox: dict[str, dict[int, None]] = {}
        for mailbox, sequence in items:
            by_mailbox.setdefault(mailbox, {})[sequence] = None
        if not by_mailbox:
            return Answered(204)
        body = carriage.Acknowledgement(tuple((m, tuple(numbers)) for m, numbers in by_mailbox.items())).encode()
        headers = dict(asked.headers) | _CBOR
        return await self._upstream.ask(Asked("POST", "/v1/acknowledge", headers, body))


def away(error: SealwayError) -> Answered:
    """Return what a client gets when the next hop does not answer, or nothing that makes sense."""
    return Answered(502, json.dumps({"error": error.message}).encode(), _JSON)


def _is_honest(outcome: list[Passing], original: bytes) -> bool:
    return len(outcome) == 1 and outcome[0].content == original


def _name_in(query: str) -> str:
    names = parse_qs(query, max_num_fields=4).get("name", [])
    return names[0] if names else ""


def _route(method: str, pattern: str, answer: Answer) -> tuple[str, re.Pattern[str], Answer]:
    return method, re.compile(pattern, re.ASCII), answer


_DIGEST: Final = "([0-9a-f]{64})"
_ROUTES: Final = (
    _route("POST", "/v1/deposits", HttpPosition._deposits),
    _route("POST", "/v1/mailboxes/([a-z2-7]{16})/envelopes", HttpPosition._single),
    _route("POST", "/v1/collect", HttpPosition._collect),
    _route("POST", "/v1/acknowledge", HttpPosition._acknowledge),
    _route("PUT", "/v1/bundles", HttpPosition._publication),
    _route("PUT", "/v1/credentials", HttpPosition._chain),
    _route("PUT", "/v1/consents", HttpPosition._consent),
    _route("POST", r"/v1/bundles/claim\?(.{1,1024})", HttpPosition._offer),
    _route("GET", r"/v1/bundles\?(.{1,1024})", HttpPosition._newest),
    _route("GET", f"/v1/bundles/{_DIGEST}", HttpPosition._bundle),
    _route("GET", f"/v1/credentials/{_DIGEST}", HttpPosition._credential),
    _route("GET", "/v1/root", HttpPosition._root),
)
