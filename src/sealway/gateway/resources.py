# SPDX-License-Identifier: Apache-2.0
"""What the gateway serves: mailboxes from its own queue, the directory by asking the next hop."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiocoap.numbers.codes import Code

from sealway.errors import HopRefused, Malformed, SealwayError, TransportFailed
from sealway.gateway.forms import collected, handed, taken
from sealway.gateway.limits import Limits, RateLimiter
from sealway.gateway.metrics import Metrics
from sealway.gateway.queue import Consent, DurableQueue
from sealway.gateway.refusal import BAD_REQUEST, NOT_ACCEPTABLE, NOT_FOUND, TOO_LARGE, Refusal, upstream_refusal
from sealway.gateway.server import Answer, Ask, Route, Routes
from sealway.gateway.watchers import Watchers
from sealway.transports import coap_api
from sealway.transports.ports import Carrier, Deposit
from sealway.wire import carriage
from sealway.wire.consent import SignedConsent

Result = TypeVar("Result")

_ANSWER_ITEMS: Final = 16
_COLLECTED_AS: Final = (None, coap_api.FORMAT_CBOR, coap_api.FORMAT_HANDED)
_UPSTREAM_SECONDS: Final = 8.0  # a device waits 10 for its answer
_NAME_BYTES: Final = 255
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Mailboxes:
    """Deposits, collection and acknowledgements of devices."""

    def __init__(self, queue: DurableQueue, watchers: Watchers, metrics: Metrics, limits: Limits) -> None:
        self._queue = queue
        self._watchers = watchers
        self._metrics = metrics
        self._limits = limits
        self._rates = RateLimiter(limits.mailbox_per_minute)
        self.deposited: Callable[[], None] = _nobody
        self.emptied: Callable[[str], None] = _nobody
        self.is_refused: Callable[[str], bool] = _never

    async def deposit(self, ask: Ask) -> Answer:
        """POST /m/{mailbox}: hold an envelope for the next hop; the answer says that it is on the disk."""
        mailbox = mailbox_of(ask)
        self._rates.spend(mailbox, time.monotonic())
        envelope = taken(ask.payload, ask.content_format, self._limits.envelope_bytes)
        fresh = await self._queue.put(Deposit(mailbox, envelope, ask.hops), time.time())
        self._metrics.add("deposits_taken" if fresh else "deposits_repeated")
        self._metrics.add("deposits_compact", fresh and ask.content_format == coap_api.FORMAT_COMPACT)
        self.deposited()
        return Answer(Code.CHANGED)

    async def collect(self, ask: Ask) -> Answer:
        """GET /m/{mailbox}: the oldest envelopes that wait, as many as fit one datagram, at least one.

        A device that accepts it gets compact forms, where the bearer's limit makes them worth it.
        """
        mailbox = mailbox_of(ask)
        if ask.accept not in _COLLECTED_AS:
            raise Refusal(NOT_ACCEPTABLE, "what waits comes in content format 60 or 65001")
        waiting = await self._queue.waiting(mailbox, _ANSWER_ITEMS)
        if not waiting and self.is_refused(mailbox):
            raise Refusal(NOT_FOUND, "the next hop does not know this mailbox: publish anew")
        if ask.accept != coap_api.FORMAT_HANDED:
            return Answer(Code.CONTENT, collected(waiting, self._limits.bearer_bytes), coap_api.FORMAT_CBOR)
        body = handed(waiting, self._limits.bearer_bytes)
        self._metrics.add("handed_compact", sum(compact for _, compact, _ in body.items))
        return Answer(Code.CONTENT, body.encode(), coap_api.FORMAT_HANDED)

    async def acknowledge(self, ask: Ask) -> Answer:
        """POST /a: forget what the device holds durably."""
        for mailbox, sequences in carriage.Acknowledgement.decode(ask.payload).items:
            self._metrics.add("delivered", await self._queue.acknowledge(mailbox, sequences))
            self._watchers.answered(mailbox)
            self.emptied(mailbox)
        return Answer(Code.CHANGED)


class Directory:
    """Requests passed on as they are: the next hop verifies what is published, the devices what they get."""

    def __init__(self, uplink: Carrier, queue: DurableQueue, metrics: Metrics, limits: Limits) -> None:
        self._uplink = uplink
        self._queue = queue
        self._metrics = metrics
        self._limits = limits
        self.consented: Callable[[str], None] = _nobody

    async def publish_bundle(self, ask: Ask) -> Answer:
        """PUT /b: a Publication."""
        await self._pass_on(self._uplink.publish_bundle(ask.payload))
        return Answer(Code.CHANGED)

    async def claim_bundle(self, ask: Ask) -> Answer:
        """POST /b?n=NAME: an Offer."""
        offer = await self._pass_on(self._uplink.claim_bundle(_name_of(ask)))
        return Answer(Code.CHANGED, offer, coap_api.FORMAT_CBOR)

    async def bundle(self, ask: Ask) -> Answer:
        """GET /b?n=NAME: the newest bundle; GET /b/{hash}: the bundle with this SHA-256."""
        call = self._uplink.bundle_by_hash(_digest_of(ask)) if ask.path else self._uplink.newest_bundle(_name_of(ask))
        return Answer(Code.CONTENT, await self._pass_on(call), coap_api.FORMAT_SIGN1)

    async def publish_credential(self, ask: Ask) -> Answer:
        """PUT /c: a CertChain."""
        await self._pass_on(self._uplink.publish_credential(carriage.CertChain.decode(ask.payload).certificates))
        return Answer(Code.CHANGED)

    async def credential(self, ask: Ask) -> Answer:
        """GET /c/{x5t}: the CertChain whose leaf has this SHA-256."""
        chain = await self._pass_on(self._uplink.credential(_digest_of(ask)))
        return Answer(Code.CONTENT, carriage.CertChain(chain).encode(), coap_api.FORMAT_CBOR)

    async def publish_consent(self, ask: Ask) -> Answer:
        """PUT /k: a CarryConsent; kept here only if the next hop, which verifies it, accepts it."""
        claims = SignedConsent.decode(ask.payload).claims
        if claims.expires <= time.time():
            raise Refusal(BAD_REQUEST, "the consent has expired")
        await self._pass_on(self._uplink.publish_consent(ask.payload))
        await self._queue.remember(Consent(claims.mailbox, ask.payload, claims.expires))
        self._metrics.add("consents_taken")
        self.consented(claims.mailbox)
        return Answer(Code.CHANGED)

    async def root_document(self, ask: Ask) -> Answer:
        """GET /r: the owner root document."""
        if ask.path:
            raise Refusal(NOT_FOUND, "no such path")
        document = await self._pass_on(self._uplink.root_document())
        return Answer(Code.CONTENT, document, coap_api.FORMAT_SIGN)

    async def _pass_on(self, call: Awaitable[Result]) -> Result:
        """Await a call to the next hop. Raises Refusal with the hop's code, or 5.03 when it is away."""
        self._metrics.add("directory_requests")
        try:
            async with asyncio.timeout(_UPSTREAM_SECONDS):
                return await call
        except SealwayError as error:
            raise upstream_refusal(error) from error
        except TimeoutError as error:
            raise upstream_refusal(HopRefused("the next hop is slow", status=504)) from error
        except Exception as error:  # a fault in a carrier is not the device's
            raise upstream_refusal(TransportFailed("the next hop failed")) from error


def routes(
    mailboxes: Mailboxes, directory: Directory, metrics_text: Callable[[], Awaitable[str]], limits: Limits
) -> Routes:
    """All paths of the gateway."""
    cbor, small = frozenset({coap_api.FORMAT_CBOR}), limits.directory_bytes
    envelope = frozenset({coap_api.FORMAT_ENVELOPE, coap_api.FORMAT_COMPACT})
    consent = frozenset({coap_api.FORMAT_SIGN1})

    async def metrics(_: Ask) -> Answer:
        return Answer(Code.CONTENT, (await metrics_text()).encode(), coap_api.FORMAT_TEXT)

    return {
        coap_api.MAILBOX: {
            Code.POST: Route(mailboxes.deposit, envelope, limits.envelope_bytes),
            Code.GET: Route(mailboxes.collect, observed=mailbox_of),
        },
        coap_api.ACKNOWLEDGE: {Code.POST: Route(mailboxes.acknowledge, cbor, small)},
        coap_api.BUNDLES: {
            Code.PUT: Route(directory.publish_bundle, cbor, small),
            Code.POST: Route(directory.claim_bundle),
            Code.GET: Route(directory.bundle),
        },
        coap_api.CREDENTIALS: {
            Code.PUT: Route(directory.publish_credential, cbor, small),
            Code.GET: Route(directory.credential),
        },
        coap_api.CONSENTS: {Code.PUT: Route(directory.publish_consent, consent, small)},
        coap_api.ROOT: {Code.GET: Route(directory.root_document)},
        coap_api.METRICS: {Code.GET: Route(metrics)},
    }


def mailbox_of(ask: Ask) -> str:
    """The mailbox id in the path. Raises Refusal 4.04."""
    if len(ask.path) != 1 or not coap_api.is_mailbox_id(ask.path[0]):
        raise Refusal(NOT_FOUND, "no such mailbox")
    return ask.path[0]


def _name_of(ask: Ask) -> str:
    """The endpoint name of ?n=NAME. Raises Malformed."""
    if ask.path or len(ask.query) != 1 or not ask.query[0].startswith("n="):
        raise Malformed("one query n=NAME expected")
    name = ask.query[0][2:]
    if not name or len(name.encode()) > _NAME_BYTES:
        raise Refusal(TOO_LARGE if name else BAD_REQUEST, "a name of 1 to 255 bytes expected")
    return name


def _digest_of(ask: Ask) -> bytes:
    """The SHA-256 in the path. Raises Refusal 4.04."""
    if len(ask.path) != 1 or not _DIGEST.match(ask.path[0]):
        raise Refusal(NOT_FOUND, "64 hexadecimal digits expected after the path")
    return bytes.fromhex(ask.path[0])


def _never(mailbox: str) -> bool:
    """Stand-in until the downlink is wired."""
    return False


def _nobody(*_: object) -> None:
    """Listens to nothing."""
