# SPDX-License-Identifier: Apache-2.0
"""The position between a device and its gateway: a relay of CoAP datagrams on loopback.

Each client has a socket of its own towards the gateway, so answers find back by address alone. What the middlebox drops
is answered as if it had been taken; what it adds towards the gateway goes as requests of the relay's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from aiocoap.message import Message
from aiocoap.numbers.codes import Code

from sealway.adversary.middlebox import Middlebox
from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.positions import coap_datagrams as datagrams
from sealway.adversary.positions.boxes import Boxes, Row
from sealway.adversary.positions.coap_datagrams import Request, What
from sealway.errors import PeerMisbehaved, SealwayError
from sealway.transports import coap_api
from sealway.transports.coap import CoapCarrier
from sealway.transports.coap_stack import loopback_address
from sealway.transports.ports import Collected, Deposit
from sealway.wire import carriage

log = logging.getLogger(__name__)

Address: TypeAlias = tuple[Any, ...]

LOOK_S: Final = 0.05
"""How often an observed mailbox is looked after for what the middlebox has for it."""

_MOST_CLIENTS: Final = 256
_MOST_TOKENS: Final = 256
_MOST_DECIDED: Final = 1_024
_MOST_UNDER_WAY: Final = 64


@dataclass(slots=True)
class _Client:
    """One client: its socket towards the gateway, what it has asked, what was decided."""

    address: Address
    upstream: asyncio.DatagramTransport | None = None
    asked: OrderedDict[bytes, tuple[Request, Passing | None]] = field(default_factory=OrderedDict)
    decided: OrderedDict[tuple[int, bytes], tuple[bool, bytes]] = field(default_factory=OrderedDict)
    """By message id and token: whether the datagram goes up, or back; a repetition gets the same."""
    observed: OrderedDict[str, tuple[bytes, int]] = field(default_factory=OrderedDict)
    """By mailbox: token and the newest number of the observation."""
    next_mid: int = 0x8000


class CoapRelay:
    """Relays until ``close``.

    Args:
        middlebox: decides.
        host: a loopback address to listen on. LocalMisuse for every other.
        port: 0 for any.
        upstream: host and port of the gateway.
    """

    def __init__(self, middlebox: Middlebox, host: str, port: int, upstream: tuple[str, int]) -> None:
        loopback_address(host)
        self._middlebox = middlebox
        self._host, self._port = host, port
        self._upstream = upstream
        self._boxes = Boxes(middlebox)
        self._clients: OrderedDict[Address, _Client] = OrderedDict()
        self._front: asyncio.DatagramTransport | None = None
        self._own: CoapCarrier | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.uri = ""

    async def open(self) -> None:
        """Listen; ``uri`` is where clients come then. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        front = _Front(self._from_client)
        self._front, _ = await loop.create_datagram_endpoint(lambda: front, local_addr=(self._host, self._port))
        port = self._front.get_extra_info("sockname")[1]
        shown, there = (f"[{h}]" if ":" in h else h for h in (self._host, self._upstream[0]))
        self.uri = f"coap://{shown}:{port}"
        self._own = CoapCarrier(f"coap://{there}:{self._upstream[1]}", window=2)
        self._spawn(self._look_after())

    async def close(self) -> None:
        """Stop relaying."""
        tasks, self._tasks = list(self._tasks), set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            if client.upstream is not None:
                client.upstream.close()
        if self._front is not None:
            self._front.close()
        if self._own is not None:
            await self._own.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # from the client -------------------------------------------------------------------------------------------
    def _from_client(self, datagram: bytes, address: Address) -> None:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = _Client(address)
            self._forget_clients()
        self._clients.move_to_end(address)
        if client.upstream is not None:
            self._take_up(client, datagram)
        elif len(self._tasks) < _MOST_UNDER_WAY:
            self._spawn(self._begin(client, datagram))

    async def _begin(self, client: _Client, datagram: bytes) -> None:
        loop = asyncio.get_running_loop()
        back = _Back(lambda data: self._from_gateway(client, data))
        transport, _ = await loop.create_datagram_endpoint(lambda: back, remote_addr=self._upstream)
        if client.upstream is not None:  # two datagrams came at once
            transport.close()
        else:
            client.upstream = transport
        self._take_up(client, datagram)

    def _forget_clients(self) -> None:
        while len(self._clients) > _MOST_CLIENTS:
            _, oldest = self._clients.popitem(last=False)
            if oldest.upstream is not None:
                oldest.upstream.close()

    def _take_up(self, client: _Client, datagram: bytes) -> None:
        try:
            message = datagrams.read(datagram)
            if datagrams.is_request(message):
                plain = datagrams.in_cose(message)
                message, datagram = plain, datagram if plain is message else datagrams.write(plain)
            request = datagrams.request_in(message) if datagrams.is_request(message) else None
        except PeerMisbehaved:
            request = None
        if request is None:
            self._up(client, datagram)
            return
        key = (int(message.mid), bytes(message.token))
        if key not in client.decided:
            client.decided[key] = self._decide(client, message, request, datagram)
            _trim(client.decided, _MOST_DECIDED)
        upwards, going = client.decided[key]
        self._up(client, going) if upwards else self._down(client, going)

    def _decide(self, client: _Client, message: Message, request: Request, datagram: bytes) -> tuple[bool, bytes]:
        """Return (towards the gateway, datagram)."""
        if not datagrams.is_whole(message) or request.what in (What.COLLECT, What.FETCH):
            self._expect(client, message, request, None)
            return True, datagram
        if request.what is What.ACKNOWLEDGE:
            return self._acknowledge(message, datagram)
        outcome = self._middlebox.pass_on(Passing(request.kind, Leg.UP, request.subject, message.payload))
        first = next((p for p in outcome if p.content == message.payload), outcome[0] if outcome else None)
        added = [passing for passing in outcome if passing is not first]
        if request.what is What.DEPOSIT:
            added += self._middlebox.due(Leg.UP, request.subject)
            if added:
                self._add(added)
        if first is None:
            return False, datagrams.answer_to(message, Code.CHANGED)  # it says that it was taken
        self._expect(client, message, request, first)
        if request.what is What.DEPOSIT:
            return True, datagrams.to_mailbox(message, first.subject, first.content)
        return True, datagrams.with_content(message, first.content)

    def _acknowledge(self, message: Message, datagram: bytes) -> tuple[bool, bytes]:
        rows: list[tuple[str, tuple[int, ...]]] = []
        for mailbox, sequences in carriage.Acknowledgement.decode(message.payload).items:
            content = carriage.Acknowledgement(((mailbox, sequences),)).encode()
            for passing in self._middlebox.pass_on(Passing(Kind.ACKNOWLEDGEMENT, Leg.UP, mailbox, content)):
                for box, numbers in carriage.Acknowledgement.decode(passing.content).items:
                    genuine = tuple(self._boxes.acknowledged(box, numbers))
                    rows += [(box, genuine)] if genuine else []
                self._middlebox.note_reached(passing)
        if not rows:
            return False, datagrams.answer_to(message, Code.CHANGED)
        content = carriage.Acknowledgement(tuple(dict(rows).items())).encode()
        return True, datagram if content == message.payload else datagrams.with_content(message, content)

    def _expect(self, client: _Client, message: Message, request: Request, passing: Passing | None) -> None:
        client.asked[bytes(message.token)] = request, passing
        _trim(client.asked, _MOST_TOKENS)
        if request.observe:
            client.observed[request.subject] = bytes(message.token), 0
            _trim(client.observed, _MOST_TOKENS)

    def _add(self, passings: list[Passing]) -> None:
        if len(self._tasks) < _MOST_UNDER_WAY:
            self._spawn(self._deposit(passings))

    async def _deposit(self, passings: list[Passing]) -> None:
        """Deposit what the middlebox adds, as the relay's own requests."""
        if self._own is None:
            return
        try:
            verdicts = await self._own.deposit([Deposit(p.subject, p.content) for p in passings])
        except SealwayError as error:
            log.warning("nothing could be added: %s", error.message)
            return
        for passing, verdict in zip(passings, verdicts, strict=True):
            if verdict.accepted:
                self._middlebox.note_reached(passing)

    # from the gateway ------------------------------------------------------------------------------------------
    def _from_gateway(self, client: _Client, datagram: bytes) -> None:
        try:
            message = datagrams.read(datagram)
        except PeerMisbehaved:
            self._down(client, datagram)
            return
        asked = client.asked.get(bytes(message.token))
        if asked is None or not datagrams.is_answer(message):
            self._down(client, datagram)
            return
        request, passing = asked
        good = message.code.is_successful()
        if passing is not None and good:
            self._middlebox.note_reached(passing)
            client.asked[bytes(message.token)] = request, None
        if request.what is What.DEPOSIT and datagrams.is_whole(message):
            datagram = self._told(message, request.subject, datagram)
        if good and datagrams.is_whole(message) and request.what in (What.COLLECT, What.FETCH):
            datagram = self._answered(client, message, request, datagram)
        self._down(client, datagram)

    def _told(self, message: Message, mailbox: str, datagram: bytes) -> bytes:
        """Return what the sender of a deposit is told: a verdict is the answer's code."""
        status = coap_api.status_of(int(message.code))
        content = carriage.Verdicts(((status, ""),)).encode()
        outcome = self._middlebox.pass_on(Passing(Kind.VERDICT, Leg.DOWN, mailbox, content))
        told = carriage.Verdicts.decode(outcome[0].content).items[0][0] if outcome else 404
        if outcome:
            self._middlebox.note_reached(outcome[0])
        return datagram if told == status else datagrams.with_status(message, told)

    def _answered(self, client: _Client, message: Message, request: Request, datagram: bytes) -> bytes:
        if request.what is What.FETCH:
            return self._document(message, request, datagram)
        try:
            items = carriage.Collected.decode(message.payload).items
        except PeerMisbehaved:
            return datagram
        if message.opt.observe is not None and request.subject in client.observed:
            token, known = client.observed[request.subject]
            client.observed[request.subject] = token, max(known, int(message.opt.observe))
        self._swallow(self._boxes.arrived(items))
        rows = self._handed(request.subject)
        return datagrams.with_content(message, carriage.Collected(tuple(rows)).encode())

    def _document(self, message: Message, request: Request, datagram: bytes) -> bytes:
        outcome = self._middlebox.pass_on(Passing(request.kind, Leg.DOWN, request.subject, message.payload))
        if not outcome:
            refusal = message.copy(payload=b"", code=Code.NOT_FOUND, content_format=None)
            return datagrams.write(refusal)
        if len(outcome[0].content) > datagrams.ROOM:
            return datagram
        self._middlebox.note_reached(outcome[0])
        return datagrams.with_content(message, outcome[0].content)

    def _handed(self, mailbox: str) -> list[Row]:
        rows = datagrams.fitting(self._boxes.ready([mailbox], datagrams.ROOM))
        self._boxes.handed_out(rows)
        return rows

    def _swallow(self, items: list[tuple[str, int]]) -> None:
        if items and len(self._tasks) < _MOST_UNDER_WAY:
            self._spawn(self._forget([Collected(mailbox, sequence, b"") for mailbox, sequence in items]))

    async def _forget(self, items: list[Collected]) -> None:
        if self._own is None:
            return
        try:
            await self._own.acknowledge(items)
        except SealwayError as error:
            log.warning("the gateway was not told what to forget: %s", error.message)

    async def _look_after(self) -> None:
        """Notify observers of what the middlebox has for them."""
        while True:
            await asyncio.sleep(LOOK_S)
            for client in list(self._clients.values()):
                for mailbox in list(client.observed):
                    if self._boxes.has_news(mailbox):
                        self._notify(client, mailbox)

    def _notify(self, client: _Client, mailbox: str) -> None:
        token, number = client.observed[mailbox]
        content = carriage.Collected(tuple(self._handed(mailbox))).encode()
        client.observed[mailbox] = token, number + 1
        client.next_mid = (client.next_mid + 1) & 0xFFFF
        self._down(client, datagrams.notification(token, client.next_mid, number + 1, content))

    # datagrams -------------------------------------------------------------------------------------------------
    def _up(self, client: _Client, datagram: bytes) -> None:
        if client.upstream is not None and not client.upstream.is_closing():
            client.upstream.sendto(datagram)

    def _down(self, client: _Client, datagram: bytes) -> None:
        if self._front is not None and not self._front.is_closing():
            self._front.sendto(datagram, client.address)


class _Front(asyncio.DatagramProtocol):
    """The socket that clients send to."""

    def __init__(self, take: Any) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._take(data, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("a client has gone: %r", exc)


class _Back(asyncio.DatagramProtocol):
    """A client's socket towards the gateway."""

    def __init__(self, take: Any) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._take(data)

    def error_received(self, exc: Exception) -> None:
        log.debug("the gateway is away: %r", exc)


def _trim(table: OrderedDict[Any, Any], most: int) -> None:
    while len(table) > most:
        table.popitem(last=False)
