# SPDX-License-Identifier: Apache-2.0
"""Keys in this process's memory: a keystore for tests and rehearsals, and what the file keystore is built on.

Invariant: a change is visible only after ``_commit`` has returned: no key is used that could not be kept.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final, get_args

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealway.crypto.keys import SoftSigner, private_key
from sealway.crypto.ports import Agreer, Random, Signer
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1, Suite
from sealway.errors import LocalMisuse
from sealway.keystore.ports import Kind

LABEL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Key:
    """A private key, what it is for, and the suite that it was made for."""

    kind: Kind
    scalar: Secret
    suite: Suite = SUITE_1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise LocalMisuse(f"there is no kind of key named {self.kind}", hint="use sign, agree or hop")
        if self.kind == "hop" and self.suite is not SUITE_1:
            raise LocalMisuse("a hop's key is for TLS, and has no other suite than 1")

    @classmethod
    def drawn(cls, kind: Kind, suite: Suite, random: Random) -> Key:
        """Make a new one. Raises LocalMisuse for a broken source of randomness."""
        return cls(kind, suite.curve.draw(random), suite)  # an Ed25519 key is any 32 bytes, as one of X25519 is

    def signer(self) -> Signer:
        """Return the signing port. Raises LocalMisuse for what is no private key."""
        return SoftSigner(self.scalar, self.suite.signature)

    def agreer(self) -> Agreer:
        """Return the agreement port. Raises LocalMisuse for what is no private key."""
        return self.suite.curve.agreer(self.scalar)


class MemoryKeystore:
    """A Keystore that is gone when the process is.

    Args:
        random: source of new keys.
    """

    def __init__(self, random: Random = os.urandom) -> None:
        self._random = random
        self._keys: dict[str, Key] = {}

    def labels(self) -> dict[str, Kind]:
        """Return every label, with its key's kind."""
        return {label: key.kind for label, key in sorted(self._keys.items())}

    def suite(self, label: str) -> Suite:
        """Return what a key was made for. Raises LocalMisuse if there is none."""
        return self._key(label, *get_args(Kind)).suite

    def generate(self, label: str, kind: Kind = "sign", suite: Suite = SUITE_1) -> None:
        """Make a new key for a suite and keep it. Raises LocalMisuse if the label is taken or not a label."""
        if not LABEL.fullmatch(label):
            raise LocalMisuse(f"{label!r} is no label for a key", hint="use a-z, 0-9, dot, underscore and hyphen")
        if label in self._keys:
            raise LocalMisuse(f"there is a key named {label} already")
        self._change({**self._keys, label: Key.drawn(kind, suite, self._random)})

    def remove(self, label: str) -> None:
        """Forget a key. Raises LocalMisuse if there is none."""
        self._key(label, *get_args(Kind))
        self._change({other: key for other, key in self._keys.items() if other != label})

    def signer(self, label: str) -> Signer:
        """Return the signing port of a key of kind sign or hop. Raises LocalMisuse."""
        return self._key(label, "sign", "hop").signer()

    def agreer(self, label: str) -> Agreer:
        """Return the agreement port of a key of kind agree. Raises LocalMisuse."""
        return self._key(label, "agree").agreer()

    def hop_key_pem(self, label: str) -> bytes:
        """Return a key of kind hop as plain PKCS #8 PEM, for a TLS library. Raises LocalMisuse for other kinds."""
        key = private_key(self._key(label, "hop").scalar)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def _commit(self, keys: dict[str, Key]) -> None:
        """Keep ``keys`` durably, or raise and leave what was kept before."""

    def _change(self, keys: dict[str, Key]) -> None:
        self._commit(keys)
        self._keys = keys

    def _key(self, label: str, *kinds: Kind) -> Key:
        key = self._keys.get(label)
        if key is None:
            raise LocalMisuse(f"there is no key named {label}")
        if key.kind not in kinds:
            raise LocalMisuse(f"the key {label} is of the kind {key.kind}, not {' or '.join(kinds)}")
        return key
