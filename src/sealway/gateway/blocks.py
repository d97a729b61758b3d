# SPDX-License-Identifier: Apache-2.0
"""Blockwise transfer (RFC 7959) with bounds, in place of aiocoap's own, which has none.

Invariant: an upload takes at most its resource's limit, there are at most ``uploads`` of them, and one that stands
still for ``upload_seconds`` is forgotten. Where there is no room for another, the source address with the most gives
way to one with fewer. Answers are kept for following blocks in a table of fixed size.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from aiocoap.message import Message
from aiocoap.numbers.codes import Code

from sealway.gateway.limits import Limits
from sealway.gateway.refusal import BAD_REQUEST, INCOMPLETE, TOO_LARGE, UNAVAILABLE, Refusal
from sealway.transports.coap_api import BLOCK_BYTES, BLOCK_EXPONENT

_ANSWERS: Final = 64  # answers kept for the blocks that follow the first
_ANSWER_SECONDS: Final = 60.0

Clock = Callable[[], float]


def exchange_key(request: Message) -> Hashable:
    """What all blocks of one transfer have in common: endpoint, method, resource, formats, Request-Tag (RFC 9175)."""
    options, peer, code = request.opt, request.remote.sockaddr[:2], int(request.code)
    formats = (options.content_format, options.accept)
    return (peer, code, options.uri_path, options.uri_query, formats, options.request_tag)


def answer_key(request: Message) -> Hashable:
    """The same for what fetches an answer: it has no payload any more, and so no format of one."""
    options = request.opt
    peer, code, tag = request.remote.sockaddr[:2], int(request.code), options.request_tag
    return (peer, code, options.uri_path, options.uri_query, options.accept, tag)


@dataclass(slots=True)
class _Upload:
    source: str  # the address, without the port
    touched: float
    body: bytearray = field(default_factory=bytearray)


class Uploads:
    """Puts the blocks of requests together (Block1)."""

    def __init__(self, limits: Limits, clock: Clock = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._uploads: OrderedDict[Hashable, _Upload] = OrderedDict()

    def feed(self, request: Message, limit: int) -> bytes | None:
        """Return the whole body, or None when more blocks are to come (answer 2.31 then).

        Raises Refusal: 4.13 over ``limit`` bytes, 4.08 for a block that does not follow, 4.00, 5.03.
        """
        block = request.opt.block1
        if (request.opt.size1 or 0) > limit or len(request.payload) > limit:
            raise too_large(limit)
        if block is None or (block.block_number == 0 and not block.more):
            return bytes(request.payload)
        _check_block(block, request.payload)
        return self._append(request, block, limit)

    def _append(self, request: Message, block: Any, limit: int) -> bytes | None:
        key, payload = exchange_key(request), request.payload
        upload = self._upload(key, request.remote.sockaddr[0], restart=block.block_number == 0)
        if block.start != len(upload.body):  # RFC 7959 §2.9.2
            raise Refusal(INCOMPLETE, "this block does not follow the last one; start again")
        if len(upload.body) + len(payload) > limit:
            del self._uploads[key]
            raise too_large(limit)
        upload.body += payload
        if block.more:
            return None
        del self._uploads[key]
        return bytes(upload.body)

    def _upload(self, key: Hashable, source: str, *, restart: bool) -> _Upload:
        now = self._clock()
        self._forget_idle(now)
        if restart:
            self._uploads.pop(key, None)
            if len(self._uploads) >= self._limits.uploads and not self._made_room(source):
                raise Refusal(UNAVAILABLE, "too many blockwise uploads under way")
            self._uploads[key] = _Upload(source, now)
        elif key not in self._uploads:
            raise Refusal(INCOMPLETE, "this upload is not known here any more; start again")
        self._uploads.move_to_end(key)
        self._uploads[key].touched = now
        return self._uploads[key]

    def _made_room(self, source: str) -> bool:
        """Forget the longest idle upload of the address with the most, if ``source`` will have no more than that then.

        So no address keeps others out, and none that shares its part fairly loses any of it.
        """
        counts = Counter(upload.source for upload in self._uploads.values())
        busiest, most = counts.most_common(1)[0]
        if most - 1 < counts[source] + 1:
            return False
        del self._uploads[next(key for key, upload in self._uploads.items() if upload.source == busiest)]
        return True

    def _forget_idle(self, now: float) -> None:
        horizon = now - self._limits.upload_seconds
        while self._uploads and next(iter(self._uploads.values())).touched < horizon:
            self._uploads.popitem(last=False)

    def __len__(self) -> int:
        return len(self._uploads)


def too_large(limit: int) -> Refusal:
    """4.13 with the limit in Size1."""
    return Refusal(TOO_LARGE, f"more than {limit} bytes", size=limit)


def _check_block(block: Any, payload: bytes) -> None:
    if block.size_exponent > BLOCK_EXPONENT:  # RFC 7959 §2.2: 7 is reserved on UDP
        raise Refusal(BAD_REQUEST, "reserved block size")
    if len(payload) > block.size or (block.more and len(payload) != block.size):
        raise Refusal(BAD_REQUEST, "the payload does not have the size of the block")


@dataclass(frozen=True, slots=True)
class _Kept:
    payload: bytes
    content_format: int
    until: float


class Downloads:
    """Cuts answers into blocks (Block2) and keeps them while their blocks are fetched.

    Args:
        most: bytes of payload that one datagram of the bearer takes, 16 to 1024.
    """

    def __init__(self, most: int = BLOCK_BYTES, clock: Clock = time.monotonic) -> None:
        self._most = most
        self._exponent = most.bit_length() - 5  # of the largest block that fits: 16 << exponent bytes
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def first(self, request: Message, code: int, payload: bytes, content_format: int) -> Message:
        """The answer, or its first block if it is longer than one."""
        exponent = self._size(request)
        if len(payload) <= (self._most if request.opt.block2 is None else 16 << exponent):
            return _whole(code, payload, content_format)
        kept = _Kept(payload, content_format, self._clock() + _ANSWER_SECONDS)
        key = answer_key(request)
        self._kept.pop(key, None)
        self._kept[key] = kept
        if len(self._kept) > _ANSWERS:
            self._kept.popitem(last=False)
        return _block(kept, code, 0, exponent)

    def following(self, request: Message, code: int) -> Message:
        """A later block of an answer. Raises Refusal 4.08 when it is not kept any more, 4.00 past its end."""
        kept = self._kept.get(answer_key(request))
        if kept is None or kept.until < self._clock():
            raise Refusal(INCOMPLETE, "this answer is not kept any more; start again")
        exponent = self._size(request)
        if request.opt.block2.block_number << (exponent + 4) >= len(kept.payload):
            raise Refusal(BAD_REQUEST, "past the end of the answer")
        return _block(kept, code, request.opt.block2.block_number, exponent)

    def more(self, request: Message) -> Message:
        """2.31: the next block of an upload, please; of a size that the bearer takes (RFC 7959 §2.3)."""
        block, message = request.opt.block1, Message(code=Code.CONTINUE)
        message.opt.block1 = (block.block_number, True, min(int(block.size_exponent), self._exponent))
        return message

    def _size(self, request: Message) -> int:
        block = request.opt.block2
        return self._exponent if block is None else min(int(block.size_exponent), self._exponent)


def asks_for_later_block(request: Message) -> bool:
    """Tell if the request continues a blockwise answer."""
    return request.opt.block2 is not None and request.opt.block2.block_number > 0


def _whole(code: int, payload: bytes, content_format: int) -> Message:
    return Message(code=code, payload=payload, content_format=content_format if payload else None)


def _block(kept: _Kept, code: int, number: int, exponent: int) -> Message:
    start, size = number << (exponent + 4), 16 << exponent
    message = _whole(code, kept.payload[start : start + size], kept.content_format)
    message.opt.block2 = (number, start + size < len(kept.payload), exponent)
    message.opt.etag = hashlib.sha256(kept.payload).digest()[:8]  # RFC 7959 §2.4: blocks of one representation
    if number == 0:
        message.opt.size2 = len(kept.payload)
    return message
