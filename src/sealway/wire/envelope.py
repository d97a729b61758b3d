# SPDX-License-Identifier: Apache-2.0
"""The envelope: a tagged COSE_Encrypt0 (RFC 9052 §5.2), strict in both directions.

Invariant: ``Envelope.decode(b).encode() == b``, and ``protected`` is the very part of b that the AEAD's associated data
covers. Nothing lies outside that and the ciphertext: the unprotected bucket is empty.

Most envelopes carry no claims, start header or opener: they are *steady*. For them both directions use byte templates;
everything else goes through the general CBOR codec. A property test holds the two equal on every input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor, shape
from sealway.wire.header import Claims, Opener, StartHeader

MAX_ENVELOPE_BYTES = 262_144
TAG_ENCRYPT0 = 16
NONCE_BYTES = 13  # suites 1 and 2; suite 3 has 12 and is reserved

AES_CCM_16_64_128, AES_CCM_16_128_128, CHACHA20_POLY1305 = 10, 30, 24  # RFC 9053 §4.2, §4.3
TAG_BYTES = {AES_CCM_16_64_128: 8, AES_CCM_16_128_128: 16, CHACHA20_POLY1305: 16}
_TAG_PREFIX = {alg: slice(-size, 4 - size) for alg, size in TAG_BYTES.items()}  # 4 bytes: what a receipt names it by
SUITE_OF_ALG = {AES_CCM_16_64_128: 1, AES_CCM_16_128_128: 2, CHACHA20_POLY1305: 3}

# COSE header labels (RFC 9052 §3.1, RFC 9597 §2; those under -65536 are private, see spec/labels.md)
LABEL_ALG, LABEL_KID, LABEL_PARTIAL_IV, LABEL_CLAIMS = 1, 4, 6, 15
LABEL_START, LABEL_OPENER = -65537, -65538

_FRONT = b"\xd0\x83"  # tag 16, array of three
_EMPTY_UNPROTECTED = b"\xa0"
_ENC_STRUCTURE, _NO_EXTERNAL_AAD = b"\x83\x68Encrypt0", b"\x40"
_STEADY = {  # map of three; alg; the label of kid
    AES_CCM_16_64_128: b"\xa3\x01\x0a\x04",
    AES_CCM_16_128_128: b"\xa3\x01\x18\x1e\x04",
    CHACHA20_POLY1305: b"\xa3\x01\x18\x18\x04",
}
_KID_SIZES, _NUMBER_SIZES = range(1, 9), range(1, 5)


class _Steady(NamedTuple):
    """Where the parts of a steady envelope lie: offsets into its bytes."""

    alg: int
    kid_at: int
    kid_end: int
    number_at: int
    number_end: int
    number_head: bytes
    """What stands between kid and number: the label of the Partial IV, and the head of its value."""


def _steady_forms() -> Iterator[tuple[bytes, _Steady]]:
    """Yield every steady form and what it begins with: up to the head of the kid, all lengths are known."""
    for (alg, template), kid_size, number_size in product(_STEADY.items(), _KID_SIZES, _NUMBER_SIZES):
        header_size = len(template) + 1 + kid_size + 2 + number_size
        front = b"%b%c%b%c" % (_FRONT, 0x40 | header_size, template, 0x40 | kid_size)
        kid_end = len(front) + kid_size
        ends = (kid_end, kid_end + 2, kid_end + 2 + number_size)
        yield front, _Steady(alg, len(front), *ends, b"\x06%c" % (0x40 | number_size))


_STEADY_FORMS = dict(_steady_forms())
# The empty unprotected bucket and the first byte of the ciphertext's head: how many bytes bucket and head have.
_WIDTHS = {b"\xa0%c" % (0x40 | size): 2 for size in range(24)} | {b"\xa0\x58": 3, b"\xa0\x59": 4, b"\xa0\x5a": 6}
_MOST_FRONTS = 1024  # headers without their numbers that are kept encoded: one or two for each session


@dataclass(frozen=True, slots=True)
class Envelope:
    """One sealed message as every hop sees it.

    Fields: ``kid`` names the key to the receiver (1 to 8 bytes); ``number`` is the message number (uint32), sent as
    Partial IV; ``ciphertext`` includes the AEAD's tag; ``alg`` is the COSE algorithm of the suite (10, 30 or 24);
    ``claims``, ``start`` and ``opener`` are absent in the steady state. ``protected`` is the content of the protected
    bucket, exactly as it travels.
    """

    kid: bytes
    number: int
    ciphertext: bytes
    alg: int = AES_CCM_16_64_128
    claims: Claims | None = None
    start: StartHeader | None = None
    opener: Opener | None = None
    protected: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_header(self.alg, self.kid, self.number, self.start, self.opener)
        shape.bstr(self.ciphertext, "ciphertext", TAG_BYTES[self.alg] + 1, MAX_ENVELOPE_BYTES)
        protected = _protected(self.alg, self.kid, self.number, self.claims, self.start, self.opener)
        object.__setattr__(self, "protected", protected)

    @property
    def aad(self) -> bytes:
        """The associated data of the AEAD: the encoded Enc_structure (RFC 9052 §5.3) with empty external_aad."""
        protected = self.protected
        return _ENC_STRUCTURE + cbor.bstr_head(len(protected)) + protected + _NO_EXTERNAL_AAD

    @property
    def tag_prefix(self) -> bytes:
        """The first 4 bytes of the AEAD's tag: how a receipt or a freshness reference names this envelope."""
        return self.ciphertext[_TAG_PREFIX[self.alg]]

    @property
    def size(self) -> int:
        """How many bytes it has encoded."""
        head, body = len(self.protected), len(self.ciphertext)
        return len(_FRONT) + len(cbor.bstr_head(head)) + head + 1 + len(cbor.bstr_head(body)) + body

    def encode(self) -> bytes:
        """Return the envelope's bytes. Raises TooLarge above MAX_ENVELOPE_BYTES."""
        return assemble(self.protected, self.ciphertext)

    @classmethod
    def decode(cls, data: bytes) -> Envelope:
        """Read untrusted bytes. Raises Malformed, or TooLarge above MAX_ENVELOPE_BYTES."""
        if len(data) > MAX_ENVELOPE_BYTES:
            raise TooLarge(f"envelope of {len(data)} bytes, at most {MAX_ENVELOPE_BYTES} allowed")
        return _decode_steady(data) or _decode_general(data)


def protected_bytes(
    alg: int,
    kid: bytes,
    number: int,
    claims: Claims | None = None,
    start: StartHeader | None = None,
    opener: Opener | None = None,
) -> bytes:
    """Return the content of the protected bucket, which a sender needs before the ciphertext. Raises Malformed."""
    if claims is None and start is None and opener is None and type(number) is int and 0 <= number <= shape.UINT32:
        return _steady_protected(alg, kid, number)
    _check_header(alg, kid, number, start, opener)
    return _protected(alg, kid, number, claims, start, opener)


def enc_structure(protected: bytes) -> bytes:
    """Return the encoded Enc_structure ["Encrypt0", protected, h''] (RFC 9052 §5.3)."""
    return _ENC_STRUCTURE + cbor.bstr_head(len(protected)) + protected + _NO_EXTERNAL_AAD


def nonce(base_iv: bytes, number: int) -> bytes:
    """Return Base IV XOR the left-padded Partial IV (RFC 9052 §3.1). ``base_iv`` has the nonce's length, 12 or 13."""
    size = len(base_iv)
    return (int.from_bytes(base_iv, "big") ^ number).to_bytes(size, "big")


def tag_prefix(alg: int, ciphertext: bytes) -> bytes:
    """Return the first 4 bytes of the AEAD's tag, which ends the ciphertext."""
    return ciphertext[_TAG_PREFIX[alg]]


def assemble(protected: bytes, ciphertext: bytes) -> bytes:
    """Return the envelope's bytes from its two parts (as made by this module). Raises TooLarge."""
    heads = cbor.bstr_head(len(protected)), cbor.bstr_head(len(ciphertext))
    data = b"".join((_FRONT, heads[0], protected, _EMPTY_UNPROTECTED, heads[1], ciphertext))
    if len(data) > MAX_ENVELOPE_BYTES:
        raise TooLarge(f"envelope of {len(data)} bytes, at most {MAX_ENVELOPE_BYTES} allowed")
    return data


def _check_header(alg: int, kid: bytes, number: int, start: StartHeader | None, opener: Opener | None) -> None:
    if type(alg) is not int or alg not in TAG_BYTES:
        raise Malformed("alg: 10, 30 or 24 expected")
    shape.bstr(kid, "kid", 1, 8)
    shape.uint(number, "message number")
    if opener is not None and opener.chain_first > number:
        raise Malformed("opener: a chain that begins after this message")
    if opener is not None and start is not None and opener.x is not None:
        raise Malformed("opener: a key beside a start header, which is the first key itself")


def _protected(
    alg: int, kid: bytes, number: int, claims: Claims | None, start: StartHeader | None, opener: Opener | None
) -> bytes:
    if claims is None and start is None and opener is None:
        return _steady_protected(alg, kid, number)
    partial_iv = number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")
    header: dict[int, Any] = {LABEL_ALG: alg, LABEL_KID: kid, LABEL_PARTIAL_IV: partial_iv}
    for label, part in ((LABEL_CLAIMS, claims), (LABEL_START, start), (LABEL_OPENER, opener)):
        if part is not None:
            header[label] = part.to_value()
    return cbor.encode(header)


def _steady_protected(alg: int, kid: bytes, number: int) -> bytes:
    size = (number.bit_length() + 7) >> 3 or 1
    return _steady_front(alg, kid, size) + number.to_bytes(size, "big")


@lru_cache(_MOST_FRONTS)
def _steady_front(alg: int, kid: bytes, size: int) -> bytes:
    """Return a steady header up to the value of its Partial IV, which has ``size`` bytes. Raises Malformed."""
    _check_header(alg, kid, 0, None, None)
    return b"%b%c%b\x06%c" % (_STEADY[alg], 0x40 | len(kid), kid, 0x40 | size)


def _decode_steady(data: bytes) -> Envelope | None:
    """Return what the general parser would, or None if this is not its to judge."""
    form = _STEADY_FORMS.get(data[:8]) or _STEADY_FORMS.get(data[:9])
    if form is None:
        return None
    alg, kid_at, kid_end, number_at, number_end, number_head = form
    width = _WIDTHS.get(data[number_end : number_end + 2])
    if width is None or data[kid_end:number_at] != number_head:
        return None
    if data[number_at] == 0 and number_end - number_at > 1:
        return None  # a leading zero
    at = number_end + width
    ciphertext = data[at:]
    size = len(ciphertext)
    if data[number_end + 1 : at] != cbor.bstr_head(size) or size <= TAG_BYTES[alg]:
        return None
    kid, number = data[kid_at:kid_end], int.from_bytes(data[number_at:number_end], "big")
    envelope = _Proven(kid, number, ciphertext, alg, data[3:number_end])
    envelope.__class__ = Envelope  # type: ignore[assignment]
    return envelope  # type: ignore[return-value]


class _Proven:
    """What becomes an Envelope without its constructor, which would prove again what the template has proven.

    It has the same slots, so an instance can change its class; until then, and only until then, it can be written to.
    """

    __slots__ = Envelope.__slots__

    def __init__(self, kid: bytes, number: int, ciphertext: bytes, alg: int, protected: bytes) -> None:
        self.kid, self.number, self.ciphertext, self.alg, self.protected = kid, number, ciphertext, alg, protected
        self.claims = self.start = self.opener = None


def _decode_general(data: bytes) -> Envelope:
    parts = shape.array(cbor.decode_tagged(TAG_ENCRYPT0, data, limit=MAX_ENVELOPE_BYTES), "COSE_Encrypt0", 3, 3)
    protected, unprotected, ciphertext = parts
    shape.bstr(protected, "protected header", 1, MAX_ENVELOPE_BYTES)
    shape.fields(unprotected, "unprotected header", ())
    header = _decode_header(protected)
    shape.bstr(ciphertext, "ciphertext", 1, MAX_ENVELOPE_BYTES)
    return Envelope(header[LABEL_KID], _number(header[LABEL_PARTIAL_IV]), ciphertext, **_named(header))


def _decode_header(protected: bytes) -> dict[int, Any]:
    # RFC 9052 §3.1: crit (2) is among the labels that are unknown here, and so refused.
    required, optional = (LABEL_ALG, LABEL_KID, LABEL_PARTIAL_IV), (LABEL_CLAIMS, LABEL_START, LABEL_OPENER)
    return shape.fields(cbor.decode(protected, limit=MAX_ENVELOPE_BYTES), "protected header", required, optional)


def _number(partial_iv: object) -> int:
    encoded = shape.bstr(partial_iv, "Partial IV", 1, 4)
    if len(encoded) > 1 and encoded[0] == 0:
        raise Malformed("Partial IV: leading zero byte")
    return int.from_bytes(encoded, "big")


def _named(header: dict[int, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {"alg": header[LABEL_ALG]}
    if LABEL_CLAIMS in header:
        named["claims"] = Claims.from_value(header[LABEL_CLAIMS])
    if LABEL_START in header:
        named["start"] = StartHeader.from_value(header[LABEL_START])
    if LABEL_OPENER in header:
        named["opener"] = Opener.from_value(header[LABEL_OPENER])
    return named
