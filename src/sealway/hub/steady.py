# SPDX-License-Identifier: Apache-2.0
"""What the hub has to know of an envelope, and of a batch of them, found as cheaply as strictness allows.

Invariant: nothing passes here that ``Envelope.decode`` or ``Deposits.decode`` would refuse, and nothing is refused here
at all: what has not the common form goes to those two, which say what is wrong with it. A property test holds the two
ways equal.
"""

from __future__ import annotations

import re
from typing import Final

from sealway.wire.carriage import MAX_BATCH, MAX_BATCH_BYTES, Deposits
from sealway.wire.envelope import MAX_ENVELOPE_BYTES, TAG_BYTES, Envelope

Items = tuple[tuple[str, bytes], ...]

# A tagged COSE_Encrypt0 whose protected bucket has alg, kid and Partial IV and nothing else (spec/envelope.md). Group 1
# is the content of the bucket. Heads of byte strings are the shortest ones, here and below (RFC 8949 §4.2.1).
_KID: Final = b"|".join(b"%c.{%d}" % (0x40 | size, size) for size in range(1, 9))
_PARTIAL_IV: Final = rb"\x41.|\x42[^\x00].|\x43[^\x00]..|\x44[^\x00]..."
_STEADY: Final = re.compile(
    rb"\xd0\x83[\x40-\x57](\xa3\x01(?:\x0a|\x18[\x18\x1e])\x04(?:%b)\x06(?:%b))"
    rb"\xa0(?:[\x40-\x57]|\x58[\x18-\xff]|\x59[^\x00].|\x5a\x00[^\x00]..)" % (_KID, _PARTIAL_IV),
    re.DOTALL,
).match
_LONGEST_TAG: Final = max(TAG_BYTES.values())

# One [mailbox, envelope] of a batch up to the envelope's first byte. Groups: 1 mailbox, 2 to 4 the envelope's length.
_DEPOSIT: Final = re.compile(
    rb"\x82\x70([a-z2-7]{16})(?:\x58([\x18-\xff])|\x59([^\x00].)|\x5a(\x00[^\x00]..))", re.DOTALL
).match


def expiry_of(envelope: bytes) -> int | None:
    """Return the second at which the sender lets the envelope expire, or None. Raises Malformed, TooLarge."""
    if is_steady(envelope):
        return None
    claims = Envelope.decode(envelope).claims
    return None if claims is None else claims.expires


def is_steady(envelope: bytes) -> bool:
    """Say whether this is an envelope of the common form; if not, the strict decoder has to look."""
    form = _STEADY(envelope)
    if form is None:
        return False
    end, size = form.end(1), len(envelope)  # of the protected bucket, which begins at the fourth byte
    head = envelope[end + 1]
    if head == 0x58:  # one byte of length, as most have
        return envelope[2] == end + 0x3D and size == end + 3 + envelope[end + 2]
    rest = form.end()
    length = head - 0x40 if head < 0x58 else int.from_bytes(envelope[end + 2 : rest])
    return envelope[2] == end + 0x3D and size - rest == length > _LONGEST_TAG and size <= MAX_ENVELOPE_BYTES


def deposits_in(body: bytes) -> Items:
    """Return the (mailbox, envelope) pairs of an encoded Deposits. Raises Malformed, TooLarge."""
    return _common_deposits(body) or Deposits.decode(body).items


def _common_deposits(body: bytes) -> Items | None:
    """Return the pairs if the strict decoder would take every one, or None if it has to look."""
    if not 1 < len(body) <= MAX_BATCH_BYTES:
        return None
    count, at = (body[1], 2) if body[0] == 0x98 else (body[0] - 0x80, 1)
    if not (1 <= count < 24 if at == 1 else 24 <= count <= MAX_BATCH):
        return None
    items: list[tuple[str, bytes]] = []
    for _ in range(count):
        head = _DEPOSIT(body, at)
        if head is None:
            return None
        begin, size = head.end(), body[at + 18]
        at = begin + (body[at + 19] if size == 0x58 else int.from_bytes(head[head.lastindex or 0]))
        items.append((head[1].decode(), body[begin:at]))
    # A body cut short ends before ``at``; lengths of envelopes are at most 2^24, and the strict decoder's limit less.
    if at != len(body) or (at > MAX_ENVELOPE_BYTES and max(len(item[1]) for item in items) > MAX_ENVELOPE_BYTES):
        return None
    return tuple(items)
