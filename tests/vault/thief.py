# SPDX-License-Identifier: Apache-2.0
"""What somebody makes of a copied state directory, vault.key included."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sealway.sdk.schema import DATABASE, FILE, ONE_TIME, SESSION, SIGNED_PREKEY, WRAPPED
from sealway.vault.vault import read_vault

KINDS = dict(zip(WRAPPED, (SESSION, SIGNED_PREKEY, ONE_TIME, FILE), strict=True))


def stored_secrets(directory: Path) -> Iterator[bytes]:
    """Yield every secret value that the rows of a state hold, as its endpoint would read it."""
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        vault = read_vault(directory, connection, os.urandom)
        for place, kind in KINDS.items():
            rows = connection.execute(f"SELECT slot, {place.column} FROM {place.table} WHERE {place.column} NOT NULL")  # noqa: S608
            for slot, wrapped in rows.fetchall():
                yield vault.unwrap(slot, kind, wrapped)
