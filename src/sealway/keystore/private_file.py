# SPDX-License-Identifier: Apache-2.0
"""Small files that only their owner may read: read with their permissions checked, replaced atomically.

Invariant: after a crash at any point a file holds either all of the old or all of the new content; it is never, not
even for a moment, readable by anyone else.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sealway.errors import LocalMisuse, StateLost

_CREDENTIAL_MODE: Final = 0o440


def read_private(path: Path, *, limit: int) -> bytes:
    """Return the content of a file of at most ``limit`` bytes.

    Raises:
        LocalMisuse: no such file, not a regular file, not this user's, or open to group or others.
        StateLost: larger than ``limit``.
    """
    try:
        content = _read(path, limit + 1)
    except OSError as error:
        raise LocalMisuse(f"cannot read {path}: {_reason(error)}") from None
    if len(content) > limit:
        raise StateLost(f"{path} is larger than {limit} bytes")
    return content


def replace_private(path: Path, content: bytes, *, check: Callable[[], None]) -> None:
    """Put ``content`` at ``path``, mode 0600, in one step that is durable on return.

    Args:
        check: called while the directory is locked against others who use this function; what it raises cancels.

    Raises:
        LocalMisuse: the directory does not exist or cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        with _locked_directory(path.parent) as directory:
            check()
            _write_new(fresh, content)
            fresh.replace(path)
            os.fsync(directory)
    except OSError as error:
        raise LocalMisuse(f"cannot write {path}: {_reason(error)}") from None


def _read(path: Path, most: int) -> bytes:
    # Not blocking, so that a pipe in the file's place is seen for what it is.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _check_private(path, os.fstat(descriptor))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise LocalMisuse(f"{path} is not a regular file")
    if _is_credential(path) and status.st_uid == 0 and not stat.S_IMODE(status.st_mode) & ~_CREDENTIAL_MODE:
        return
    if status.st_uid != os.geteuid():
        raise LocalMisuse(f"{path} belongs to another user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise LocalMisuse(f"{path} is open to other users", hint=f"chmod 600 {path}")


def _is_credential(path: Path) -> bool:
    """Say whether systemd gave this process the file (systemd.exec(5), LoadCredential).

    It belongs to root then, and an access control list lets this process alone read it, which shows as a group's right.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return directory is not None and path.parent == Path(directory)


@contextmanager
def _locked_directory(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)  # gives the lock back


def _write_new(path: Path, content: bytes) -> None:
    with suppress(FileNotFoundError):
        path.unlink()  # left by a crash; nobody else is here, the directory is locked
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _reason(error: OSError) -> str:
    return (error.strerror or "input/output error").lower()
