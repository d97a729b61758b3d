# SPDX-License-Identifier: Apache-2.0
"""Files that are read and handed over whole, with errors that name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_directory(path.parent)


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
