# SPDX-License-Identifier: Apache-2.0
"""The envelope: a tagged COSE_Encrypt0 (RFC 9052 §5.2), strict in both directions.

Invariant: ``Envelope.decode(b).encode() == b``, and ``protected`` is the very part of b that the AEAD's associated data
covers. Nothing lies outside that and the ciphertext: the unprotected bucket is empty.

Most envelopes carry no claims, start header or opener. For them both directions use byte templates; everything else
goes through the general CBOR codec. A property test holds the two equal on every input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor, shape
from sealway.wire.header import Claims, Opener, StartHeader

MAX_ENVELOPE_BYTES = 262_144
TAG_ENCRYPT0 = 16
NONCE_BYTES = 13  # suites 1 and 2; suite 3 has 12 and is reserved

AES_CCM_16_64_128, AES_CCM_16_128_128, CHACHA20_POLY1305 = 10, 30, 24  # RFC 9053 §4.2, §4.3
TAG_BYTES = {AES_CCM_16_64_128: 8, AES_CCM_16_128_128: 16, CHACHA20_POLY1305: 16}
SUITE_OF_ALG = {AES_CCM_16_64_128: 1, AES_CCM_16_128_128: 2, CHACHA20_POLY1305: 3}

# COSE header labels (RFC 9052 §3.1, RFC 9597 §2; those under -65536 are private, see spec/labels.md)
LABEL_ALG, LABEL_KID, LABEL_PARTIAL_IV, LABEL_CLAIMS = 1, 4, 6, 15
LABEL_START, LABEL_OPENER = -65537, -65538

_FRONT = b"\xd0\x83"  # tag 16, array of three
_EMPTY_UNPROTECTED = b"\xa0"
_STEADY = {  # map of three; alg; the label of kid
    AES_CCM_16_64_128: b"\xa3\x01\x0a\x04",
    AES_CCM_16_128_128: b"\xa3\x01\x18\x1e\x04",
    CHACHA20_POLY1305: b"\xa3\x01\x18\x18\x04",
}
_ALG_OF_STEADY = {template: alg for alg, template in _STEADY.items()}


def _sized(sizes: range, first: bytes = b".") -> bytes:
    """Return a pattern for a byte string with a one-byte head, of one of these sizes."""
    forms = [re.escape(cbor.bstr_head(size)) + (first if size > 1 else b".") + b".{%d}" % (size - 1) for size in sizes]
    return b"|".join(forms)


# Groups: 1 length head of the protected bucket, 2 protected, 3 map head to kid's label, 4 kid with its head, 5 Partial
# IV with its head, 6 head of the ciphertext. Every alternative begins with another byte: matching never backtracks far.
_STEADY_FORM = re.compile(
    rb"\xd0\x83([\x40-\x57])((%s)(%s)\x06(%s))\xa0([\x49-\x57]|\x58.|\x59..|\x5a....)"
    % (b"|".join(map(re.escape, _ALG_OF_STEADY)), _sized(range(1, 9)), _sized(range(1, 5), rb"[^\x00]")),
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One sealed message as every hop sees it.

    Fields: ``kid`` names the key to the receiver (1 to 8 bytes); ``number`` is the message number (uint32), sent as
    Partial IV; ``ciphertext`` includes the AEAD's tag; ``alg`` is the COSE algorithm of the suite (10, 30 or 24);
    ``claims``, ``start`` and ``opener`` are absent in the steady state.
    """

    kid: bytes
    number: int
    ciphertext: bytes
    alg: int = AES_CCM_16_64_128
    claims: Claims | None = None
    start: StartHeader | None = None
    opener: Opener | None = None

    def __post_init__(self) -> None:
        _check_header(self.alg, self.kid, self.number, self.start, self.opener)
        shape.bstr(self.ciphertext, "ciphertext", TAG_BYTES[self.alg] + 1, MAX_ENVELOPE_BYTES)

    @property
    def protected(self) -> bytes:
        """The content of the protected bucket, exactly as it travels."""
        return _protected(self.alg, self.kid, self.number, self.claims, self.start, self.opener)

    @property
    def aad(self) -> bytes:
        """The associated data of the AEAD: the encoded Enc_structure (RFC 9052 §5.3) with empty external_aad."""
        return enc_structure(self.protected)

    @property
    def tag_prefix(self) -> bytes:
        """The first 4 bytes of the AEAD's tag: how a receipt or a freshness reference names this envelope."""
        return tag_prefix(self.alg, self.ciphertext)

    def encode(self) -> bytes:
        """Return the envelope's bytes. Raises TooLarge above MAX_ENVELOPE_BYTES."""
        return assemble(self.protected, self.ciphertext)

    @classmethod
    def decode(cls, data: bytes) -> Envelope:
        """Read untrusted bytes. Raises Malformed, or TooLarge above MAX_ENVELOPE_BYTES."""
        if len(data) > MAX_ENVELOPE_BYTES:
            raise TooLarge(f"envelope of {len(data)} bytes, at most {MAX_ENVELOPE_BYTES} allowed")
        steady = _STEADY_FORM.match(data)
        if steady is None:
            return _decode_general(data)
        return _decode_steady(data, steady)


def protected_bytes(
    alg: int,
    kid: bytes,
    number: int,
    claims: Claims | None = None,
    start: StartHeader | None = None,
    opener: Opener | None = None,
) -> bytes:
    """Return the content of the protected bucket, which a sender needs before the ciphertext. Raises Malformed."""
    _check_header(alg, kid, number, start, opener)
    return _protected(alg, kid, number, claims, start, opener)


def enc_structure(protected: bytes) -> bytes:
    """Return the encoded Enc_structure ["Encrypt0", protected, h''] (RFC 9052 §5.3)."""
    return b"\x83\x68Encrypt0" + cbor.bstr_head(len(protected)) + protected + b"\x40"


def nonce(base_iv: bytes, number: int) -> bytes:
    """Return Base IV XOR the left-padded Partial IV (RFC 9052 §3.1). ``base_iv`` has the nonce's length, 12 or 13."""
    size = len(base_iv)
    return (int.from_bytes(base_iv, "big") ^ number).to_bytes(size, "big")


def tag_prefix(alg: int, ciphertext: bytes) -> bytes:
    """Return the first 4 bytes of the AEAD's tag, which ends the ciphertext."""
    start = len(ciphertext) - TAG_BYTES[alg]
    return ciphertext[start : start + 4]


def assemble(protected: bytes, ciphertext: bytes) -> bytes:
    """Return the envelope's bytes from its two parts (as made by this module). Raises TooLarge."""
    parts = (_FRONT, cbor.bstr_head(len(protected)), protected, _EMPTY_UNPROTECTED, cbor.bstr_head(len(ciphertext)))
    data = b"".join((*parts, ciphertext))
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
    partial_iv = number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")
    if claims is None and start is None and opener is None:
        kid_head, iv_head = 0x40 | len(kid), 0x40 | len(partial_iv)
        return b"%b%c%b\x06%c%b" % (_STEADY[alg], kid_head, kid, iv_head, partial_iv)
    header: dict[int, Any] = {LABEL_ALG: alg, LABEL_KID: kid, LABEL_PARTIAL_IV: partial_iv}
    for label, part in ((LABEL_CLAIMS, claims), (LABEL_START, start), (LABEL_OPENER, opener)):
        if part is not None:
            header[label] = part.to_value()
    return cbor.encode(header)


def _decode_steady(data: bytes, form: re.Match[bytes]) -> Envelope:
    bucket, protected, template, kid, partial_iv, head = form.groups()
    size = head[0] - 0x40 if len(head) == 1 else int.from_bytes(head[1:], "big")
    if bucket[0] - 0x40 != len(protected) or len(data) - form.end() != size or cbor.bstr_head(size) != head:
        raise Malformed("envelope: lengths do not add up")
    number = int.from_bytes(partial_iv[1:], "big")
    return Envelope(kid[1:], number, data[form.end() :], _ALG_OF_STEADY[template])


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
