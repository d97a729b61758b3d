# SPDX-License-Identifier: Apache-2.0
"""What an envelope may carry in its protected header beside the four things it always has: claims, start, opener.

Each type checks itself when it is made (Malformed), turns into the CBOR value that travels (``to_value``) and is read
back from it (``from_value``). None of them holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sealway.errors import Malformed
from sealway.wire import shape

ML_KEM_768_CIPHERTEXT = 1088  # bytes, FIPS 203 §8
MAX_ONE_TIME_INDEX = 63
HASH_SHA_256 = -16  # COSE algorithm of x5t (RFC 9054 §3.1)

_EXPIRES, _TOPIC, _TAG = 4, -65537, -65538  # CWT claims; the private ones are registered in spec/labels.md


@dataclass(frozen=True, slots=True)
class Claims:
    """What the sender chooses to disclose to hops, authenticated (RFC 9597). At least one of them is present.

    Fields: ``topic`` text of 1 to 128 bytes; ``tag`` text of 1 to 64 bytes; ``expires`` seconds since the Unix epoch.
    """

    topic: str | None = None
    tag: str | None = None
    expires: int | None = None

    def __post_init__(self) -> None:
        if self.topic is None and self.tag is None and self.expires is None:
            raise Malformed("claims: empty")
        if self.topic is not None:
            shape.tstr(self.topic, "topic", 1, 128)
        if self.tag is not None:
            shape.tstr(self.tag, "tag", 1, 64)
        if self.expires is not None:
            shape.instant(self.expires, "expiry")

    def to_value(self) -> dict[int, Any]:
        """Return the CWT claims set that travels under header label 15."""
        every = {_EXPIRES: self.expires, _TOPIC: self.topic, _TAG: self.tag}
        return {label: claim for label, claim in every.items() if claim is not None}

    @classmethod
    def from_value(cls, value: object) -> Claims:
        """Read a decoded CWT claims set. Raises Malformed."""
        claims = shape.fields(value, "claims", (), (_EXPIRES, _TOPIC, _TAG))
        if None in claims.values():
            raise Malformed("claims: null instead of absence")
        return cls(claims.get(_TOPIC), claims.get(_TAG), claims.get(_EXPIRES))


@dataclass(frozen=True, slots=True)
class StartHeader:
    """What the first messages of a session carry until the peer's first reply has been opened.

    Fields: ``bundle_hash`` SHA-256 of the initiator's signed bundle; ``x5t`` SHA-256 of its certificate (32 raw bytes);
    ``receive_kid`` the key id (1 to 8 bytes) that the initiator wants to see in replies; ``ephemeral`` its x-coordinate
    (32 bytes); ``one_time`` index of the responder's one-time key (0 to 63) or None; ``ml_kem`` 1088 bytes or None.
    """

    bundle_hash: bytes
    x5t: bytes
    receive_kid: bytes
    ephemeral: bytes
    one_time: int | None = None
    ml_kem: bytes | None = None

    def __post_init__(self) -> None:
        shape.bstr(self.bundle_hash, "bundle hash", 32)
        shape.bstr(self.x5t, "certificate hash", 32)
        shape.bstr(self.receive_kid, "receive-kid", 1, 8)
        shape.bstr(self.ephemeral, "ephemeral key", 32)
        if self.one_time is not None:
            shape.uint(self.one_time, "one-time index", 0, MAX_ONE_TIME_INDEX)
        if self.ml_kem is not None:
            shape.bstr(self.ml_kem, "ML-KEM ciphertext", ML_KEM_768_CIPHERTEXT)

    def to_value(self) -> list[Any]:
        """Return the array that travels under header label -65537. What is absent at its end is left out."""
        fixed = self.bundle_hash + self.x5t + self.ephemeral + self.receive_kid
        if self.ml_kem is not None:
            return [fixed, self.one_time, self.ml_kem]
        return [fixed] if self.one_time is None else [fixed, self.one_time]

    @classmethod
    def from_value(cls, value: object) -> StartHeader:
        """Read a decoded start header. Raises Malformed."""
        parts = shape.array(value, "start header", 1, 3)
        if parts[-1] is None:
            raise Malformed("start header: null at its end")
        one_time, ml_kem = [*parts[1:], None, None][:2]
        fixed = shape.bstr(parts[0], "start header's hashes, key and kid", 97, 104)
        return cls(fixed[:32], fixed[32:64], fixed[96:], fixed[64:96], one_time, ml_kem)


@dataclass(frozen=True, slots=True)
class Opener:
    """Where a chain begins, and what the peer has not yet acknowledged of it.

    Fields: ``chain_first`` S, the chain's first number; ``x`` the epoch's key (32-byte x-coordinate) or None;
    ``epoch_first`` E, the first number of that epoch, None exactly if ``x`` is None; ``reseed`` (j, salt) with j from 1
    and a salt of 16 bytes, or None. Either x or reseed is present; without a reseed E = S; always E <= S.
    """

    chain_first: int
    x: bytes | None = None
    epoch_first: int | None = None
    reseed: tuple[int, bytes] | None = None

    def __post_init__(self) -> None:
        shape.uint(self.chain_first, "chain's first number")
        if (self.x is None) != (self.epoch_first is None):
            raise Malformed("opener: a key and its epoch's first number belong together")
        if self.x is None and self.reseed is None:
            raise Malformed("opener: it opens nothing")
        if self.x is not None:
            shape.bstr(self.x, "opener's key", 32)
            lowest = self.chain_first if self.reseed is None else 0
            shape.uint(self.epoch_first, "epoch's first number", lowest, self.chain_first)
        if self.reseed is not None:
            j, salt = shape.sequence(self.reseed, "reseed", 2, 2)
            shape.uint(j, "reseed's index", 1)
            shape.bstr(salt, "reseed's salt", 16)

    def to_value(self) -> list[Any]:
        """Return the array that travels under header label -65538: [S, x], [S, j, salt] or [S, x, E, j, salt]."""
        if self.x is None:
            return [self.chain_first, *(self.reseed or ())]
        if self.reseed is None:
            return [self.chain_first, self.x]
        return [self.chain_first, self.x, self.epoch_first, *self.reseed]

    @classmethod
    def from_value(cls, value: object) -> Opener:
        """Read a decoded opener. Raises Malformed."""
        parts = shape.array(value, "opener", 2, 5)
        if len(parts) == 2:
            return cls(parts[0], _present(parts[1]), parts[0])
        if len(parts) == 3:
            return cls(parts[0], reseed=(parts[1], parts[2]))
        if len(parts) == 5:
            return cls(parts[0], _present(parts[1]), parts[2], (parts[3], parts[4]))
        raise Malformed("opener: an array of 2, 3 or 5 items expected")


def certificate_hash(value: object) -> bytes:
    """Return the 32 bytes of a decoded x5t (RFC 9360 §2), of which only SHA-256 is accepted. Raises Malformed."""
    algorithm, digest = shape.array(value, "x5t", 2, 2)
    shape.constant(algorithm, "x5t's hash algorithm", HASH_SHA_256)
    return shape.bstr(digest, "x5t", 32)


def _present(value: object) -> bytes:
    return shape.bstr(value, "opener's key", 32)
