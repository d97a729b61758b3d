# SPDX-License-Identifier: Apache-2.0
"""Reading whose a device is, beside whatever runs in its state directory.

DIR/pairing/ownership  see ``home.pairing``, which writes it
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sealway.errors import LocalMisuse, SealwayError, StateLost
from sealway.joining.ownership import MAX_OWNERSHIP_BYTES, Ownership, State
from sealway.keystore.private_file import read_private

DIRECTORY: Final = "pairing"
RECORD: Final = "ownership"


def read_ownership(path: Path) -> Ownership | None:
    """Return what a device's state directory says of its ownership; None where it never said anything.

    Raises:
        StateLost: the file is damaged.
    """
    file = path / DIRECTORY / RECORD
    if not file.exists():
        return None
    try:
        return Ownership.decode(read_private(file, limit=MAX_OWNERSHIP_BYTES))
    except LocalMisuse:
        raise
    except SealwayError as error:
        raise StateLost(f"{file} is damaged: {error.message}") from None


def state_in(path: Path, enrolment: bytes | None, now: int) -> State:
    """Return whose the device in a state directory is.

    Args:
        path: the directory.
        enrolment: SHA-256 of the enrolment that it keeps, or None.
        now: Unix seconds.

    Raises:
        StateLost: the file is damaged.
    """
    return (read_ownership(path) or Ownership()).state(enrolment, now)
