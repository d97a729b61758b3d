# SPDX-License-Identifier: Apache-2.0
"""What somebody makes of a copied state directory, vault.key included.

``Thief`` is better equipped than anybody who copies a disk: besides the copy he has every encrypted value and every
page of keys that was ever handed to the database. Whatever lies in rows, free pages or the log is one of these.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sealway.errors import StateLost
from sealway.sdk.schema import DATABASE, FILE, ONE_TIME, SENT, SESSION, SIGNED_PREKEY, WRAPPED
from sealway.vault import keyfile, leaves, vault
from sealway.vault.leaves import SLOTS, Leaf, read_leaf, read_top
from sealway.vault.vault import Vault, read_vault
from sealway.vault.wrapping import HEADER_BYTES, Period, binding, decrypt, period_of, salt_of

KINDS = dict(zip(WRAPPED, (SESSION, SIGNED_PREKEY, ONE_TIME, FILE, SENT), strict=True))


def stored_secrets(directory: Path) -> Iterator[bytes]:
    """Yield every secret value that the rows of a state hold, as its endpoint would read it."""
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        opened = read_vault(directory, connection, os.urandom)
        for place, kind in KINDS.items():
            wrapped = f"SELECT slot, {place.column} FROM {place.table} WHERE {place.column} NOT NULL AND slot NOT NULL"  # noqa: S608
            for slot, value in connection.execute(wrapped).fetchall():
                yield opened.unwrap(slot, kind, value)


class Thief:
    """Writes along whatever is wrapped in this process; then makes what he can of a copied key file."""

    def __init__(self) -> None:
        self.values: list[tuple[int, bytes, bytes]] = []
        self.leaves: dict[int, list[bytes]] = defaultdict(list)
        self.tops: list[bytes] = []

    def listen(self, monkeypatch: Any) -> None:
        """Write along from now on."""
        wrap, stored, top = Vault.wrap, Leaf.stored, leaves.stored_top

        def wrap_and_tell(self_: Vault, slot: int, kind: bytes, value: bytes) -> bytes:
            self.values.append((slot, kind, wrap(self_, slot, kind, value)))
            return self.values[-1][2]

        def stored_and_told(leaf: Leaf, number: int) -> bytes:
            self.leaves[number].append(stored(leaf, number))
            return self.leaves[number][-1]

        def top_and_told(*arguments: Any) -> bytes:
            self.tops.append(top(*arguments))
            return self.tops[-1]

        monkeypatch.setattr(Vault, "wrap", wrap_and_tell)
        monkeypatch.setattr(Leaf, "stored", stored_and_told)
        monkeypatch.setattr(vault, "stored_top", top_and_told)

    def reads(self, copy: Path) -> list[bytes]:
        """Return all that opens with what is in the key file of a copy."""
        periods = keyfile.read(copy)
        keys = self._keys(periods)
        found = []
        for slot, kind, wrapped in self.values:
            period = periods.get(period_of(wrapped))
            candidates = [*keys[slot], *([period.key_of(slot, salt_of(wrapped))] if period is not None else [])]
            for key in candidates:
                with suppress(StateLost):
                    found.append(decrypt(key, wrapped[HEADER_BYTES:], binding(kind, slot)))
                    break
        return found

    def _keys(self, periods: dict[int, Period]) -> dict[int, list[bytes]]:
        """Every key of a slot in any page that any top page opens."""
        found: dict[int, list[bytes]] = defaultdict(list)
        for top in self.tops:
            period = periods.get(period_of(top))
            page_keys: dict[int, bytes] = {}
            if period is not None:
                with suppress(StateLost):  # it may be another directory's
                    page_keys = read_top(period, top)
            for number, page_key in page_keys.items():
                for page in self.leaves[number]:
                    with suppress(StateLost):
                        leaf = read_leaf(page_key, page, number)
                        for at in range(SLOTS):
                            found[number * SLOTS + at] += [key] if (key := leaf[at]) is not None else []
        return found


def raw_bytes(directory: Path) -> bytes:
    """Return what is in all files of a copy: database, log, keys."""
    return b"\0".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())
