# SPDX-License-Identifier: Apache-2.0
"""Keys of sealed files whose content was not handed out yet: from a file's own envelope, or come through a hop.

Invariant: a key is deleted only after the file that it opens was handed out whole, or when it waited too long in vain;
how many of one peer wait is bounded.
"""

from __future__ import annotations

import hmac
import sqlite3
from dataclasses import dataclass, field
from typing import Final

from sealway.errors import StateLost
from sealway.protocol.policy import DAY_MS
from sealway.protocol.sealed_file import FileKeys
from sealway.sdk.journal import Journal
from sealway.sdk.schema import FILE
from sealway.vault.vault import Vault
from sealway.wire.message import FileKey
from sealway.wire.sealed_file import Preface

FILE_KEYS_KEPT_MS: Final = 30 * DAY_MS
MOST_OF_ONE_PEER: Final = 1_024

_ADD = "INSERT INTO files (peer, received, key, slot) VALUES (?, ?, ?, ?)"
_BOUND = (
    "DELETE FROM files WHERE peer = ? AND id <= (SELECT id FROM files WHERE peer = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
)


@dataclass(frozen=True, slots=True)
class WaitingKey:
    """A key and whose it is.

    Args:
        row: its place in the database.
        peer: the proven name of who sealed the file.
        key: opens it.
    """

    row: int
    peer: str
    key: FileKey = field(repr=False)


class WaitingKeys:
    """The table of them; nothing of it is held in memory."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, peer: str, key: FileKey, now_ms: int) -> None:
        """Keep a key with the present group; above a bound the oldest of the same peer is forgotten."""
        slot = self._journal.vault.allocate()
        self._journal.note(_ADD, peer, now_ms, self._journal.vault.wrap(slot, FILE, key.encode()), slot)
        self._journal.note(_BOUND, peer, peer, MOST_OF_ONE_PEER)

    def done(self, waiting: WaitingKey) -> None:
        """Forget a key with the present group: its file was handed out whole."""
        self._journal.note("DELETE FROM files WHERE id = ?", waiting.row)


def key_of(
    connection: sqlite3.Connection, vault: Vault, preface: Preface, commitment: bytes
) -> WaitingKey | None:  # fmt: skip
    """Return the key of the file with this preface and commitment, None if none of those that wait is it.

    Nothing is decrypted to find it: nobody can make another key with the same commitment.
    """
    for row, peer, slot, wrapped in connection.execute("SELECT id, peer, slot, key FROM files ORDER BY id DESC"):
        try:
            key = FileKey.decode(vault.unwrap(slot, FILE, wrapped))
        except StateLost:  # forgotten since this reading began, or damaged: then it opens nothing
            continue
        if hmac.compare_digest(FileKeys.of(key, preface).commitment, commitment):
            return WaitingKey(row, peer, key)
    return None
