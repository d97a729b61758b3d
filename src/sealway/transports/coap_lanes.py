# SPDX-License-Identifier: Apache-2.0
"""CoAP requests over several sockets ("lanes"), each with one exchange under way (NSTART 1, RFC 7252 §4.7).

aiocoap keeps one outstanding confirmable message to a peer. A lane is a socket of its own, so a window of lanes has as
many exchanges under way. Blockwise transfers are done here, with a limit on what an answer may grow to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiocoap.error import Error as CoapError
from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from aiocoap.protocol import Context

from sealway.errors import LocalMisuse, SealwayError, TooLarge, TransportFailed
from sealway.transports.coap_api import BLOCK_BYTES, BLOCK_EXPONENT
from sealway.transports.coap_stack import Tuning, open_client
from sealway.transports.ports import DEFAULT_HOPS


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask: code byte, Uri-Path, Uri-Query, payload with its content format, hop limit, format wanted."""

    code: int
    path: tuple[str, ...]
    query: tuple[str, ...] = ()
    payload: bytes = b""
    content_format: int | None = None
    hops: int = DEFAULT_HOPS
    accept: int | None = None

    def message(self, remote: Any) -> Message:
        """The CoAP message, without its payload."""
        message = Message(code=self.code, transport_tuning=Tuning())
        message.remote = remote
        message.opt.uri_path, message.opt.uri_query = self.path, self.query
        message.opt.content_format = self.content_format
        message.opt.accept = self.accept
        if self.hops != DEFAULT_HOPS:
            message.opt.hop_limit = self.hops
        return message


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: code byte, whole payload and its content format."""

    code: int
    payload: bytes
    content_format: int | None = None

    @property
    def successful(self) -> bool:
        """True for the codes of class 2."""
        return self.code >> 5 == 2


def check_uri(uri: str) -> str:
    """Return the URI of a gateway. Raises LocalMisuse if it is not coap://host[:port]."""
    parts = urlsplit(uri)
    if parts.scheme != "coap" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise LocalMisuse(f"{uri!r} is not a gateway's URI", hint="write coap://127.0.0.1:5683")
    return uri.rstrip("/")


class Lane:
    """One socket and the peer's resolved address."""

    def __init__(self, context: Context, remote: Any) -> None:
        self.context = context
        self.remote = remote

    @classmethod
    async def open(cls, uri: str) -> Lane:
        """Open a socket and resolve ``uri``. Raises TransportFailed."""
        context = await open_client()
        probe = Message(code=Code.GET, uri=uri)
        try:
            await context.find_remote_and_interface(probe)
        except (CoapError, OSError) as error:
            await context.shutdown()
            raise TransportFailed(f"cannot resolve {uri}: {error}") from error
        return cls(context, probe.remote)

    async def exchange(self, request: Request, most: int) -> Response:
        """Ask, blockwise if need be (RFC 7959). Raises aiocoap errors, OSError, or TooLarge past ``most`` bytes."""
        answer = await self._upload(request)
        if answer.opt.block2 is None or not answer.opt.block2.more:
            return _response(answer, answer.payload)
        return await self._download(request, answer, most)

    async def _send(self, message: Message) -> Message:
        return await self.context.request(message, handle_blockwise=False).response

    async def _upload(self, request: Request) -> Message:
        """Send the request in one message, or block after block (Block1)."""
        message = request.message(self.remote)
        if len(request.payload) <= BLOCK_BYTES:
            message.payload = request.payload
            return await self._send(message)
        offset, exponent = 0, BLOCK_EXPONENT
        while True:
            end = offset + (16 << exponent)
            answer = await self._send(_block(request, self.remote, offset, exponent))
            if answer.code != Code.CONTINUE or end >= len(request.payload):
                return answer
            offset = end
            if answer.opt.block1 is not None:  # the server may ask for smaller blocks (RFC 7959 §2.3)
                exponent = min(exponent, int(answer.opt.block1.size_exponent))

    async def _download(self, request: Request, first: Message, most: int) -> Response:
        """Fetch the blocks after the first (Block2); all must be of one representation, as its ETag says."""
        body = bytearray(first.payload)
        exponent = int(first.opt.block2.size_exponent)
        more = True
        while more:
            if len(body) > most:
                raise TooLarge(f"an answer of more than {most} bytes")
            message = request.message(self.remote)
            message.opt.content_format = None
            message.opt.block2 = (len(body) >> (exponent + 4), False, exponent)
            answer = await self._send(message)
            more = _append(body, answer, first)
        return _response(first, bytes(body))

    async def close(self) -> None:
        """Close the socket."""
        await self.context.shutdown()


def _response(first: Message, payload: bytes) -> Response:
    number = first.opt.content_format
    return Response(int(first.code), payload, None if number is None else int(number))


def _block(request: Request, remote: Any, offset: int, exponent: int) -> Message:
    message = request.message(remote)
    end = offset + (16 << exponent)
    message.payload = request.payload[offset:end]
    message.opt.block1 = (offset >> (exponent + 4), end < len(request.payload), exponent)
    if offset == 0:
        message.opt.size1 = len(request.payload)
    return message


def _append(body: bytearray, answer: Message, first: Message) -> bool:
    """Append a block to what there is of the answer; True if more follow. Raises TransportFailed if it does not fit."""
    block = answer.opt.block2
    if block is None or not answer.code.is_successful() or answer.opt.etag != first.opt.etag:
        raise TransportFailed("the answer changed while it was fetched")
    if block.start != len(body) or (block.more and len(answer.payload) != block.size):
        raise TransportFailed("a block of the answer is out of place")
    body += answer.payload
    return bool(block.more)


class Lanes:
    """A window of lanes to one gateway; opened as they are needed, the last used first."""

    def __init__(self, uri: str, *, window: int, timeout: float, most: int) -> None:
        self._uri = uri
        self._timeout = timeout
        self._most = most
        self._free = asyncio.Semaphore(window)
        self._idle: list[Lane] = []
        self._all: list[Lane] = []
        self.failed: Callable[[], None] = lambda: None  # called when an exchange got no answer
        self._retiring: set[asyncio.Task[None]] = set()

    async def ask(self, request: Request, *, unless: Callable[[], TransportFailed | None] | None = None) -> Response:
        """One exchange. Raises TransportFailed when there is no answer within the time limit, TooLarge.

        ``unless`` is called when it is this request's turn: if it returns an error, that is raised and nothing is sent.
        """
        async with self._free:
            failure = unless() if unless is not None else None
            if failure is not None:
                raise failure
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._exchange(request)
            except SealwayError:
                raise
            except Exception as error:  # aiocoap raises its own, OSError and, for odd bytes, anything
                self.failed()
                raise unreachable(self._uri, error) from error

    async def _exchange(self, request: Request) -> Response:
        lane = await self._take()
        try:
            response = await lane.exchange(request, self._most)
        except (CoapError, SealwayError, OSError):
            self._idle.append(lane)
            raise
        except BaseException:  # timed out or cancelled: the lane may still be repeating its message
            self._retire(lane)
            raise
        self._idle.append(lane)
        return response

    async def _take(self) -> Lane:
        if self._idle:
            return self._idle.pop()
        lane = await Lane.open(self._uri)
        self._all.append(lane)
        return lane

    def _retire(self, lane: Lane) -> None:
        self._all.remove(lane)
        task = asyncio.create_task(lane.close())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Close all lanes."""
        lanes, self._all, self._idle = self._all, [], []
        await asyncio.gather(*self._retiring, *(lane.close() for lane in lanes))


def unreachable(uri: str, error: Exception) -> TransportFailed:
    """The error for a gateway that did not answer."""
    why = "no answer in time" if isinstance(error, TimeoutError) or not str(error) else str(error)
    return TransportFailed(f"cannot reach the gateway at {uri}: {why}", hint="is it running?")
