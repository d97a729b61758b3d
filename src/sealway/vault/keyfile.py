# SPDX-License-Identifier: Apache-2.0
"""The small file that opens everything else: the key of the present period and that of the next one.

Invariant: a period's key is overwritten where it stands, durably, when the period after it has ended. Two blocks take
turns, so one of them is whole whenever the power fails; the database says which one counts.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from sealway.crypto.secret import Secret
from sealway.errors import StateLost
from sealway.storage.files import sync_directory
from sealway.vault.wrapping import PERIOD_KEY_BYTES, Period

KEY_FILE: Final = "vault.key"
BLOCK_BYTES: Final = 4096
"""A block of most file systems and disks: the write of one block does not touch the other."""

_MAGIC: Final = b"SWVK"
_VERSION: Final = 1
_PLAIN: Final = 0
"""How the key is kept in its block: as it is. Other values are left for a key that is wrapped once more."""
_HEAD: Final = _MAGIC + bytes([_VERSION, _PLAIN])
_NUMBER_BYTES: Final = 8
_CHECK_BYTES: Final = 16
_RECORD_BYTES: Final = len(_HEAD) + _NUMBER_BYTES + PERIOD_KEY_BYTES


def make(directory: Path, periods: tuple[Period, Period]) -> None:
    """Put a new file in its place, durably. Raises StateLost if it cannot be written."""
    path = directory / KEY_FILE
    fresh = path.with_name(f".{KEY_FILE}.new")
    content = bytearray(2 * BLOCK_BYTES)
    for period in periods:
        content[_offset(period) : _offset(period) + _RECORD_BYTES + _CHECK_BYTES] = _block(period)
    try:
        with suppress(FileNotFoundError):
            fresh.unlink()
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, content, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(path)
        sync_directory(directory)
    except OSError as error:
        raise _unwritable(path, error) from None


def read(directory: Path) -> dict[int, Period]:
    """Return the periods whose keys are there, by number; none if there is no file. Raises StateLost if it cannot be
    read."""
    path = directory / KEY_FILE
    try:
        with path.open("rb") as file:
            content = file.read(2 * BLOCK_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StateLost(f"cannot read {path}: {error.strerror}") from None
    found = [_period(content[at : at + _RECORD_BYTES + _CHECK_BYTES]) for at in (0, BLOCK_BYTES)]
    return {period.number: period for period in found if period is not None}


def replace(directory: Path, period: Period) -> None:
    """Write a period's key over that of the period before the last one, durably. Raises StateLost if it cannot be."""
    path = directory / KEY_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, _block(period), _offset(period))
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unwritable(path, error) from None


def _offset(period: Period) -> int:
    return period.number % 2 * BLOCK_BYTES


def _block(period: Period) -> bytes:
    record = _HEAD + period.number.to_bytes(_NUMBER_BYTES) + period.key.reveal()
    return record + _check(record)


def _check(record: bytes) -> bytes:
    """Against a torn or decayed block; whoever can write here has the keys."""
    return hashlib.sha256(record).digest()[:_CHECK_BYTES]


def _period(block: bytes) -> Period | None:
    record, check = block[:_RECORD_BYTES], block[_RECORD_BYTES:]
    if len(block) != _RECORD_BYTES + _CHECK_BYTES or not record.startswith(_HEAD) or _check(record) != check:
        return None
    number = int.from_bytes(record[len(_HEAD) : len(_HEAD) + _NUMBER_BYTES])
    return Period(number, Secret(record[len(_HEAD) + _NUMBER_BYTES :]))


def _unwritable(path: Path, error: OSError) -> StateLost:
    return StateLost(f"cannot write {path}: {error.strerror}", hint="is the disk full, or read-only?")
