# SPDX-License-Identifier: Apache-2.0
"""What commissioner and device say to each other while one joins the other's domain, strict both ways.

Invariant: ``decode(b)`` returns a value only if encoding that gives ``b``; nothing here is believed by being decoded.

Each message is a CBOR map whose field 0 says which it is. Hello to Refusal travel as they are; Begin to Done are inside
the channel, as the plaintext of Sealed, Confirm and Resume. spec/joining.cddl has all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Final, TypeAlias

from sealway.crypto.spake2plus import CONFIRMATION_BYTES, SALT_BYTES, SHARE_BYTES, Parameters, Reply, ScryptCost
from sealway.errors import Malformed
from sealway.wire import cbor, shape
from sealway.wire.address import Name
from sealway.wire.cose import MAX_DOCUMENT_BYTES, check_chain
from sealway.wire.manifest import check_serial

VERSION: Final = 0
NONCE_BYTES: Final = 16
RESUME_ID_BYTES: Final = 8
SIGNATURE_BYTES: Final = 64
MAX_CSR_BYTES: Final = 4096
MAX_NETWORKS: Final = 8
MAX_NETWORK_BYTES: Final = 1024
MAX_SEALED_BYTES: Final = 49_152  # below what CCM with a nonce of 13 bytes can count
MAX_JOINING_BYTES: Final = MAX_SEALED_BYTES + 256
"""The most bytes of one message, whichever it is."""


class Why(IntEnum):
    """Why a device refuses; what is said to a person about it is decided where it is read."""

    BUSY = 1
    """Another exchange is under way."""
    OWNED = 2
    """It has an owner."""
    EXHAUSTED = 3
    """All attempts of this pairing window are used up."""
    CLOSED = 4
    """No pairing window is open."""
    MALFORMED = 5
    """What it got is no message, or not the next one."""
    WRONG_CODE = 6
    """The confirmation is not that of its code."""
    NOT_ACCEPTED = 7
    """What came inside the channel is not acceptable: another root, another name, another key."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The commissioner begins. ``resume`` names an earlier exchange that is to be gone on with."""

    kind: ClassVar[int] = 1
    nonce: bytes
    resume: bytes | None = None

    def __post_init__(self) -> None:
        shape.bstr(self.nonce, "nonce", NONCE_BYTES)
        if self.resume is not None:
            shape.bstr(self.resume, "resume id", RESUME_ID_BYTES)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: VERSION, 2: self.nonce, 3: self.resume})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Hello:
        """Build from decoded fields."""
        found = shape.fields(fields, "hello", (0, 1, 2), (3,))
        shape.constant(found[1], "version of joining", VERSION)
        resume = shape.bstr(found[3], "resume id", RESUME_ID_BYTES) if 3 in found else None
        return cls(found[2], resume)


@dataclass(frozen=True, slots=True)
class Offer:
    """The device answers: who it says it is, how the code is stretched, how often it may still be tried.

    ``nonce`` names the exchange from here on. ``parameters`` are absent where only going on is offered.
    """

    kind: ClassVar[int] = 2
    nonce: bytes
    serial: str
    attempts_left: int
    parameters: Parameters | None = None

    def __post_init__(self) -> None:
        shape.bstr(self.nonce, "nonce", NONCE_BYTES)
        check_serial(self.serial)
        shape.uint(self.attempts_left, "attempts left", 0, 255)

    def encode(self) -> bytes:
        """Return the encoding."""
        stretched = self.parameters
        cost = None if stretched is None else [stretched.cost.n, stretched.cost.r, stretched.cost.p]
        salt = None if stretched is None else stretched.salt
        return _encoded(self.kind, {1: self.nonce, 2: self.serial, 3: self.attempts_left, 4: salt, 5: cost})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Offer:
        """Build from decoded fields."""
        found = shape.fields(fields, "offer", (0, 1, 2, 3), (4, 5))
        if (4 in found) != (5 in found):
            raise Malformed("offer: salt and cost belong together")
        return cls(found[1], found[2], found[3], _parameters(found[4], found[5]) if 4 in found else None)


@dataclass(frozen=True, slots=True)
class Share:
    """The commissioner's share (RFC 9383 §3.3: shareP)."""

    kind: ClassVar[int] = 3
    exchange: bytes
    share: bytes

    def __post_init__(self) -> None:
        shape.bstr(self.exchange, "exchange", NONCE_BYTES)
        shape.bstr(self.share, "share", SHARE_BYTES)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: self.exchange, 2: self.share})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Share:
        """Build from decoded fields."""
        found = shape.fields(fields, "share", (0, 1, 2))
        return cls(found[1], found[2])


@dataclass(frozen=True, slots=True)
class Answer:
    """The device's share and confirmation; the attempt is counted before this is sent."""

    kind: ClassVar[int] = 4
    reply: Reply
    attempts_left: int

    def __post_init__(self) -> None:
        shape.bstr(self.reply.share, "share", SHARE_BYTES)
        shape.bstr(self.reply.confirmation, "confirmation", CONFIRMATION_BYTES)
        shape.uint(self.attempts_left, "attempts left", 0, 255)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: self.reply.share, 2: self.reply.confirmation, 3: self.attempts_left})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Answer:
        """Build from decoded fields."""
        found = shape.fields(fields, "answer", (0, 1, 2, 3))
        return cls(Reply(found[1], found[2]), found[3])


@dataclass(frozen=True, slots=True)
class Confirm:
    """The commissioner's confirmation, and the first message of the channel behind it."""

    kind: ClassVar[int] = 5
    exchange: bytes
    confirmation: bytes
    sealed: bytes

    def __post_init__(self) -> None:
        shape.bstr(self.exchange, "exchange", NONCE_BYTES)
        shape.bstr(self.confirmation, "confirmation", CONFIRMATION_BYTES)
        shape.bstr(self.sealed, "sealed", 1, MAX_SEALED_BYTES)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: self.exchange, 2: self.confirmation, 3: self.sealed})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Confirm:
        """Build from decoded fields."""
        found = shape.fields(fields, "confirm", (0, 1, 2, 3))
        return cls(found[1], found[2], found[3])


@dataclass(frozen=True, slots=True)
class Sealed:
    """A message of the channel, in either direction."""

    kind: ClassVar[int] = 6
    exchange: bytes
    sealed: bytes

    def __post_init__(self) -> None:
        shape.bstr(self.exchange, "exchange", NONCE_BYTES)
        shape.bstr(self.sealed, "sealed", 1, MAX_SEALED_BYTES)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: self.exchange, 2: self.sealed})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Sealed:
        """Build from decoded fields."""
        found = shape.fields(fields, "sealed", (0, 1, 2))
        return cls(found[1], found[2])


@dataclass(frozen=True, slots=True)
class Abort:
    """The commissioner gives up an exchange, so that the next can begin at once."""

    kind: ClassVar[int] = 7
    exchange: bytes

    def __post_init__(self) -> None:
        shape.bstr(self.exchange, "exchange", NONCE_BYTES)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: self.exchange})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Abort:
        """Build from decoded fields."""
        return cls(shape.fields(fields, "abort", (0, 1))[1])


@dataclass(frozen=True, slots=True)
class Refusal:
    """The device refuses, and says why in a number."""

    kind: ClassVar[int] = 8
    why: Why
    attempts_left: int

    def __post_init__(self) -> None:
        shape.uint(self.attempts_left, "attempts left", 0, 255)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: int(self.why), 2: self.attempts_left})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Refusal:
        """Build from decoded fields."""
        found = shape.fields(fields, "refusal", (0, 1, 2))
        return cls(Why(shape.uint(found[1], "reason", min(Why), max(Why))), found[2])


# inside the channel ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Begin:
    """Who wants to own the device, and as what: the owner's root document, the name to be, the suite of its keys."""

    kind: ClassVar[int] = 16
    root_document: bytes = field(repr=False)
    name: Name
    suite: int

    def __post_init__(self) -> None:
        shape.bstr(self.root_document, "root document", 1, MAX_DOCUMENT_BYTES)
        shape.uint(self.suite, "suite", 1, 3)
        if not isinstance(self.name, Name) or self.name.role != "device":
            raise Malformed("begin: the name of a device expected")

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: self.root_document, 2: str(self.name), 3: self.suite})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Begin:
        """Build from decoded fields."""
        found = shape.fields(fields, "begin", (0, 1, 2, 3))
        return cls(found[1], Name.parse(found[2]), found[3])


@dataclass(frozen=True, slots=True)
class Proof:
    """The device's request for a certificate, and its birth certificate's signature over what ``signed_text`` says."""

    kind: ClassVar[int] = 17
    csr: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
    signature: bytes = field(repr=False)

    def __post_init__(self) -> None:
        shape.bstr(self.csr, "certificate request", 1, MAX_CSR_BYTES)
        check_chain(self.chain, "birth certificate's chain")
        shape.bstr(self.signature, "signature", SIGNATURE_BYTES)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: self.csr, 2: list(self.chain), 3: self.signature})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Proof:
        """Build from decoded fields."""
        found = shape.fields(fields, "proof", (0, 1, 2, 3))
        return cls(found[1], tuple(shape.array(found[2], "birth certificate's chain", 1, 4)), found[3])


@dataclass(frozen=True, slots=True)
class Provision:
    """All that the owner hands over: the enrolment, and credentials of networks, which mean nothing here.

    Args:
        enrolment: a signed enrolment (documents.md).
        networks: by kind, such as wifi or thread; opaque and secret.
    """

    kind: ClassVar[int] = 18
    enrolment: bytes = field(repr=False)
    networks: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        shape.bstr(self.enrolment, "enrolment", 1, MAX_DOCUMENT_BYTES)
        check_networks(self.networks)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: self.enrolment, 2: dict(self.networks)})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Provision:
        """Build from decoded fields."""
        found = shape.fields(fields, "provision", (0, 1, 2))
        return cls(found[1], found[2])


@dataclass(frozen=True, slots=True)
class Done:
    """The device has it durably: SHA-256 of the enrolment that it keeps."""

    kind: ClassVar[int] = 19
    digest: bytes

    def __post_init__(self) -> None:
        shape.bstr(self.digest, "digest", 32)

    def encode(self) -> bytes:
        """Return the encoding."""
        return _encoded(self.kind, {1: self.digest})

    @classmethod
    def of(cls, fields: Mapping[int, Any]) -> Done:
        """Build from decoded fields."""
        return cls(shape.fields(fields, "done", (0, 1))[1])


Outer: TypeAlias = Hello | Offer | Share | Answer | Confirm | Sealed | Abort | Refusal
Inner: TypeAlias = Begin | Proof | Provision | Done

_OUTER: Final[Mapping[int, Callable[[Mapping[int, Any]], Outer]]] = {
    kind.kind: kind.of for kind in (Hello, Offer, Share, Answer, Confirm, Sealed, Abort, Refusal)
}
_INNER: Final[Mapping[int, Callable[[Mapping[int, Any]], Inner]]] = {
    kind.kind: kind.of for kind in (Begin, Proof, Provision, Done)
}


def decode_outer(data: bytes) -> Outer:
    """Read a message as it travels. Raises Malformed, TooLarge."""
    message: Outer = _decoded(data, _OUTER)
    return message


def decode_inner(data: bytes) -> Inner:
    """Read the plaintext of the channel. Raises Malformed, TooLarge."""
    message: Inner = _decoded(data, _INNER)
    return message


def check_networks(networks: object) -> None:
    """Check credentials of networks: at most 8 kinds. Raises Malformed."""
    if not isinstance(networks, Mapping) or len(networks) > MAX_NETWORKS:
        raise Malformed(f"networks: at most {MAX_NETWORKS} expected, by kind")
    for kind, credentials in networks.items():
        shape.tstr(kind, "kind of network", 1, 16)
        shape.bstr(credentials, "network's credentials", 1, MAX_NETWORK_BYTES)


def _decoded(data: bytes, kinds: Mapping[int, Callable[[Mapping[int, Any]], Any]]) -> Any:
    value = cbor.decode(data, limit=MAX_JOINING_BYTES, depth=3)
    kind = value.get(0) if isinstance(value, dict) else None
    if type(kind) is not int or kind not in kinds:
        raise Malformed("no message of joining")
    return kinds[kind](value)


def _encoded(kind: int, fields: Mapping[int, Any]) -> bytes:
    return cbor.encode({0: kind} | {label: value for label, value in fields.items() if value is not None})


def _parameters(salt: object, cost: object) -> Parameters:
    n, r, p = (shape.uint(number, "cost") for number in shape.array(cost, "cost", 3, 3))
    return Parameters(shape.bstr(salt, "salt", SALT_BYTES), ScryptCost(n, r, p))
