# SPDX-License-Identifier: Apache-2.0
"""Files that are read and handed over whole, with errors that name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sealway.errors import LocalMisuse

MAX_FILE_BYTES = 1 << 20


def read_file(path: Path, what: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a file of at most ``limit`` bytes. Raises LocalMisuse."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise LocalMisuse(f"cannot read {what} {path}: {_reason(error)}") from None
    if len(content) > limit:
        raise LocalMisuse(f"{what} {path} is larger than {limit} bytes")
    return content


def write_file(path: Path, content: bytes, what: str, *, mode: int = 0o666) -> None:
    """Put ``content`` at ``path`` in one step that is durable on return; ``mode`` is lessened by the umask.

    Raises LocalMisuse.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with usable(path, what):
        try:
            _write_new(fresh, content, mode)
            fresh.replace(path)
        except BaseException:
            with suppress(OSError):
                fresh.unlink()
            raise
        sync_directory(path.parent)


def names_in(directory: Path, suffix: str, what: str) -> list[Path]:
    """Return the files of a directory whose names end in ``suffix``, by name; none if there is no such directory.

    Raises LocalMisuse if the directory cannot be read: that is not the same as being empty.
    """
    with usable(directory, what):
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return []
    return [directory / name for name in sorted(names) if name.endswith(suffix) and not name.startswith(".")]


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that was not there: in a directory of several users, nobody's link is followed."""
    with suppress(FileNotFoundError):
        path.unlink()  # left by a crash of a process with this number
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make a new or renamed entry of a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def usable(path: Path, what: str) -> Iterator[None]:
    """Turn what the operating system says of a file into LocalMisuse that names it."""
    try:
        yield
    except OSError as error:
        raise LocalMisuse(f"cannot use {what} {path}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return (error.strerror or "input/output error").lower()
