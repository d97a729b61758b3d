# SPDX-License-Identifier: Apache-2.0
"""An envelope in its parts, and parts put together to something that need not be a valid envelope."""

from __future__ import annotations

from typing import Any, TypeAlias

from sealway.errors import SealwayError
from sealway.wire import cbor
from sealway.wire.envelope import LABEL_PARTIAL_IV, LABEL_START, MAX_ENVELOPE_BYTES, TAG_ENCRYPT0, Envelope
from sealway.wire.header import StartHeader

Header: TypeAlias = dict[int, Any]


def taken_apart(envelope: bytes) -> tuple[Header, bytes] | None:
    """Return the header map and the ciphertext of an envelope, or None if it is none."""
    try:
        sound = Envelope.decode(envelope)
        return cbor.decode(sound.protected, limit=MAX_ENVELOPE_BYTES), sound.ciphertext
    except SealwayError:
        return None


def header_of(envelope: bytes) -> Header:
    """Return the header map of an envelope; an empty one if it is none."""
    parts = taken_apart(envelope)
    return parts[0] if parts is not None else {}


def start_of(header: Header) -> StartHeader | None:
    """Return the start header in the header of a sound envelope, if it has one."""
    return StartHeader.from_value(header[LABEL_START]) if LABEL_START in header else None


def put_together(header: Header, ciphertext: bytes, unprotected: Header | None = None) -> bytes:
    """Return the bytes of an envelope of these parts."""
    return cbor.encode_tagged(TAG_ENCRYPT0, [cbor.encode(header), unprotected or {}, ciphertext])


def number_of(header: Header) -> int:
    """Return the message number that a header shows."""
    return int.from_bytes(header[LABEL_PARTIAL_IV], "big")


def partial_iv(number: int) -> bytes:
    """Return a number as it travels."""
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")
