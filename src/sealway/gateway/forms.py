# SPDX-License-Identifier: Apache-2.0
"""The two forms of an envelope on a device's bearer: COSE, and compact where bytes count (spec/envelope.md).

Invariant: everything behind the CoAP face of a gateway means the COSE form. What comes in compact form is converted
before anything is decided about it, and what goes out in it is the same envelope, byte for byte, once it is converted
back. Neither needs a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from sealway.errors import Malformed, TooLarge
from sealway.gateway.blocks import too_large
from sealway.transports.coap_api import FORMAT_COMPACT
from sealway.transports.ports import Collected
from sealway.wire import carriage
from sealway.wire.compact import from_compact, is_compactable, to_compact
from sealway.wire.envelope import MAX_ENVELOPE_BYTES, Envelope

_MARGIN: Final = 64  # bytes of a datagram that a Collected leaves free
_ITEM_OVERHEAD: Final = 34  # bytes of CBOR around an envelope in a Collected

Row: TypeAlias = tuple[int, bool, bytes]


def taken(payload: bytes, content_format: int | None, most: int) -> bytes:
    """Return the COSE form of an envelope that a device deposits in either.

    Raises Malformed; TooLarge, or Refusal 4.13, where its COSE form has more than ``most`` bytes.
    """
    if content_format != FORMAT_COMPACT:
        Envelope.decode(payload)
        return payload
    envelope = from_compact(payload).encode()
    if len(envelope) > min(most, MAX_ENVELOPE_BYTES):
        raise too_large(most)
    return envelope


def collected(waiting: Sequence[Collected], most: int) -> bytes:
    """Return a Collected of the first of these, and of those after it that fit the same datagram of ``most`` bytes."""
    size = 0
    rows: list[tuple[str, int, bytes]] = []
    for item in waiting:
        size += len(item.envelope) + _ITEM_OVERHEAD
        if rows and size > most - _MARGIN:
            break
        rows.append((item.mailbox, item.sequence, item.envelope))
    return carriage.Collected(tuple(rows)).encode()


def handed(waiting: Sequence[Collected], most: int) -> carriage.Handed:
    """Return the first of these, and those after it that fit the same datagram of ``most`` bytes.

    All are COSE if a datagram takes all of them as they are. Otherwise each is compact that fits a datagram so; one
    that has no compact form, or does not fit in it either, stays COSE and goes in blocks.
    """
    rows: list[Row] = [(item.sequence, False, item.envelope) for item in waiting]
    if _size(rows) > most:
        rows = [_shorter(row, most) for row in rows]
    while len(rows) > 1 and _size(rows) > most:
        rows.pop()
    return carriage.Handed(tuple(rows))


def _shorter(row: Row, most: int) -> Row:
    sequence, _, envelope = row
    try:
        decoded = Envelope.decode(envelope)
    except (Malformed, TooLarge):  # a hop that hands over nonsense; who opens it will say so
        return row
    if not is_compactable(decoded):
        return row
    short: Row = (sequence, True, to_compact(decoded))
    return short if _size([short]) <= most else row


def _size(rows: Sequence[Row]) -> int:
    """The bytes of a Handed with at most 23 rows."""
    return 1 + sum(2 + _head(sequence) + _head(len(envelope)) + len(envelope) for sequence, _, envelope in rows)


def _head(number: int) -> int:
    """The bytes of a CBOR head (RFC 8949 §3)."""
    return 1 if number < 24 else 2 if number < 1 << 8 else 3 if number < 1 << 16 else 5 if number < 1 << 32 else 9
