# SPDX-License-Identifier: Apache-2.0
"""How a gateway says no: every refusal is a CoAP code, a diagnostic payload (RFC 7252 §5.5.2) and a counter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiocoap.message import Message

from sealway.errors import HopRefused, SealwayError, codes_of

BAD_REQUEST: Final = 0x80
BAD_OPTION: Final = 0x82
NOT_FOUND: Final = 0x84
METHOD_NOT_ALLOWED: Final = 0x85
NOT_ACCEPTABLE: Final = 0x86
INCOMPLETE: Final = 0x88
TOO_LARGE: Final = 0x8D
UNSUPPORTED_FORMAT: Final = 0x8F
TOO_MANY: Final = 0x9D
INTERNAL: Final = 0xA0
BAD_GATEWAY: Final = 0xA2
UNAVAILABLE: Final = 0xA3
GATEWAY_TIMEOUT: Final = 0xA4
NO_PROXY: Final = 0xA5
HOP_LIMIT_REACHED: Final = 0xA8  # RFC 8768 §6

RETRY_AFTER: Final = 2  # seconds, as Max-Age of an answer that may be different soon (RFC 7252 §5.9.3.4, RFC 8516 §3)

_COUNTER: Final[Mapping[int, str]] = {
    BAD_REQUEST: "refused_malformed",
    BAD_OPTION: "refused_option",
    NO_PROXY: "refused_option",
    NOT_FOUND: "refused_path",
    METHOD_NOT_ALLOWED: "refused_method",
    NOT_ACCEPTABLE: "refused_format",
    INCOMPLETE: "refused_incomplete",
    TOO_LARGE: "refused_too_large",
    UNSUPPORTED_FORMAT: "refused_format",
    TOO_MANY: "refused_rate",
    UNAVAILABLE: "refused_full",
    HOP_LIMIT_REACHED: "refused_hops",
}
_LONGEST_TEXT: Final = 200  # bytes of diagnostic payload


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        code: the CoAP code byte of the answer.
        text: its diagnostic payload.
        counter: what to count; by default what goes with the code.
        size: the most bytes that would have been taken, for 4.13 (Size1, RFC 7959 §4).
    """

    def __init__(self, code: int, text: str, *, counter: str | None = None, size: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.counter = counter or _COUNTER.get(code, "failed_inside")
        self.size = size

    def to_message(self) -> Message:
        """The answer."""
        message = Message(code=self.code, payload=self.text.encode()[:_LONGEST_TEXT])
        if self.code in (TOO_MANY, UNAVAILABLE):
            message.opt.max_age = RETRY_AFTER
        if self.size is not None:
            message.opt.size1 = self.size
        return message


def refusal_of(error: SealwayError) -> Refusal:
    """What the gateway itself refuses: the code is that of the error."""
    return Refusal(codes_of(error)[0], _words(error))


def upstream_refusal(error: SealwayError) -> Refusal:
    """What the next hop refused or could not answer: its own code where CoAP has one."""
    code = code_of_status(error.status) if isinstance(error, HopRefused) else codes_of(error)[0]
    return Refusal(code, _words(error), counter="refused_upstream")


def code_of_status(status: int) -> int:
    """The CoAP code byte for an HTTP status, or for a code as class*100+detail (as RFC 8075 §7 maps them back)."""
    same = {400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 429, 500, 501, 502, 503, 504, 508}
    if status in same:
        return (status // 100) << 5 | status % 100
    return BAD_REQUEST if 400 <= status < 500 else BAD_GATEWAY


def _words(error: SealwayError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def upstream_status(error: SealwayError) -> int:
    """The status the next hop answered with, or that of the error: 503 for one that could not be reached."""
    return error.status if isinstance(error, HopRefused) else codes_of(error)[1]
