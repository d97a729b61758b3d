# SPDX-License-Identifier: Apache-2.0
"""The structured options of a message: receipt, freshness reference, first identity, file key. Each is a small CBOR
array.

Numbers are message numbers (uint32); a ``tag`` is the first 4 bytes of the AEAD tag of the envelope that is meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from sealway.errors import Malformed
from sealway.wire import cbor, shape

Ranges = tuple[tuple[int, int], ...]  # (first, last), both included; increasing, disjoint, non-adjacent

MAX_RECEIPT_RANGES = 8
MAX_VOID_RANGES = 64
TAG_PREFIX_BYTES = 4
FILE_KEY_BYTES = 32
MIN_CHUNK, MAX_CHUNK = 1 << 10, 1 << 20  # bytes of content in a chunk of a sealed file
_PART_LIMIT = 1024  # bytes; the longest of these options has fewer
_set = object.__setattr__


@dataclass(frozen=True, slots=True)
class Receipt:
    """A sealed acknowledgement: everything up to ``number`` was opened, except the ranges.

    Fields: ``number`` the highest number acknowledged; ``tag`` 4 bytes; ``missing`` ranges not opened yet; ``gone``
    ranges that can no longer be opened (their keys were evicted). Together at most 8 ranges, all below ``number``.
    """

    number: int
    tag: bytes
    missing: Ranges = ()
    gone: Ranges = ()

    def __post_init__(self) -> None:
        shape.uint(self.number, "receipt's number")
        shape.bstr(self.tag, "receipt's tag", TAG_PREFIX_BYTES)
        shape.ranges(self.missing, "missing", MAX_RECEIPT_RANGES, self.number)
        shape.ranges(self.gone, "gone", MAX_RECEIPT_RANGES, self.number)
        if len(self.missing) + len(self.gone) > MAX_RECEIPT_RANGES:
            raise Malformed(f"receipt: more than {MAX_RECEIPT_RANGES} ranges")
        both = sorted(self.missing + self.gone)
        if any(later[0] <= earlier[1] for earlier, later in pairwise(both)):
            raise Malformed("receipt: a number both missing and gone")

    def encode(self) -> bytes:
        """Return CBOR [number, tag, [missing…], ? [gone…]]; the fourth item is absent when nothing is gone."""
        gone = [shape.flat(self.gone)] if self.gone else []
        return cbor.encode([self.number, self.tag, shape.flat(self.missing), *gone])

    @classmethod
    def decode(cls, data: bytes) -> Receipt:
        """Read an option's value. Raises Malformed or TooLarge."""
        parts = shape.array(cbor.decode(data, limit=_PART_LIMIT, depth=2), "receipt", 3, 4)
        missing = shape.paired(parts[2], "missing", MAX_RECEIPT_RANGES)
        gone = shape.paired(parts[3], "gone", MAX_RECEIPT_RANGES) if len(parts) == 4 else ()
        if len(parts) == 4 and not gone:
            raise Malformed("receipt: an empty list instead of absence")
        return cls(parts[0], parts[1], missing, gone)


@dataclass(frozen=True, slots=True)
class Freshness:
    """What makes a command fresh: a message of the device itself, and how old it may be when the command arrives.

    Fields: ``number`` and ``tag`` (4 bytes) name the device's message; ``max_age`` seconds.
    """

    number: int
    tag: bytes
    max_age: int

    def __post_init__(self) -> None:
        shape.uint(self.number, "freshness number")
        shape.bstr(self.tag, "freshness tag", TAG_PREFIX_BYTES)
        shape.uint(self.max_age, "freshness age")

    def encode(self) -> bytes:
        """Return CBOR [number, tag, max_age]."""
        return cbor.encode([self.number, self.tag, self.max_age])

    @classmethod
    def decode(cls, data: bytes) -> Freshness:
        """Read an option's value. Raises Malformed or TooLarge."""
        number, tag, max_age = shape.array(cbor.decode(data, limit=_PART_LIMIT, depth=1), "freshness", 3, 3)
        return cls(number, tag, max_age)


@dataclass(frozen=True, slots=True)
class FirstIdentity:
    """Under which (session hash of 32 bytes, number) a moved message was sealed for the first time."""

    session: bytes
    number: int

    def __post_init__(self) -> None:
        shape.bstr(self.session, "first session", 32)
        shape.uint(self.number, "first number")

    @classmethod
    def proven(cls, session: bytes, number: int) -> FirstIdentity:
        """Return that of a message just sealed or opened, which needs no check; one is made for each message."""
        made = object.__new__(cls)
        _set(made, "session", session)
        _set(made, "number", number)
        return made

    def encode(self) -> bytes:
        """Return CBOR [session, number]."""
        return cbor.encode([self.session, self.number])

    @classmethod
    def decode(cls, data: bytes) -> FirstIdentity:
        """Read an option's value. Raises Malformed or TooLarge."""
        session, number = shape.array(cbor.decode(data, limit=_PART_LIMIT, depth=1), "first identity", 2, 2)
        return cls(session, number)


@dataclass(frozen=True, slots=True)
class FileKey:
    """What opens a sealed file: spec/sealed-file.md.

    Fields: ``chunk`` bytes of content in every chunk but the last, 1 KiB to 1 MiB; ``key`` 32 random bytes, used for
    this one file.
    """

    chunk: int
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        shape.uint(self.chunk, "chunk", MIN_CHUNK, MAX_CHUNK)
        shape.bstr(self.key, "file key", FILE_KEY_BYTES)

    def encode(self) -> bytes:
        """Return CBOR [chunk, key]."""
        return cbor.encode([self.chunk, self.key])

    @classmethod
    def decode(cls, data: bytes) -> FileKey:
        """Read an option's value. Raises Malformed or TooLarge."""
        chunk, key = shape.array(cbor.decode(data, limit=_PART_LIMIT, depth=1), "file key", 2, 2)
        return cls(chunk, key)


def encode_void(ranges: Ranges) -> bytes:
    """Return CBOR [first, last, …] of the sender's own numbers that will not come again."""
    return cbor.encode(shape.flat(ranges))


def decode_void(data: bytes) -> Ranges:
    """Read an option's value: 1 to 64 ranges. Raises Malformed or TooLarge."""
    ranges = shape.paired(cbor.decode(data, limit=_PART_LIMIT, depth=1), "void", MAX_VOID_RANGES)
    if not ranges:
        raise Malformed("void: an empty list instead of absence")
    return ranges
