# SPDX-License-Identifier: Apache-2.0
"""The register of made devices: one JSON line each, durable before the device leaves its place of making.

Invariant: a line is whole and on the disk when ``enter`` returns; no serial number is entered twice. A line that a
crash has torn is the last, counts for nothing, and is cut before the next is written.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from sealway.errors import LocalMisuse, StateLost
from sealway.storage.files import sync_directory, usable


@dataclass(frozen=True, slots=True)
class Made:
    """A device that was made.

    Args:
        serial: its serial number.
        x5t: SHA-256 of its IDevID certificate, hex.
        model: what it is.
        mud_url: where its network behaviour is described, or None.
        out: the directory that it was made in.
        at: when, Unix seconds.
    """

    serial: str
    x5t: str
    model: str
    mud_url: str | None
    out: str
    at: int


class Register:
    """All devices of one factory, oldest first. Writers hold the lock of the factory's directory.

    Args:
        path: the file.
        made: what is in it, by serial number.
    """

    def __init__(self, path: Path, made: dict[str, Made]) -> None:
        self._path = path
        self.made = made

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the register. Raises StateLost for a line that is not one of ours."""
        content = path.read_bytes() if path.exists() else b""
        made: dict[str, Made] = {}
        for number, line in enumerate(content[: _whole_bytes(content)].splitlines(), start=1):
            try:
                device = Made(**json.loads(line))
            except (ValueError, TypeError):
                raise StateLost(f"line {number} of {path} is damaged") from None
            made[device.serial] = device
        return cls(path, made)

    def enter(self, device: Made) -> None:
        """Count a device. Raises LocalMisuse if its serial number is taken, or the file cannot be written."""
        if device.serial in self.made:
            raise LocalMisuse(f"there is a device {device.serial} already")
        line = json.dumps(asdict(device), ensure_ascii=False).encode() + b"\n"
        with usable(self._path, "the register"):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                file.seek(_end_of_last_line(descriptor))
                file.truncate()
                file.write(line)
                file.flush()
                os.fsync(descriptor)
            sync_directory(self._path.parent)
        self.made[device.serial] = device


def _end_of_last_line(descriptor: int) -> int:
    """Where the next line begins; only the end of the file is looked at, since it may be long."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - (1 << 16))
    return begin + _whole_bytes(os.pread(descriptor, size - begin, begin))


def _whole_bytes(content: bytes) -> int:
    return content.rfind(b"\n") + 1
