# SPDX-License-Identifier: Apache-2.0
"""A state directory belongs to one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final, Self

from sealway.errors import InUse, LocalMisuse

_LOCK: Final = "lock"


class DirectoryLock:
    """The exclusive lock on a directory, held until ``release`` or the end of the process, however it ends; a context.

    Args:
        directory: made with mode 0700 if it is not there.
        owner: what holds it, for the message to whoever comes second.

    Raises:
        InUse: another process holds it.
        LocalMisuse: the directory cannot be used.
    """

    def __init__(self, directory: Path, owner: str) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LocalMisuse(f"cannot use {directory}: {error.strerror}") from None
        if not self._is_taken_soon():
            self.release()
            hint = "stop it, or give this one a directory of its own"
            raise InUse(f"another {owner} uses {directory}", hint=hint)

    def _is_taken_soon(self) -> bool:
        """Take the lock; tried again for a moment, since who only looks (``demand_free``) holds it for one."""
        for pause in (0.0, 0.01, 0.02):
            time.sleep(pause)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the directory free. Calls after the first have no effect."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def demand_free(directory: Path) -> None:
    """Return if no process runs in this directory. Raises InUse."""
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look do not see each other
    except BlockingIOError:
        raise InUse(f"another process uses {directory}", hint="stop it first") from None
    finally:
        os.close(descriptor)
