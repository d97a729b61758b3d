# SPDX-License-Identifier: Apache-2.0
"""Files and streams that the command line reads and hands over, with errors that name them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from sealway.errors import LocalMisuse
from sealway.storage.files import MAX_FILE_BYTES, read_file, sync_directory, usable, write_file

__all__ = ["chunks_of", "lines_in", "read_file", "read_input", "sync_directory", "usable", "write_file"]

_CHUNK = 1 << 16


def read_input(path: Path, what: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a file, or of standard input for ``-``. Raises LocalMisuse."""
    if str(path) != "-":
        return read_file(path, what, limit=limit)
    content = sys.stdin.buffer.read(limit + 1)
    if len(content) > limit:
        raise LocalMisuse(f"{what} on standard input is larger than {limit} bytes")
    return content


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
