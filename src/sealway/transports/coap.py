# SPDX-License-Identifier: Apache-2.0
"""`CoapCarrier`: a device's view of its gateway over CoAP (RFC 7252, RFC 7641, RFC 7959, RFC 8768)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aiocoap.numbers.codes import Code

from sealway.errors import HopRefused, NotFound, RateLimited, SealwayError, TooLarge, TransportFailed
from sealway.transports import coap_api
from sealway.transports.coap_forms import Forms, collected_of
from sealway.transports.coap_lanes import Lane, Lanes, Request, Response, check_uri
from sealway.transports.coap_watch import MailboxWatch
from sealway.transports.ports import HOPS, Collected, Deposit, Verdict
from sealway.wire import carriage

_REMEMBERED: Final = 256  # acknowledged envelopes that a late notification may still name
_WORDS: Final = 200  # characters of a gateway's diagnostic text that are passed on


class CoapCarrier:
    """Implements `ports.Carrier` over CoAP.

    Args:
        uri: the gateway, ``coap://host[:port]``. Raises LocalMisuse for anything else.
        window: exchanges under way at one time, each on a socket of its own.
        timeout: seconds after which an unanswered request has failed.
        refresh: seconds of silence after which an observation is registered again; a restarted gateway is noticed then.
        most: bytes that one answer may have.
        compact: hand envelopes over in their compact form, and ask for it; COSE where the gateway does not know it.

    Every method raises TransportFailed when the gateway does not answer, and NotFound, RateLimited, TooLarge or
    HopRefused (status = class*100+detail) for what it answers. Belongs to one event loop.
    """

    def __init__(
        self, uri: str, *, window: int = 8, timeout: float = 10.0, refresh: float = 5.0, most: int = 524_288,
        compact: bool = False,
    ) -> None:  # fmt: skip
        self._uri = check_uri(uri)
        self._refresh = refresh
        self._lanes = Lanes(self._uri, window=window, timeout=timeout, most=most)
        self._lanes.failed = self._doubt
        self._forms = Forms(compact=compact)
        self._watch_lane: Lane | None = None
        self._watches: dict[str, MailboxWatch] = {}
        self._news = asyncio.Event()
        self._acknowledged: deque[tuple[str, int]] = deque(maxlen=_REMEMBERED)

    async def deposit(self, deposits: Sequence[Deposit]) -> list[Verdict]:
        """Hand over envelopes, several at a time; after the first that gets no answer the rest is not tried.

        Raises TransportFailed if none was answered; otherwise those without an answer get the verdict 503.
        """
        stretch = _Stretch(self._lanes, self._forms)
        ahead = 1 if self._forms.is_untried else 0
        verdicts = [await stretch.deposit(deposit) for deposit in deposits[:ahead]]
        verdicts += await asyncio.gather(*(stretch.deposit(deposit) for deposit in deposits[ahead:]))
        if stretch.failure is not None and not stretch.answered:
            raise stretch.failure
        return verdicts

    async def collect(self, mailboxes: Sequence[str], *, wait: float, most: int = 100) -> list[Collected]:
        """What waits; observes the mailboxes while there is nothing."""
        end = asyncio.get_running_loop().time() + wait
        items = await self._fetch_all(mailboxes)
        while not items and (left := end - asyncio.get_running_loop().time()) > 0:
            watches = [await self._watch(mailbox) for mailbox in mailboxes]
            await self._await_news(left)
            items = await self._noticed(mailboxes, watches)
        return items[:most]

    async def acknowledge(self, collected: Sequence[Collected]) -> None:
        """Tell the gateway that these may be forgotten."""
        if not collected:
            return
        self._acknowledged.extend((item.mailbox, item.sequence) for item in collected)
        body = carriage.Acknowledgement(_by_mailbox(collected)).encode()
        await self._ask(Code.POST, coap_api.ACKNOWLEDGE, payload=body, content_format=coap_api.FORMAT_CBOR)

    async def publish_credential(self, chain: Sequence[bytes]) -> None:
        """PUT /c."""
        body = carriage.CertChain(tuple(chain)).encode()
        await self._ask(Code.PUT, coap_api.CREDENTIALS, payload=body, content_format=coap_api.FORMAT_CBOR)

    async def publish_bundle(self, publication: bytes) -> None:
        """PUT /b."""
        await self._ask(Code.PUT, coap_api.BUNDLES, payload=publication, content_format=coap_api.FORMAT_CBOR)

    async def publish_consent(self, consent: bytes) -> None:
        """PUT /k."""
        await self._ask(Code.PUT, coap_api.CONSENTS, payload=consent, content_format=coap_api.FORMAT_SIGN1)

    async def claim_bundle(self, name: str) -> bytes:
        """POST /b?n=NAME."""
        return await self._ask(Code.POST, coap_api.BUNDLES, query=(f"n={name}",))

    async def newest_bundle(self, name: str) -> bytes:
        """GET /b?n=NAME."""
        return await self._ask(Code.GET, coap_api.BUNDLES, query=(f"n={name}",))

    async def bundle_by_hash(self, digest: bytes) -> bytes:
        """GET /b/{hash}."""
        return await self._ask(Code.GET, coap_api.BUNDLES, digest.hex())

    async def credential(self, x5t: bytes) -> tuple[bytes, ...]:
        """GET /c/{x5t}."""
        return carriage.CertChain.decode(await self._ask(Code.GET, coap_api.CREDENTIALS, x5t.hex())).certificates

    async def root_document(self) -> bytes:
        """GET /r."""
        return await self._ask(Code.GET, coap_api.ROOT)

    async def close(self) -> None:
        """Close all sockets; observations end."""
        watches, self._watches = list(self._watches.values()), {}
        lane, self._watch_lane = self._watch_lane, None
        await asyncio.gather(*(watch.close() for watch in watches))
        if lane is not None:
            await lane.close()
        await self._lanes.close()

    async def _ask(
        self,
        code: int,
        *path: str,
        query: tuple[str, ...] = (),
        payload: bytes = b"",
        content_format: int | None = None,
    ) -> bytes:
        """Ask and return the payload of a successful answer; raise the error of any other."""
        response = await self._lanes.ask(Request(code, path, query, payload, content_format, HOPS.get()))
        if not response.successful:
            raise error_of(response)
        return response.payload

    async def _fetch_all(self, mailboxes: Sequence[str]) -> list[Collected]:
        found = await asyncio.gather(*(self._fetch(mailbox) for mailbox in mailboxes))
        return [item for items in found for item in items]

    async def _fetch(self, mailbox: str) -> list[Collected]:
        request = replace(self._forms.collect(mailbox), hops=HOPS.get())
        response = await self._lanes.ask(request)
        if self._forms.has_to_change(request, response):
            return await self._fetch(mailbox)
        if not response.successful:
            raise error_of(response)
        return collected_of(mailbox, response.payload, response.content_format)

    async def _watch(self, mailbox: str) -> MailboxWatch:
        if mailbox not in self._watches:
            if self._watch_lane is None:
                self._watch_lane = await Lane.open(self._uri)
            watch = MailboxWatch(
                self._watch_lane, self._uri, mailbox, self._forms, refresh=self._refresh, news=self._news
            )  # fmt: skip
            self._watches[mailbox] = watch
        return self._watches[mailbox]

    def _doubt(self) -> None:
        """A gateway that does not answer may have been restarted, and its observations with it; or replaced."""
        self._forms.doubt()
        for watch in self._watches.values():
            watch.doubt()

    async def _await_news(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def _noticed(self, mailboxes: Sequence[str], watches: Sequence[MailboxWatch]) -> list[Collected]:
        """What the observations brought. Raises TransportFailed if one failed."""
        items: list[Collected] = []
        for mailbox, watch in zip(mailboxes, watches, strict=True):
            failure = watch.take_failure()
            if failure is not None:
                raise failure
            noticed = await self._fetch(mailbox) if watch.take_longer() else watch.take_noticed()
            items += [item for item in noticed if (item.mailbox, item.sequence) not in self._acknowledged]
        return items


class _Stretch:
    """The deposits of one call: the first that gets no answer spares the others the wait."""

    def __init__(self, lanes: Lanes, forms: Forms) -> None:
        self._lanes = lanes
        self._forms = forms
        self.failure: TransportFailed | None = None
        self.answered = False

    async def deposit(self, deposit: Deposit) -> Verdict:
        request = self._forms.deposit(deposit)
        try:
            response = await self._lanes.ask(request, unless=self._given_up)
        except TransportFailed as error:
            self.failure = self.failure or error
            return Verdict(503, error.message)
        except SealwayError as error:
            return Verdict(502, error.message)
        self.answered = True
        if self._forms.has_to_change(request, response):
            return await self.deposit(deposit)
        return Verdict(coap_api.status_of(response.code), "" if response.successful else words_of(response))

    def _given_up(self) -> TransportFailed | None:
        return self.failure


def words_of(response: Response) -> str:
    """The diagnostic payload of an error answer (RFC 7252 §5.5.2), shortened, printable."""
    text = response.payload.decode("utf-8", "replace")[:_WORDS]
    return "".join(character if character.isprintable() else "?" for character in text)


def error_of(response: Response) -> SealwayError:
    """The error for an answer that is not of class 2."""
    status = coap_api.status_of(response.code)
    words = words_of(response) or f"the gateway answered {status // 100}.{status % 100:02}"
    if status == 404:
        return NotFound(words)
    if status == 413:
        return TooLarge(words)
    if status == 429:
        return RateLimited(words)
    return HopRefused(words, status=status)


def _by_mailbox(collected: Sequence[Collected]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    by_mailbox: dict[str, list[int]] = {}
    for item in collected:
        by_mailbox.setdefault(item.mailbox, []).append(item.sequence)
    return tuple((mailbox, tuple(sorted(set(sequences)))) for mailbox, sequences in by_mailbox.items())
