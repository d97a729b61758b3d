# SPDX-License-Identifier: Apache-2.0
"""A sealed file: a CBOR sequence (RFC 8742) that is read item by item. spec/sealed-file.md.

Invariant: what is read here would have been written here, byte for byte, and never more is asked for than an item may
have. Nothing is authentic yet: ``protocol`` proves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor, shape
from sealway.wire.cose import MAX_CERTIFICATE_BYTES, MAX_CHAIN, MAX_DOCUMENT_BYTES, check_chain
from sealway.wire.envelope import MAX_ENVELOPE_BYTES, Envelope

Read = Callable[[int], bytes]
"""Returns exactly as many bytes as are asked for, or fewer if there are no more."""

MAGIC = cbor.encode("sealway file 1")
"""What a sealed file of this version begins with."""
COMMITMENT_BYTES = 32
MAX_INTRODUCTION_BYTES = MAX_DOCUMENT_BYTES + MAX_CHAIN * (MAX_CERTIFICATE_BYTES + 3) + 8


@dataclass(frozen=True, slots=True)
class Introduction:
    """An endpoint's encoded signed bundle with its certificate chain (DER, leaf first): what a directory would serve.

    It proves nothing by itself; ``identity`` verifies both under the owner's root.
    """

    bundle: bytes
    chain: tuple[bytes, ...]

    def __post_init__(self) -> None:
        shape.bstr(self.bundle, "bundle", 1, MAX_DOCUMENT_BYTES)
        check_chain(self.chain, "certificate chain")

    def encode(self) -> bytes:
        """Return CBOR [bundle, [1*4 certificate]]."""
        return cbor.encode([self.bundle, list(self.chain)])

    @classmethod
    def decode(cls, data: bytes) -> Introduction:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        bundle, chain = shape.array(cbor.decode(data, limit=MAX_INTRODUCTION_BYTES, depth=2), "introduction", 2, 2)
        return cls(bundle, tuple(shape.array(chain, "certificate chain", 1, MAX_CHAIN)))


@dataclass(frozen=True, slots=True)
class Preface:
    """What stands before the content: the envelope with the file's key, and who sealed it if that begins a session.

    Fields: ``envelope`` is an ordinary one; ``introduction`` is there if and only if the envelope has a start header,
    and is of the bundle and the certificate that this names.
    """

    envelope: Envelope
    introduction: Introduction | None = None

    def __post_init__(self) -> None:
        start, introduction = self.envelope.start, self.introduction
        if (start is None) != (introduction is None):
            raise Malformed("a sealed file has an introduction if and only if its envelope begins a session")
        if start is None or introduction is None:
            return
        named = (start.bundle_hash, start.x5t)
        if named != tuple(hashlib.sha256(part).digest() for part in (introduction.bundle, introduction.chain[0])):
            raise Malformed("the introduction is not of whom the envelope names")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the encoded preface: every byte of the file before the commitment."""
        return hashlib.sha256(self.encode()).digest()

    def encode(self) -> bytes:
        """Return the sequence's first three items."""
        introduction = b"" if self.introduction is None else self.introduction.encode()
        return MAGIC + item(introduction) + item(self.envelope.encode())

    @classmethod
    def decode(cls, data: bytes) -> Preface:
        """Read a preface that fills ``data``. Raises Malformed or TooLarge."""
        rest = Cursor(data)
        preface = cls.read(rest.read)
        if rest.read(1):
            raise Malformed("bytes after the preface of a sealed file")
        return preface

    @classmethod
    def read(cls, read: Read) -> Preface:
        """Read the preface that comes next. Raises Malformed or TooLarge."""
        if read(len(MAGIC)) != MAGIC:
            raise Malformed("not a sealed file of this version")
        introduction = required_item(read, MAX_INTRODUCTION_BYTES, "the introduction")
        envelope = required_item(read, MAX_ENVELOPE_BYTES, "the envelope")
        return cls(Envelope.decode(envelope), Introduction.decode(introduction) if introduction else None)


class Cursor:
    """Bytes that are read from their beginning to their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes, or what is left."""
        part = self._data[self._at : self._at + count]
        self._at += len(part)
        return part


def item(content: bytes) -> bytes:
    """Return ``content`` as one item of the sequence: a byte string."""
    return cbor.bstr_head(len(content)) + content


def required_item(read: Read, limit: int, what: str) -> bytes:
    """Return the content of the byte string that comes next. Raises Malformed, TooLarge above ``limit`` bytes."""
    content = next_item(read, limit, what)
    if content is None:
        raise Malformed(f"the file ends before {what}")
    return content


def next_item(read: Read, limit: int, what: str) -> bytes | None:
    """Return the content of the byte string that comes next, None at the end.

    Raises:
        Malformed: something else, a head that is longer than needed, or the end in the middle.
        TooLarge: more than ``limit`` bytes; nothing of them was read.
    """
    first = read(1)
    if not first:
        return None
    short = first[0] & 0x1F
    if first[0] >> 5 != 2 or short > 26:  # major type 2; lengths of eight bytes are beyond every limit here
        raise Malformed(f"{what}: a byte string expected")
    more = read(1 << (short - 24)) if short >= 24 else b""
    length = int.from_bytes(more, "big") if short >= 24 else short
    if cbor.bstr_head(length) != first + more:
        raise Malformed(f"{what}: its length is cut short or longer than needed")
    if length > limit:
        raise TooLarge(f"{what} has {length} bytes, at most {limit} allowed")
    content = read(length)
    if len(content) != length:
        raise Malformed(f"the file ends in the middle of {what}")
    return content
