# SPDX-License-Identifier: Apache-2.0
"""Files that the command line reads and hands over, with errors that name them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealway.errors import LocalMisuse

MAX_FILE_BYTES = 1 << 20
_CHUNK = 1 << 16


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


def read_input(path: Path, what: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a file, or of standard input for ``-``. Raises LocalMisuse."""
    if str(path) != "-":
        return read_file(path, what, limit=limit)
    content = sys.stdin.buffer.read(limit + 1)
    if len(content) > limit:
        raise LocalMisuse(f"{what} on standard input is larger than {limit} bytes")
    return content


def write_file(path: Path, content: bytes, what: str) -> None:
    """Put ``content`` at ``path`` in one step that is durable on return. Raises LocalMisuse."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with usable(path, what):
        with fresh.open("wb") as file:
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


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """Yield what can be read from a descriptor, until its end. No lock of the interpreter is held while it waits."""
    while chunk := os.read(descriptor, _CHUNK):
        yield chunk


def lines_in(chunks: Iterator[bytes], *, limit: int) -> Iterator[bytes]:
    """Yield lines with their newline, the last perhaps without. Raises LocalMisuse for one over ``limit`` bytes."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
        if len(rest) > limit:
            raise LocalMisuse(f"a line is longer than {limit} bytes")
    if rest:
        yield rest


def _reason(error: OSError) -> str:
    return (error.strerror or "input/output error").lower()
