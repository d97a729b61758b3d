# SPDX-License-Identifier: Apache-2.0
"""What runs while the power fails: ``python -m tests.power.scene DIRECTORY NOW``.

A hub in memory, a device and an application, as in tests/system/killed_process.py, with less to do. Besides what the
ends did, every key and nonce that sealed something is appended to a file (as hashes).
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

from sealway.crypto.suites import Suite
from sealway.sdk import endpoint, journal
from tests.system import killed_process
from tests.system.killed_process import append
from tests.system.world import KeyWatch, _Watched

READINGS = 24
COMMANDS = 6
WITNESSES = ("got", "executed", "answered", "keys")
"""Files of the outside world: what is in them has happened, whatever the disk has lost."""


class Witness(KeyWatch):
    """Appends the hash of each key with its nonce, and of what it sealed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def note(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> None:
        used, sealed = (hashlib.sha256(part).hexdigest()[:32] for part in (key + nonce, aad + plaintext))
        append(self.path, f"{used} {sealed}")


async def play(directory: Path, now: int) -> None:
    """Do everything that is left to do."""
    killed_process.READINGS, killed_process.COMMANDS = READINGS, COMMANDS
    endpoint.TICK_S = endpoint.PAUSE_S = 0.02
    journal.PERIOD_MS = 20  # type: ignore[misc]
    genuine, witness = Suite.aead, Witness(directory / "keys")
    Suite.aead = lambda suite, key: _Watched(genuine(suite, key), key, witness)  # type: ignore[method-assign,assignment,return-value]
    try:
        await killed_process.run(directory, now)
    finally:
        Suite.aead = genuine  # type: ignore[method-assign]


if __name__ == "__main__":
    asyncio.run(play(Path(sys.argv[1]), int(sys.argv[2])))
