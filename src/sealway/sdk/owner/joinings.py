# SPDX-License-Identifier: Apache-2.0
"""Which devices the owner has taken in, and how far that came: one file a device in DIR/joining.

A device is known by its birth certificate: serial numbers are unique only among the devices of one manufacturer.

Invariant: the enrolment is here before the device is sent it; so the same device that asks again within 24 hours gets
the identical one, and never a second. "Confirmed" is written only after the device said that it has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, SealwayError, StateLost
from sealway.joining.channel import Resumption
from sealway.joining.messages import RESUME_ID_BYTES
from sealway.keystore.private_file import read_private, replace_private
from sealway.storage.files import names_in, sync_directory, usable
from sealway.wire import cbor, shape
from sealway.wire.address import Name
from sealway.wire.cose import MAX_DOCUMENT_BYTES

_MOST_BYTES: Final = MAX_DOCUMENT_BYTES + 4096
_SERIAL: Final = re.compile(r"[A-Z0-9](?:[A-Z0-9.-]{0,62}[A-Z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Joined:
    """One device that was taken in.

    Args:
        birth: SHA-256 of its birth certificate, 32 bytes.
        serial: its serial number.
        name: what it is called.
        csr: SHA-256 of its request.
        enrolment: what it was given.
        resumption: how the exchange can be gone on with.
        until: Unix seconds; until then.
        confirmed: the device said that it has it.
    """

    birth: bytes
    serial: str
    name: Name
    csr: bytes
    enrolment: bytes = field(repr=False)
    resumption: Resumption = field(repr=False)
    until: int
    confirmed: bool = False

    def encode(self) -> bytes:
        """Return the content of the file; it holds a secret."""
        resumption = [self.resumption.id, self.resumption.secret.reveal()]
        value = {1: self.serial, 2: str(self.name), 3: self.csr, 4: self.enrolment, 5: resumption}
        return cbor.encode(value | {6: self.until, 7: self.confirmed, 8: self.birth})

    @classmethod
    def decode(cls, data: bytes) -> Joined:
        """Read the content of the file. Raises Malformed, TooLarge."""
        found = shape.fields(cbor.decode(data, limit=_MOST_BYTES), "joined", range(1, 9))
        identifier, secret = shape.array(found[5], "resumption", 2, 2)
        resumption = Resumption(
            shape.bstr(identifier, "resume id", RESUME_ID_BYTES), Secret(shape.bstr(secret, "secret", 32))
        )
        return cls(
            birth=shape.bstr(found[8], "birth", 32), serial=shape.tstr(found[1], "serial number", 1, 64),
            name=Name.parse(found[2]), csr=shape.bstr(found[3], "request", 32),
            enrolment=shape.bstr(found[4], "enrolment", 1, MAX_DOCUMENT_BYTES), resumption=resumption,
            until=shape.instant(found[6], "until"), confirmed=found[7] is True,
        )  # fmt: skip


class Joinings:
    """The folder of an owner's directory. Writers hold the lock of that.

    Args:
        path: DIR/joining.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, birth: bytes) -> Joined | None:
        """Return what is known of the device with this birth certificate (its SHA-256). Raises StateLost."""
        files = names_in(self._path, f".{birth.hex()}.joined", "the records")
        return self._read(files[0]) if files else None

    def has_serial(self, serial: str) -> bool:
        """Say whether a device with this serial number was taken in, whoever made it."""
        files = names_in(self._path, ".joined", "the records")
        return any(file.stem.rpartition(".")[0] == serial for file in files)

    def keep(self, joined: Joined) -> None:
        """Write it down, durably. Raises LocalMisuse."""
        self._path.mkdir(mode=0o700, exist_ok=True)
        replace_private(self._file(joined), joined.encode(), check=lambda: None)

    def forget(self, joined: Joined) -> None:
        """Forget a device that another one takes the place of. Raises LocalMisuse."""
        file = self._file(joined)
        with usable(file, "the record"):
            file.unlink(missing_ok=True)
            sync_directory(self._path)

    def confirm(self, joined: Joined) -> None:
        """Write down that the device has it, durably."""
        self.keep(replace(joined, confirmed=True))

    def unconfirmed(self, now: int) -> Iterator[Joined]:
        """Yield those that can still be gone on with, and whose device has not answered."""
        for joined in self:
            if not joined.confirmed and now < joined.until:
                yield joined

    def __iter__(self) -> Iterator[Joined]:
        for file in names_in(self._path, ".joined", "the records"):
            yield self._read(file)

    def _file(self, joined: Joined) -> Path:
        if not _SERIAL.fullmatch(joined.serial):
            raise LocalMisuse("a serial number is of A-Z, 0-9, dot and hyphen")
        return self._path / f"{joined.serial}.{joined.birth.hex()}.joined"

    @staticmethod
    def _read(file: Path) -> Joined:
        try:
            return Joined.decode(read_private(file, limit=_MOST_BYTES))
        except LocalMisuse:
            raise
        except SealwayError as error:
            raise StateLost(f"{file} is damaged: {error.message}") from None
