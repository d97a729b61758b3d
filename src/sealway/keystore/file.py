# SPDX-License-Identifier: Apache-2.0
"""Private keys in one file, encrypted under a passphrase.

Invariant: a key that was generated is on the disk before anyone learns its public half; a change that another program
made to the file in the meantime is never overwritten.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Self

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1, suite
from sealway.errors import LocalMisuse, SealwayError, StateLost
from sealway.keystore.kept import KeptFile
from sealway.keystore.memory import LABEL, Key, MemoryKeystore
from sealway.keystore.ports import Kind
from sealway.keystore.sealing import SALT_BYTES, Cost, Lock, seal, unseal


class FileKeystore(MemoryKeystore):
    """A Keystore in a file of mode 0600. Made by ``create`` and ``open``.

    One program at a time should change it; if two do, the second is refused and nothing is lost.
    """

    def __init__(self, file: KeptFile, lock: Lock, keys: dict[str, Key], random: Random) -> None:
        super().__init__(random)
        self._file = file
        self._lock = lock
        self._keys = keys

    @classmethod
    def create(
        cls, path: Path | str, passphrase: Secret, random: Random = os.urandom, *, cost: Cost | None = None
    ) -> Self:
        """Make a new, empty keystore file. Raises LocalMisuse if a file is there, or the passphrase is empty."""
        lock = Lock.derive(passphrase, cost or Cost(), random(SALT_BYTES))
        keystore = cls(KeptFile(Path(path)), lock, {}, random)
        keystore._change({})
        return keystore

    @classmethod
    def open(cls, path: Path | str, passphrase: Secret, random: Random = os.urandom) -> Self:
        """Open a keystore file.

        Raises:
            LocalMisuse: no such file, open to other users, or a wrong passphrase (or damage, which looks the same).
            StateLost: not a keystore file.
        """
        file, content = KeptFile.read(Path(path))
        lock, plaintext = unseal(content, passphrase)
        return cls(file, lock, _decoded(plaintext), random)

    def change_passphrase(self, passphrase: Secret, *, cost: Cost | None = None) -> None:
        """Encrypt the file anew under another passphrase. Copies made before still open with the old one."""
        before = self._lock
        self._lock = Lock.derive(passphrase, cost or before.cost, self._random(SALT_BYTES))
        try:
            self._commit(self._keys)
        except SealwayError:
            self._lock = before
            raise

    def _commit(self, keys: dict[str, Key]) -> None:
        self._file.replace(seal(self._lock, _encoded(keys), self._random))


def _encoded(keys: dict[str, Key]) -> Secret:
    entries = [[label, *_entry(key)] for label, key in sorted(keys.items())]
    return Secret(json.dumps(entries).encode())


def _entry(key: Key) -> list[str | int]:
    """Kind, scalar, and the suite unless it is 1, as in files that were written before there were others."""
    plain: list[str | int] = [key.kind, b64encode(key.scalar.reveal()).decode()]
    return plain if key.suite is SUITE_1 else [*plain, key.suite.number]


def _decoded(plaintext: Secret) -> dict[str, Key]:
    """Read what ``_encoded`` wrote: authentic, yet perhaps written by a version with an error."""
    try:
        keys = {label: _key(*entry) for label, *entry in json.loads(plaintext.reveal())}
        for label, key in keys.items():
            key.signer()  # refuses what is no private key
            if not LABEL.fullmatch(label):
                raise ValueError(label)
    except (ValueError, TypeError, LocalMisuse):
        raise StateLost("the keystore opens, but what it holds cannot be read") from None
    return keys


def _key(kind: Kind, scalar: str, number: int = SUITE_1.number) -> Key:
    return Key(kind, Secret(b64decode(scalar)), suite(number))
