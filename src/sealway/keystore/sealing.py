# SPDX-License-Identifier: Apache-2.0
"""The keystore file's format, version 1: JSON around one AES-256-GCM ciphertext under a key from Argon2id (RFC 9106).

Invariant: everything outside the ciphertext is authenticated with it, and is checked against bounds before it costs
anything: a hostile file cannot demand more than 1 GiB of memory and 16 passes.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, StateLost

FORMAT: Final = "sealway keystore"
VERSION: Final = 1
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
MAX_MEMORY_KIB: Final = 1 << 20
MAX_PASSES: Final = 16
MAX_LANES: Final = 16


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at the passphrase costs (Argon2id, RFC 9106 §3.1): about 0.1 s as it stands.

    Args:
        memory_kib: memory, KiB; at least 8 a lane, at most 1 GiB.
        passes: 1 to 16.
        lanes: 1 to 16.
    """

    memory_kib: int = 64 * 1024
    passes: int = 2
    lanes: int = 1

    def __post_init__(self) -> None:
        if any(type(value) is not int for value in (self.memory_kib, self.passes, self.lanes)):
            raise LocalMisuse("the cost of a passphrase is in whole numbers")
        if not (1 <= self.passes <= MAX_PASSES and 1 <= self.lanes <= MAX_LANES):
            raise LocalMisuse(f"a keystore demands more than {MAX_PASSES} passes or {MAX_LANES} lanes of Argon2id")
        if not 8 * self.lanes <= self.memory_kib <= MAX_MEMORY_KIB:
            raise LocalMisuse(
                f"a keystore demands {self.memory_kib} KiB of memory for Argon2id; at most 1 GiB is allowed"
            )


@dataclass(frozen=True, slots=True)
class Lock:
    """What a passphrase became: the key, and how it was derived. Derived once for each opening, since it is slow."""

    cost: Cost
    salt: bytes
    key: Secret

    @classmethod
    def derive(cls, passphrase: Secret, cost: Cost, salt: bytes) -> Lock:
        """Derive the key of a passphrase. Raises LocalMisuse if it is empty."""
        if not len(passphrase):
            raise LocalMisuse("an empty passphrase protects nothing")
        kdf = Argon2id(
            salt=salt, length=KEY_BYTES, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory_kib
        )
        return cls(cost, salt, Secret(kdf.derive(passphrase.reveal())))


def seal(lock: Lock, plaintext: Secret, random: Random) -> bytes:
    """Return the file's content: a fresh nonce, the header authenticated."""
    nonce = random(NONCE_BYTES)
    header = _header(lock.cost, lock.salt, nonce)
    ciphertext = AESGCM(lock.key.reveal()).encrypt(nonce, plaintext.reveal(), _canonical(header))
    return _canonical({**header, "ciphertext": b64encode(ciphertext).decode()})


def unseal(content: bytes, passphrase: Secret) -> tuple[Lock, Secret]:
    """Return the lock and what the file holds.

    Raises:
        StateLost: not a keystore file of this version, byte for byte as ``seal`` writes it.
        LocalMisuse: it demands too much, the passphrase is wrong, or it was damaged (which cannot be told apart).
    """
    cost, salt, nonce, ciphertext = _parse(content)
    lock = Lock.derive(passphrase, cost, salt)
    try:
        plain = AESGCM(lock.key.reveal()).decrypt(nonce, ciphertext, _canonical(_header(cost, salt, nonce)))
    except InvalidTag:
        raise LocalMisuse(
            "wrong passphrase or damaged keystore", hint="try the passphrase again; if it is right, restore a backup"
        ) from None
    return lock, Secret(plain)


def _parse(content: bytes) -> tuple[Cost, bytes, bytes, bytes]:
    try:
        fields = json.loads(content)
        if (fields["format"], fields["version"]) != (FORMAT, VERSION):
            raise _damaged()
        parameters = fields["argon2id"]
        cost = Cost(parameters["memory_kib"], parameters["passes"], parameters["lanes"])
        salt, nonce, ciphertext = (
            _binary(value) for value in (parameters["salt"], fields["nonce"], fields["ciphertext"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _damaged() from None
    if (len(salt), len(nonce)) != (SALT_BYTES, NONCE_BYTES) or len(ciphertext) < TAG_BYTES:
        raise _damaged()
    # One content, one file: whatever else was in there has no place.
    if _canonical({**_header(cost, salt, nonce), "ciphertext": fields["ciphertext"]}) != content:
        raise _damaged()
    return cost, salt, nonce, ciphertext


def _header(cost: Cost, salt: bytes, nonce: bytes) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "argon2id": {
            "memory_kib": cost.memory_kib,
            "passes": cost.passes,
            "lanes": cost.lanes,
            "salt": b64encode(salt).decode(),
        },
        "aead": "AES-256-GCM",
        "nonce": b64encode(nonce).decode(),
    }


def _canonical(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, indent=1).encode() + b"\n"


def _binary(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except BadBase64:
        raise _damaged() from None


def _damaged() -> StateLost:
    return StateLost("not a keystore file, or a damaged one", hint="restore it from a backup")
