# SPDX-License-Identifier: Apache-2.0
"""A parcel: envelopes of one mailbox that came together and expire together, one row in the hub's database.

They have consecutive numbers, of which the parcel's own is the last. What has gone leaves a gap of size 0, so that the
others keep their numbers. A row costs far more than the bytes in it: a batch of a hundred is one row, not a hundred.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

PARCEL_BYTES: Final = 16_384
"""How much a parcel holds, unless a single envelope is larger: what is written anew when a part of it goes."""


def packed(envelopes: Sequence[bytes]) -> tuple[str, bytes]:
    """Return (sizes, content): the sizes in bytes, in decimal digits with a space between, and all envelopes joined.

    An empty one stands for one that has gone.
    """
    return " ".join(map(str, map(len, envelopes))), b"".join(envelopes)


def unpacked(sizes: str, content: bytes) -> list[bytes]:
    """Return the envelopes of a parcel, in order; empty ones have gone."""
    edges = accumulate(map(int, sizes.split()), initial=0)
    return [content[begin:end] for begin, end in pairwise(edges)]


def numbered(last: int, envelopes: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give (number, envelope) of what is still in the parcel whose own number is ``last``."""
    for number, envelope in enumerate(envelopes, last - len(envelopes) + 1):
        if envelope:
            yield number, envelope


def portions(envelopes: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Give the envelopes as parcels of at most PARCEL_BYTES, or of one."""
    if sum(map(len, envelopes)) <= PARCEL_BYTES:
        yield envelopes
        return
    begin, size = 0, 0
    for at, envelope in enumerate(envelopes):
        if at > begin and size + len(envelope) > PARCEL_BYTES:
            yield envelopes[begin:at]
            begin, size = at, 0
        size += len(envelope)
    yield envelopes[begin:]
