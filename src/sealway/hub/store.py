# SPDX-License-Identifier: Apache-2.0
"""The hub's database in its own directory, which is locked while the hub runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sealway.hub.schema import SCRIPTS
from sealway.storage.directory import DirectoryLock
from sealway.storage.store import Store as Database

DATABASE: Final = "hub.sqlite"
_CACHE_KIB: Final = 16_384  # the index of the digests of some 500 000 envelopes


class Store(Database):
    """The open database of one hub.

    Args:
        state_dir: the hub's own directory, made with mode 0700 if it is not there, and locked until ``close``.

    Raises:
        LocalMisuse: another hub uses the directory, or it cannot be written.
        StateLost: damaged, or written by a newer version.
    """

    def __init__(self, state_dir: Path) -> None:
        self._lock = DirectoryLock(state_dir, "hub")
        try:
            super().__init__(state_dir / DATABASE, SCRIPTS, "hub", cache_kib=_CACHE_KIB)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Commit what waits, then close and unlock. Calls after this have no effect."""
        super().close()
        self._lock.release()
