# SPDX-License-Identifier: Apache-2.0
"""Prekey bundles: the public keys with which anyone certified can begin a session with an endpoint that is offline.

Invariant: ``SignedBundle.claims`` are exactly what its signature's payload says. Whether that signature is right, and
whose it is, ``identity`` proves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sealway.errors import Malformed
from sealway.wire import cbor, shape
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.cose import MAX_DOCUMENT_BYTES, TYP_BUNDLE, Kid, Sign1, expect_type
from sealway.wire.merkle import MAX_ONE_TIME_KEYS, MAX_PATH

VERSION = 1
ML_KEM_768_KEY = 1184  # bytes, FIPS 203 §8
KNOWN_SUITES = range(1, 24)  # numbers a bundle may list; suites that a reader does not have are skipped, not refused

_REQUIRED = (1, 2, 3, 4, 5, 6, 7, 8, 12, 13)
_ML_KEM, _ONE_TIME_ROOT, _ONE_TIME_COUNT = 9, 10, 11


@dataclass(frozen=True, slots=True)
class BundleClaims:
    """What an endpoint promises for new sessions.

    Fields: ``bundle_id`` 4 to 8 bytes, the kid of starts; ``mailbox`` the address of exactly this name's mailbox;
    ``sequence`` from 1, higher in every newer bundle; ``suites`` ascending; ``agreement_key`` and ``signed_prekey``
    32-byte x-coordinates; ``ml_kem`` 1184 bytes or None; ``one_time_root`` (32 bytes) and ``one_time_count`` (1 to 64)
    both or neither; ``issued`` and ``expires`` seconds since the Unix epoch.
    """

    bundle_id: bytes
    name: Name
    mailbox: MailboxAddress
    sequence: int
    suites: tuple[int, ...]
    agreement_key: bytes
    signed_prekey: bytes
    issued: int
    expires: int
    ml_kem: bytes | None = None
    one_time_root: bytes | None = None
    one_time_count: int | None = None

    def __post_init__(self) -> None:
        shape.bstr(self.bundle_id, "bundle id", 4, 8)
        _check_place(self.name, self.mailbox)
        shape.uint(self.sequence, "bundle's sequence", 1)
        _check_suites(self.suites)
        shape.bstr(self.agreement_key, "agreement key", 32)
        shape.bstr(self.signed_prekey, "signed prekey", 32)
        shape.period(self.issued, self.expires, "bundle")
        if self.ml_kem is not None:
            shape.bstr(self.ml_kem, "ML-KEM key", ML_KEM_768_KEY)
        if (self.one_time_root is None) != (self.one_time_count is None):
            raise Malformed("bundle: root and count of one-time keys belong together")
        if self.one_time_root is not None:
            shape.bstr(self.one_time_root, "one-time root", 32)
            shape.uint(self.one_time_count, "one-time count", 1, MAX_ONE_TIME_KEYS)

    def encode(self) -> bytes:
        """Return the payload that is signed."""
        value: dict[int, Any] = {1: VERSION, 2: self.bundle_id, 3: str(self.name), 4: str(self.mailbox)}
        value |= {5: self.sequence, 6: list(self.suites), 7: self.agreement_key, 8: self.signed_prekey}
        value |= {12: self.issued, 13: self.expires}
        optional = {_ML_KEM: self.ml_kem, _ONE_TIME_ROOT: self.one_time_root, _ONE_TIME_COUNT: self.one_time_count}
        return cbor.encode(value | {label: part for label, part in optional.items() if part is not None})

    @classmethod
    def decode(cls, data: bytes) -> BundleClaims:
        """Read a payload. Raises Malformed or TooLarge."""
        value = cbor.decode(data, limit=MAX_DOCUMENT_BYTES)
        optional = (_ML_KEM, _ONE_TIME_ROOT, _ONE_TIME_COUNT)
        found = shape.fields(value, "bundle", _REQUIRED, optional)
        shape.constant(found[1], "bundle's version", VERSION)
        if any(label in found and found[label] is None for label in optional):
            raise Malformed("bundle: null instead of absence")
        return cls(
            bundle_id=found[2],
            name=Name.parse(found[3]),
            mailbox=MailboxAddress.parse(found[4]),
            sequence=found[5],
            suites=tuple(shape.array(found[6], "suites", 1, len(KNOWN_SUITES))),
            agreement_key=found[7],
            signed_prekey=found[8],
            issued=found[12],
            expires=found[13],
            ml_kem=found.get(_ML_KEM),
            one_time_root=found.get(_ONE_TIME_ROOT),
            one_time_count=found.get(_ONE_TIME_COUNT),
        )


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A bundle with its signature by the certificate's key, named by x5t or x5chain."""

    sign1: Sign1
    claims: BundleClaims

    def __post_init__(self) -> None:
        expect_type(self.sign1.typ, TYP_BUNDLE)
        if isinstance(self.sign1.key_ref, Kid):
            raise Malformed("bundle: signed by a certificate's key, named by x5t or x5chain")
        if self.claims.encode() != self.sign1.payload:
            raise Malformed("bundle: claims and payload differ")

    @property
    def hash(self) -> bytes:
        """SHA-256 of the encoded bundle, signature included: how a start names it."""
        return hashlib.sha256(self.encode()).digest()

    def encode(self) -> bytes:
        """Return the tagged COSE_Sign1."""
        return self.sign1.encode()

    @classmethod
    def decode(cls, data: bytes) -> SignedBundle:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        sign1 = Sign1.decode(data)
        expect_type(sign1.typ, TYP_BUNDLE)
        return cls(sign1, BundleClaims.decode(sign1.payload))


@dataclass(frozen=True, slots=True)
class Publication:
    """What an endpoint hands to the directory: an encoded signed bundle and all its one-time keys (32 bytes each)."""

    bundle: bytes
    one_time: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        shape.bstr(self.bundle, "bundle", 1, MAX_DOCUMENT_BYTES)
        for key in shape.sequence(self.one_time, "one-time keys", 0, MAX_ONE_TIME_KEYS):
            shape.bstr(key, "one-time key", 32)

    def encode(self) -> bytes:
        """Return CBOR [bundle, [* key]]."""
        return cbor.encode([self.bundle, list(self.one_time)])

    @classmethod
    def decode(cls, data: bytes) -> Publication:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        value = cbor.decode(data, limit=MAX_DOCUMENT_BYTES + 4096, depth=2)
        bundle, keys = shape.array(value, "publication", 2, 2)
        return cls(bundle, tuple(shape.array(keys, "one-time keys", 0, MAX_ONE_TIME_KEYS)))


@dataclass(frozen=True, slots=True)
class OneTimeKey:
    """A one-time key with its proof: ``index`` 0 to 63, ``key`` 32 bytes, ``path`` sibling hashes from the leaf up."""

    index: int
    key: bytes
    path: tuple[bytes, ...]

    def __post_init__(self) -> None:
        shape.uint(self.index, "one-time index", 0, MAX_ONE_TIME_KEYS - 1)
        shape.bstr(self.key, "one-time key", 32)
        for node in shape.sequence(self.path, "one-time path", 0, MAX_PATH):
            shape.bstr(node, "one-time path", 32)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the directory hands to an initiator: an encoded signed bundle and at most one of its one-time keys."""

    bundle: bytes
    one_time: OneTimeKey | None = None

    def __post_init__(self) -> None:
        shape.bstr(self.bundle, "bundle", 1, MAX_DOCUMENT_BYTES)
        if not isinstance(self.one_time, OneTimeKey | None):
            raise Malformed("offer: a one-time key expected")

    def encode(self) -> bytes:
        """Return CBOR [bundle, null / [index, key, [* hash]]]."""
        key = self.one_time
        return cbor.encode([self.bundle, None if key is None else [key.index, key.key, list(key.path)]])

    @classmethod
    def decode(cls, data: bytes) -> Offer:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        value = cbor.decode(data, limit=MAX_DOCUMENT_BYTES + 4096, depth=3)
        bundle, one_time = shape.array(value, "offer", 2, 2)
        if one_time is None:
            return cls(bundle)
        index, key, path = shape.array(one_time, "one-time key", 3, 3)
        return cls(bundle, OneTimeKey(index, key, tuple(shape.array(path, "one-time path", 0, MAX_PATH))))


def _check_place(name: object, mailbox: object) -> None:
    if not isinstance(name, Name) or not isinstance(mailbox, MailboxAddress):
        raise Malformed("bundle: a Name and a MailboxAddress expected")
    if mailbox.mailbox != name.mailbox:
        raise Malformed("bundle: the mailbox is not the one of this name")


def _check_suites(suites: object) -> None:
    listed = shape.sequence(suites, "suites", 1, len(KNOWN_SUITES))
    for number in listed:
        shape.uint(number, "suite", KNOWN_SUITES.start, KNOWN_SUITES.stop - 1)
    if list(listed) != sorted(set(listed)):
        raise Malformed("suites: not in ascending order")
