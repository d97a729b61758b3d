# SPDX-License-Identifier: Apache-2.0
"""A file of JSON lines that survives a crash: lines are on the disk once they are appended; a torn last one is cut."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sealway.cli.files import sync_directory, usable


class JsonLines:
    """An open file of JSON lines.

    Args:
        path: made, mode 0600, if it is not there; its directory has to be.

    Raises:
        LocalMisuse: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with usable(path, "the file"):
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
            self._cut_torn()
            sync_directory(path.parent)

    def _cut_torn(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        whole = end
        while whole > 0:
            begin = max(0, whole - 65_536)
            self._file.seek(begin)
            newline = self._file.read(whole - begin).rfind(b"\n")
            whole = begin + newline + 1
            if newline >= 0:
                break
        self._file.truncate(whole)
        self._file.seek(whole)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield what the file holds. Raises ValueError for a line that is not a JSON object."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise ValueError(f"line {number} is not an object")
                yield value

    def append(self, values: Sequence[dict[str, Any]]) -> None:
        """Add lines; they are on the disk on return. Raises LocalMisuse if they cannot be written."""
        with usable(self.path, "the file"):
            self._file.write(b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values))
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
