# SPDX-License-Identifier: Apache-2.0
"""An endpoint's database and the vault of its secrets, opened together."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sealway.crypto.ports import Random
from sealway.sdk.schema import DATABASE, SCRIPTS, WRAPPED
from sealway.storage.store import Store
from sealway.vault.vault import Vault, open_vault


def open_state(directory: Path, random: Random) -> tuple[Store, Vault]:
    """Open a state directory that the caller has locked, or make one.

    Raises:
        StateLost: it is damaged, cannot be written, or its database and vault.key are not of one time.
    """
    opened: list[Vault] = []

    def prepare(connection: sqlite3.Connection) -> None:
        opened.append(open_vault(directory, connection, WRAPPED, random))

    store = Store(directory / DATABASE, SCRIPTS, "endpoint", prepare=prepare)
    return store, opened[0]
