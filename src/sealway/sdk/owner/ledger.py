# SPDX-License-Identifier: Apache-2.0
"""What an owner has issued, one JSON line each, durable before the document is handed out.

Invariant: a line is whole and on the disk when ``append`` returns; one that a crash has torn is the last, was never
handed out, and is cut before the next is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sealway.errors import StateLost
from sealway.storage.files import sync_directory, usable


class Ledger:
    """The issued certificates and grants of one owner, oldest first. Writers hold the lock of the owner's directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, kind: str, **fields: Any) -> None:
        """Add an entry. Raises LocalMisuse if it cannot be written."""
        line = json.dumps({"kind": kind, **fields}, ensure_ascii=False).encode() + b"\n"
        with usable(self._path, "the ledger"):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                file.seek(_whole_bytes(file.read()))
                file.truncate()
                file.write(line)
                file.flush()
                os.fsync(descriptor)
            sync_directory(self._path.parent)

    def entries(self, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield entries of one kind, or of all. Raises StateLost for a line that is not one of ours."""
        content = self._path.read_bytes() if self._path.exists() else b""
        for number, line in enumerate(content[: _whole_bytes(content)].splitlines(), start=1):
            try:
                entry: dict[str, Any] = json.loads(line)
                wanted = kind is None or entry["kind"] == kind
            except (ValueError, KeyError, TypeError):
                raise StateLost(f"line {number} of {self._path} is damaged") from None
            if wanted:
                yield entry


def _whole_bytes(content: bytes) -> int:
    return content.rfind(b"\n") + 1
