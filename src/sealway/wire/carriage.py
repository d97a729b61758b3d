# SPDX-License-Identifier: Apache-2.0
"""Bodies of the hop protocol: what travels between an endpoint, a gateway and a hub beside single envelopes.

None of it is trusted by the ends; it is strict so that a hop does a bounded amount of work. Envelopes are opaque here:
who carries them need not read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sealway.errors import Malformed
from sealway.wire import cbor, shape
from sealway.wire.address import check_mailbox
from sealway.wire.cose import MAX_CERTIFICATE_BYTES, MAX_CHAIN, check_chain
from sealway.wire.envelope import MAX_ENVELOPE_BYTES

MAX_BATCH = 100
MAX_BATCH_BYTES = 8_388_608  # of a whole encoded batch
MAX_MAILBOXES = 1000  # that one carrier asks for at once
MAX_SEQUENCES = 1000  # acknowledged for one mailbox at once
MAX_ALL_SEQUENCES = 10_000  # acknowledged at once
MAX_WAIT_SECONDS = 60
MAX_VERDICT_TEXT = 256
UINT63 = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Deposits:
    """1 to 100 envelopes for any mailboxes: (mailbox identifier, envelope)."""

    items: tuple[tuple[str, bytes], ...]

    def __post_init__(self) -> None:
        for item in shape.sequence(self.items, "deposits", 1, MAX_BATCH):
            mailbox, envelope = shape.sequence(item, "deposit", 2, 2)
            check_mailbox(mailbox)
            shape.bstr(envelope, "envelope", 1, MAX_ENVELOPE_BYTES)

    def encode(self) -> bytes:
        """Return CBOR [1*100 [mailbox, envelope]]."""
        return cbor.encode(self.items)

    @classmethod
    def decode(cls, data: bytes) -> Deposits:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        return cls(_rows(cbor.decode(data, limit=MAX_BATCH_BYTES, depth=2), "deposits", 1, MAX_BATCH, 2))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The hop's answer to deposits, one each in their order: (HTTP status, text for people of at most 256 bytes)."""

    items: tuple[tuple[int, str], ...]

    def __post_init__(self) -> None:
        for item in shape.sequence(self.items, "verdicts", 0, MAX_BATCH):
            status, text = shape.sequence(item, "verdict", 2, 2)
            shape.uint(status, "status", 100, 599)
            shape.tstr(text, "verdict's text", 0, MAX_VERDICT_TEXT)

    def encode(self) -> bytes:
        """Return CBOR [*100 [status, text]]."""
        return cbor.encode(self.items)

    @classmethod
    def decode(cls, data: bytes) -> Verdicts:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        return cls(_rows(cbor.decode(data, limit=MAX_BATCH_BYTES, depth=2), "verdicts", 0, MAX_BATCH, 2))


@dataclass(frozen=True, slots=True)
class Collected:
    """What waited: (mailbox identifier, the hop's sequence number, envelope), at most 100."""

    items: tuple[tuple[str, int, bytes], ...]

    def __post_init__(self) -> None:
        for item in shape.sequence(self.items, "collected", 0, MAX_BATCH):
            mailbox, number, envelope = shape.sequence(item, "collected", 3, 3)
            check_mailbox(mailbox)
            shape.uint(number, "sequence", 0, UINT63)
            shape.bstr(envelope, "envelope", 1, MAX_ENVELOPE_BYTES)

    def encode(self) -> bytes:
        """Return CBOR [*100 [mailbox, sequence, envelope]]."""
        return cbor.encode(self.items)

    @classmethod
    def decode(cls, data: bytes) -> Collected:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        return cls(_rows(cbor.decode(data, limit=MAX_BATCH_BYTES, depth=2), "collected", 0, MAX_BATCH, 3))


@dataclass(frozen=True, slots=True)
class Handed:
    """What waited in one mailbox: (the hop's sequence number, is it compact, envelope in that form), at most 100."""

    items: tuple[tuple[int, bool, bytes], ...]

    def __post_init__(self) -> None:
        for item in shape.sequence(self.items, "handed", 0, MAX_BATCH):
            number, compact, envelope = shape.sequence(item, "handed", 3, 3)
            shape.uint(number, "sequence", 0, UINT63)
            if type(compact) is not bool:
                raise Malformed("handed: true or false expected")
            shape.bstr(envelope, "envelope", 1, MAX_ENVELOPE_BYTES)

    def encode(self) -> bytes:
        """Return CBOR [*100 [sequence, compact, envelope]]."""
        return cbor.encode(self.items)

    @classmethod
    def decode(cls, data: bytes) -> Handed:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        return cls(_rows(cbor.decode(data, limit=MAX_BATCH_BYTES, depth=2), "handed", 0, MAX_BATCH, 3))


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the hop may forget: (mailbox identifier, 1 to 1000 sequence numbers), at most 1000 mailboxes, each once.

    There are at most 10 000 sequence numbers in all.
    """

    items: tuple[tuple[str, tuple[int, ...]], ...]

    def __post_init__(self) -> None:
        for item in shape.sequence(self.items, "acknowledgement", 1, MAX_MAILBOXES):
            mailbox, numbers = shape.sequence(item, "acknowledgement", 2, 2)
            check_mailbox(mailbox)
            for number in shape.sequence(numbers, "sequences", 1, MAX_SEQUENCES):
                shape.uint(number, "sequence", 0, UINT63)
            shape.distinct(numbers, "sequences")
        shape.distinct([mailbox for mailbox, _ in self.items], "acknowledgement")
        shape.uint(sum(len(numbers) for _, numbers in self.items), "count of sequences", 1, MAX_ALL_SEQUENCES)

    def encode(self) -> bytes:
        """Return CBOR [1*1000 [mailbox, [1*1000 sequence]]]."""
        return cbor.encode(self.items)

    @classmethod
    def decode(cls, data: bytes) -> Acknowledgement:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        rows = _rows(cbor.decode(data, limit=MAX_BATCH_BYTES, depth=3), "acknowledgement", 1, MAX_MAILBOXES, 2)
        return cls(tuple((row[0], tuple(shape.array(row[1], "sequences", 1, MAX_SEQUENCES))) for row in rows))


@dataclass(frozen=True, slots=True)
class CollectRequest:
    """Ask for 1 to 100 envelopes of 1 to 1000 mailboxes, holding the call open for 0 to 60 seconds."""

    mailboxes: tuple[str, ...]
    wait_seconds: int
    most: int = MAX_BATCH

    def __post_init__(self) -> None:
        for mailbox in shape.sequence(self.mailboxes, "mailboxes", 1, MAX_MAILBOXES):
            check_mailbox(mailbox)
        shape.distinct(self.mailboxes, "mailboxes")
        shape.uint(self.wait_seconds, "wait", 0, MAX_WAIT_SECONDS)
        shape.uint(self.most, "most", 1, MAX_BATCH)

    def encode(self) -> bytes:
        """Return CBOR [[1*1000 mailbox], wait, most]."""
        return cbor.encode([self.mailboxes, self.wait_seconds, self.most])

    @classmethod
    def decode(cls, data: bytes) -> CollectRequest:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        value = shape.array(cbor.decode(data, limit=MAX_BATCH_BYTES, depth=2), "collect request", 3, 3)
        return cls(tuple(shape.array(value[0], "mailboxes", 1, MAX_MAILBOXES)), value[1], value[2])


@dataclass(frozen=True, slots=True)
class CertChain:
    """A certificate chain: DER, leaf first, 1 to 4, without the root."""

    certificates: tuple[bytes, ...]

    def __post_init__(self) -> None:
        check_chain(self.certificates, "certificate chain")

    def encode(self) -> bytes:
        """Return CBOR [1*4 certificate]."""
        return cbor.encode(self.certificates)

    @classmethod
    def decode(cls, data: bytes) -> CertChain:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        value = cbor.decode(data, limit=MAX_CHAIN * (MAX_CERTIFICATE_BYTES + 3) + 1, depth=1)
        return cls(tuple(shape.array(value, "certificate chain", 1, MAX_CHAIN)))


def _rows(value: object, what: str, least: int, most: int, width: int) -> Any:
    """Return an array of arrays of ``width`` items as tuples; the constructor checks the items."""
    return tuple(tuple(shape.array(row, what, width, width)) for row in shape.array(value, what, least, most))
