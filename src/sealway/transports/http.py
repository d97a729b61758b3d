# SPDX-License-Identifier: Apache-2.0
"""`HttpCarrier`: an endpoint's, or a gateway's, view of its hub over HTTPS."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from sealway.errors import PeerMisbehaved, SealwayError, TransportFailed, codes_of
from sealway.transports.http_exchange import Assert, HttpExchange
from sealway.transports.ports import Collected, Deposit, Verdict
from sealway.wire import carriage

CBOR: Final = "application/cbor"
COSE: Final = "application/cose"
_REFUSED: Final = "sealway-refused"
_BATCH_BYTES: Final = 2_097_152

T = TypeVar("T")


class HttpCarrier:
    """Implements `ports.Carrier` over HTTP/1.1 and TLS.

    Args:
        base_url: the hub, ``https://host[:port]``; LocalMisuse for anything else.
        ssl_context: trusts the hub's authority (``hop_tls.client_context``).
        name: the endpoint's name in text.
        make_assertion: returns a fresh signed assertion for the audience (the hub's token URL) that it is given.
        timeout: seconds for connecting, and between bytes.

    Every method raises TransportFailed when the hub cannot be reached or its answer makes no sense, and NotFound,
    RateLimited, TooLarge or HopRefused (``status`` is the HTTP status) for what it answers. Belongs to one event loop.
    """

    def __init__(
        self, base_url: str, *, ssl_context: ssl.SSLContext, name: str, make_assertion: Assert, timeout: float = 10.0
    ) -> None:
        self._exchange = HttpExchange(
            base_url, ssl_context=ssl_context, name=name, make_assertion=make_assertion, timeout=timeout
        )
        self.refused_mailboxes: frozenset[str] = frozenset()
        """Of the last ``collect``: mailboxes that the hub did not let this carrier collect, while it did others."""

    async def deposit(self, deposits: Sequence[Deposit]) -> list[Verdict]:
        """Hand over envelopes, in batches; one verdict each, in order.

        Raises if the first batch fails; when a later one does, what is left gets the verdict of its failure.
        """
        verdicts: dict[int, Verdict] = {}
        sound = [at for at, deposit in enumerate(deposits) if _is_sound(deposit, at, verdicts)]
        failure: SealwayError | None = None
        for batch in _batches(deposits, sound):
            try:
                given = [_of(failure)] * len(batch) if failure else await self._deposit([deposits[at] for at in batch])
            except SealwayError as error:
                if not any(verdict.accepted for verdict in verdicts.values()):
                    raise
                failure, given = error, [_of(error)] * len(batch)
            verdicts.update(zip(batch, given, strict=True))
        return [verdicts[at] for at in range(len(deposits))]

    async def collect(self, mailboxes: Sequence[str], *, wait: float, most: int = 100) -> list[Collected]:
        """Return what waits in these mailboxes; the hub holds the call for up to ``wait`` seconds, at most 60."""
        seconds = min(carriage.MAX_WAIT_SECONDS, max(0, math.ceil(wait)))
        body = carriage.CollectRequest(tuple(mailboxes), seconds, most).encode()
        answer = await self._exchange.ask("POST", "/v1/collect", body=body, media_type=CBOR, wait=seconds)
        self.refused_mailboxes = frozenset(answer.headers.get(_REFUSED, "").split(",")) & set(mailboxes)
        found = _decoded(carriage.Collected.decode, answer.body).items
        if len(found) > most or not {mailbox for mailbox, _, _ in found} <= set(mailboxes):
            raise TransportFailed("the hub hands out what was not asked for")
        return [Collected(*item) for item in found]

    async def acknowledge(self, collected: Sequence[Collected]) -> None:
        """Tell the hub that these may be forgotten."""
        by_mailbox: dict[str, set[int]] = {}
        for item in collected:
            by_mailbox.setdefault(item.mailbox, set()).add(item.sequence)
        rows = [
            (mailbox, chunk)
            for mailbox, numbers in by_mailbox.items()
            for chunk in _chunks(sorted(numbers), carriage.MAX_SEQUENCES)
        ]
        # A mailbox stands in a request once, so a second chunk of one goes into a request of its own.
        while rows:
            once = dict(reversed(rows[: carriage.MAX_MAILBOXES]))
            body = carriage.Acknowledgement(tuple(once.items())).encode()
            await self._exchange.ask("POST", "/v1/acknowledge", body=body, media_type=CBOR)
            rows = [row for row in rows if once.get(row[0]) is not row[1]]

    async def publish_credential(self, chain: Sequence[bytes]) -> None:
        """Publish a certificate chain (DER, leaf first)."""
        await self._exchange.ask(
            "PUT", "/v1/credentials", body=carriage.CertChain(tuple(chain)).encode(), media_type=CBOR
        )

    async def publish_bundle(self, publication: bytes) -> None:
        """Publish an encoded Publication."""
        await self._exchange.ask("PUT", "/v1/bundles", body=publication, media_type=CBOR)

    async def publish_consent(self, consent: bytes) -> None:
        """Publish a device's signed CarryConsent."""
        await self._exchange.ask("PUT", "/v1/consents", body=consent, media_type=COSE)

    async def claim_bundle(self, name: str) -> bytes:
        """Return an encoded Offer."""
        return (await self._exchange.ask("POST", "/v1/bundles/claim", query={"name": name})).body

    async def newest_bundle(self, name: str) -> bytes:
        """Return the newest signed bundle of ``name``."""
        return (await self._exchange.ask("GET", "/v1/bundles", query={"name": name})).body

    async def bundle_by_hash(self, digest: bytes) -> bytes:
        """Return the signed bundle with this SHA-256."""
        return (await self._exchange.ask("GET", f"/v1/bundles/{digest.hex()}")).body

    async def credential(self, x5t: bytes) -> tuple[bytes, ...]:
        """Return the certificate chain whose leaf has this SHA-256."""
        answer = await self._exchange.ask("GET", f"/v1/credentials/{x5t.hex()}")
        return _decoded(carriage.CertChain.decode, answer.body).certificates

    async def root_document(self) -> bytes:
        """Return the owner's root document that the hub is configured with."""
        return (await self._exchange.ask("GET", "/v1/root")).body

    async def close(self) -> None:
        """Close the connections."""
        await self._exchange.close()

    async def _deposit(self, batch: Sequence[Deposit]) -> list[Verdict]:
        body = carriage.Deposits(tuple((deposit.mailbox, deposit.envelope) for deposit in batch)).encode()
        answer = await self._exchange.ask("POST", "/v1/deposits", body=body, media_type=CBOR, hops=batch[0].hops)
        items = _decoded(carriage.Verdicts.decode, answer.body).items
        if len(items) != len(batch):
            raise TransportFailed("the hub answers another number of deposits")
        return [Verdict(*item) for item in items]


def _is_sound(deposit: Deposit, at: int, verdicts: dict[int, Verdict]) -> bool:
    """Say whether a deposit can travel; if not, its verdict is given here, so that it does not spoil the batch."""
    try:
        carriage.Deposits(((deposit.mailbox, deposit.envelope),))
    except SealwayError as error:
        verdicts[at] = _of(error)
        return False
    return True


def _of(error: SealwayError) -> Verdict:
    return Verdict(getattr(error, "status", codes_of(error)[1]), error.message)


def _batches(deposits: Sequence[Deposit], sound: Sequence[int]) -> Iterator[list[int]]:
    """Give the sound ones in runs of one hop limit, of at most 100 and about 2 MiB."""
    batch: list[int] = []
    size = 0
    for at in sound:
        deposit = deposits[at]
        full = len(batch) == carriage.MAX_BATCH or size + len(deposit.envelope) > _BATCH_BYTES
        if batch and (full or deposit.hops != deposits[batch[0]].hops):
            yield batch
            batch, size = [], 0
        batch.append(at)
        size += len(deposit.envelope)
    if batch:
        yield batch


def _chunks(items: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    rest = iter(items)
    while chunk := tuple(islice(rest, most)):
        yield chunk


def _decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except PeerMisbehaved as error:
        raise TransportFailed(f"the hub's answer is malformed: {error.message}") from None
