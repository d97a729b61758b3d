# SPDX-License-Identifier: Apache-2.0
"""aiocoap with bounds: a server context whose memory does not grow with what strangers send.

aiocoap 0.4 remembers every request for 247 seconds, renders any number at a time, and lets a datagram that is not
UTF-8 where it should be raise through the event loop. Here the memory of duplicates, the requests at work and the
time that answers are repeated all have limits, and what cannot be decoded is counted and dropped.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiocoap.message import Direction, Message
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.types import CON
from aiocoap.pipe import Pipe
from aiocoap.protocol import Context
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.udp6 import MessageInterfaceUDP6

from sealway.errors import LocalMisuse, TransportFailed

_log = logging.getLogger("sealway.coap")

_RECEIVE_BUFFER = 4 * 1024 * 1024  # bytes of datagrams the kernel may hold for us; it may grant less


class Tuning(TransportTuning):  # type: ignore[misc]  # aiocoap is untyped
    """RFC 7252 §4.8 parameters for a hop nearby: a silent peer is noticed within 10 seconds instead of 93."""

    ACK_TIMEOUT = 1.0  # seconds; §4.8.1 warns against less
    MAX_RETRANSMIT = 2  # 1, 3 and (giving up) 7 seconds after the first, times 1.0 to 1.5


@dataclass(frozen=True, slots=True)
class StackLimits:
    """Bounds of the message layer."""

    remembered: int = 4096  # answered requests kept to recognise duplicates (RFC 7252 §4.5)
    remembered_for: float = 60.0  # seconds
    at_work: int = 4096  # requests being answered at one time, observations included


class Site(Protocol):
    """What answers requests: puts responses into the pipe, or raises an aiocoap RenderableError."""

    async def render_to_pipe(self, pipe: Pipe) -> None:
        """Answer ``pipe.request``; cancelled when the client loses interest."""


class _Messages(MessageManager):  # type: ignore[misc]
    """aiocoap's message layer with a bounded memory of duplicates and bounded work."""

    def __init__(self, tokens: TokenManager, limits: StackLimits, count: Callable[[str], None]) -> None:
        super().__init__(tokens)
        self._limits = limits
        self._count = count
        self._recent_messages: OrderedDict[Any, Any] = OrderedDict()
        self._first_seen: OrderedDict[Any, float] = OrderedDict()

    def _deduplicate_message(self, message: Message) -> bool:
        key = (message.remote, message.mid)
        self._forget_old()
        if key in self._recent_messages:
            self._answer_again(message, self._recent_messages[key])
            return True
        self._recent_messages[key] = None
        self._first_seen[key] = time.monotonic()
        return False

    def _answer_again(self, message: Message, answer: bytes | None) -> None:
        self._count("coap_duplicates")
        if message.mtype is CON and answer is not None:
            again = Message.decode(answer, message.remote.as_response_address())
            again.direction = Direction.OUTGOING
            self._send_via_transport(again)

    def _store_response_for_duplicates(self, message: Message) -> None:
        key = (message.remote, message.mid)
        if key in self._recent_messages:
            self._recent_messages[key] = message.encode()  # a tenth of what the Message takes

    def _forget_old(self) -> None:
        horizon = time.monotonic() - self._limits.remembered_for
        while self._first_seen:
            key, seen = next(iter(self._first_seen.items()))
            if seen > horizon and len(self._first_seen) < self._limits.remembered:
                return
            del self._first_seen[key]
            self._recent_messages.pop(key, None)

    def _process_request(self, request: Message) -> None:
        if len(self.token_manager.incoming_requests) >= self._limits.at_work:
            self._count("coap_overloaded")  # silence: the client repeats it after its timeout (RFC 7252 §4.2)
            self._recent_messages.pop((request.remote, request.mid), None)
            self._first_seen.pop((request.remote, request.mid), None)
            return
        super()._process_request(request)


class _Endpoint(MessageInterfaceUDP6):  # type: ignore[misc]
    """aiocoap's UDP endpoint; a datagram that does not decode is counted and dropped."""

    count: Callable[[str], None]

    def datagram_msg_received(self, data: bytes, ancdata: Any, flags: int, address: Any) -> None:
        try:
            super().datagram_msg_received(data, ancdata, flags, address)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's bytes raise in the parser stays here
            self.count("coap_malformed_datagrams")
            _log.debug("dropped a datagram of %d bytes: %r", len(data), error)


def loopback_address(host: str) -> str:
    """Return ``host`` as an IPv6 literal (IPv4 mapped), if it is a loopback address.

    Raises LocalMisuse for every other address: without DTLS, plain CoAP stays on this machine.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise LocalMisuse(f"{host!r} is not an IP address", hint="use 127.0.0.1 or ::1") from None
    if not address.is_loopback:
        raise LocalMisuse(
            f"plain CoAP on {host} would show metadata to the network",
            hint="until there is DTLS, listen on 127.0.0.1 or ::1 only",
        )
    return str(address) if address.version == 6 else f"::ffff:{address}"


def any_address(host: str) -> str:
    """Return ``host`` as an IPv6 literal (IPv4 mapped): for what protects itself, such as joining.

    Raises LocalMisuse if it is no IP address.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise LocalMisuse(f"{host!r} is not an IP address", hint="such as 192.0.2.7, or 0.0.0.0 for all") from None
    return str(address) if address.version == 6 else f"::ffff:{address}"


async def open_server(
    site: Site, host: str, port: int, *, limits: StackLimits, count: Callable[[str], None],
    checked: Callable[[str], str] = loopback_address,
) -> tuple[Context, int]:  # fmt: skip
    """Listen on an address and return (context, real port); ``port`` 0 takes a free one.

    ``count`` is called with the name of a counter for each datagram refused here; ``checked`` turns the address into an
    IPv6 literal. Raises what that does (LocalMisuse for an address that is not loopback), TransportFailed when the port
    is taken.
    """
    sock = _bound_socket(checked(host), port)
    loop = asyncio.get_running_loop()
    context = Context(loop=loop, serversite=site, loggername="sealway.coap.server")
    context.log.setLevel(logging.ERROR)  # below that it writes a line for every odd datagram
    tokens = TokenManager(context)
    messages = _Messages(tokens, limits, count)
    endpoint = await _Endpoint._create_transport_endpoint(sock, messages, context.log, loop)
    endpoint.count = count
    messages.message_interface = endpoint
    tokens.token_interface = messages
    context.request_interfaces.append(tokens)
    return context, int(sock.getsockname()[1])


def _bound_socket(address: str, port: int) -> socket.socket:
    """A datagram socket without SO_REUSEPORT: a second gateway on the port is an error, not half of the traffic."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise TransportFailed(
            f"cannot listen on {address} port {port}: {error.strerror}", hint="choose another port, or 0 for a free one"
        ) from error
    return sock


async def open_client() -> Context:
    """Return a client context on a socket of its own."""
    context = await Context.create_client_context(loggername="sealway.coap.client", transports=["udp6"])
    context.log.setLevel(logging.ERROR)
    return context
