# SPDX-License-Identifier: Apache-2.0
"""A small private file whose content one program keeps.

Invariant: a change that another program made to the file in the meantime is never overwritten.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from sealway.errors import LocalMisuse
from sealway.keystore.private_file import read_private, replace_private

MAX_FILE_BYTES: Final = 1 << 20


class KeptFile:
    """A file with what this program last read from it or wrote to it; None: there shall be no such file yet."""

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.path = path
        self._content = content

    @classmethod
    def read(cls, path: Path) -> tuple[Self, bytes]:
        """Return the file and its content. Raises LocalMisuse, StateLost as ``read_private``."""
        content = read_private(path, limit=MAX_FILE_BYTES)
        return cls(path, content), content

    def replace(self, content: bytes) -> None:
        """Replace the content, durably.

        Raises LocalMisuse: too large, the file was changed by another program, or cannot be written.
        """
        if len(content) > MAX_FILE_BYTES:
            raise LocalMisuse("the keystore is full", hint="remove keys that are no longer used")
        replace_private(self.path, content, check=self._check_unchanged)
        self._content = content

    def remove(self) -> None:
        """Remove the file, if this program has written it."""
        if self._content is not None:
            with suppress(OSError):
                self.path.unlink()

    def _check_unchanged(self) -> None:
        if self._content is None:
            if os.path.lexists(self.path):
                raise LocalMisuse(f"{self.path} exists already", hint="choose another path, or open it")
        elif read_private(self.path, limit=MAX_FILE_BYTES) != self._content:
            raise LocalMisuse(f"{self.path} was changed by another program", hint="open it again")
