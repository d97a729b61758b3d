# SPDX-License-Identifier: Apache-2.0
"""One process at a time in a state directory; the second is told so, with an exit code of its own."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, Self

from sealway.cli.messages import InUse
from sealway.storage.directory import DirectoryLock

_LOCK: Final = "lock"


class Held(DirectoryLock):
    """The lock on a directory, as a context. Raises InUse if another process has it.

    Args:
        directory: made if it is not there.
        owner: what holds it.
    """

    def __init__(self, directory: Path, owner: str) -> None:
        demand_free(directory)
        super().__init__(directory, owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def demand_free(directory: Path) -> None:
    """Return if no process runs in this directory. Raises InUse."""
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUse(f"another process uses {directory}", hint="stop it first") from None
    finally:
        os.close(descriptor)
