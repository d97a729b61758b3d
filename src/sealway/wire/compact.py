# SPDX-License-Identifier: Apache-2.0
"""The compact form of an envelope, for bearers on which each byte counts: 12 bytes more than the message.

Invariant: ``to_compact(from_compact(c)) == c`` and ``from_compact(to_compact(e)) == e``; both are the very same
envelope, with the same associated data and ciphertext, so any hop may turn one into the other, and needs no key for it.
spec/envelope.md, "Compact form".
"""

from __future__ import annotations

import re
from typing import Final

from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor
from sealway.wire.envelope import MAX_ENVELOPE_BYTES, SUITE_OF_ALG, Envelope
from sealway.wire.header import Opener

_ALG_OF_SUITE: Final = {suite: alg for alg, suite in SUITE_OF_ALG.items()}

# An opener ends where its own CBOR says. This finds the end only; the strict decoder reads what lies before it.
_UINT = rb"(?:[\x00-\x17]|\x18.|\x19..|\x1a....)"
_KEY, _SALT = rb"\x58\x20.{32}", rb"\x50.{16}"
_OPENER: Final = re.compile(
    rb"\x82%(u)b%(k)b|\x83%(u)b%(u)b%(s)b|\x85%(u)b%(k)b%(u)b%(u)b%(s)b" % {b"u": _UINT, b"k": _KEY, b"s": _SALT},
    re.DOTALL,
)


def is_compactable(envelope: Envelope) -> bool:
    """Say whether the envelope has a compact form: one that carries claims or a start header has none."""
    return envelope.claims is None and envelope.start is None


def to_compact(envelope: Envelope) -> bytes:
    """Return the compact form: flags, kid, number, opener if there is one, ciphertext. Raises Malformed."""
    if not is_compactable(envelope):
        raise Malformed("compact form: there is none with claims or a start header")
    number = envelope.number.to_bytes(_number_length(envelope.number), "big")
    opener = b"" if envelope.opener is None else cbor.encode(envelope.opener.to_value())
    suite = SUITE_OF_ALG[envelope.alg]
    flags = suite << 6 | (len(envelope.kid) - 1) << 3 | (len(number) - 1) << 1 | (envelope.opener is not None)
    return b"%c%b%b%b%b" % (flags, envelope.kid, number, opener, envelope.ciphertext)


def from_compact(data: bytes) -> Envelope:
    """Read untrusted bytes. Raises Malformed, or TooLarge above MAX_ENVELOPE_BYTES."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise TooLarge(f"envelope of {len(data)} bytes, at most {MAX_ENVELOPE_BYTES} allowed")
    flags = data[0] if data else 0
    alg = _ALG_OF_SUITE.get(flags >> 6)
    kid_end = 2 + (flags >> 3 & 7)
    number_end = kid_end + 1 + (flags >> 1 & 3)
    if alg is None or len(data) < number_end:
        raise Malformed("compact form: an unknown suite, or too short")
    number = int.from_bytes(data[kid_end:number_end], "big")
    if _number_length(number) != number_end - kid_end:
        raise Malformed("compact form: leading zero byte in the number")
    opener, end = _opener(data, number_end) if flags & 1 else (None, number_end)
    return Envelope(data[1:kid_end], number, data[end:], alg, opener=opener)


def _number_length(number: int) -> int:
    """The bytes of a Partial IV: the shortest, at least one (RFC 9052 §3.1)."""
    return (number.bit_length() + 7) // 8 or 1


def _opener(data: bytes, begin: int) -> tuple[Opener, int]:
    found = _OPENER.match(data, begin)
    if found is None:
        raise Malformed("compact form: an opener expected")
    return Opener.from_value(cbor.decode(found[0], limit=MAX_ENVELOPE_BYTES)), found.end()
