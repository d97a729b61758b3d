# SPDX-License-Identifier: Apache-2.0
"""What a device has on its disk when it leaves the factory, beside its keystore; and how it reads that again.

Invariant: the setup code is not among it. A device pairs with a copy of the verifier, which it deletes once it has an
owner; the file stays, and is read again when a person resets the device.

DIR/keystore     private keys, encrypted; IDEVID_KEY is the one that it was born with
DIR/birth        serial number, model, birth chain; never changes
DIR/verifier     the SPAKE2+ verifier of the setup code
DIR/passphrase   the keystore's, if the factory made it up
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import Parameters, ScryptCost, VerifierRecord
from sealway.errors import LocalMisuse, SealwayError, StateLost
from sealway.keystore.private_file import read_private, replace_private
from sealway.wire import cbor, shape
from sealway.wire.cose import check_chain
from sealway.wire.manifest import check_label_text, check_serial

IDEVID_KEY: Final = "idevid"
"""The label of the key that a device is born with."""

_MOST_BYTES: Final = 32_768


@dataclass(frozen=True, slots=True)
class BirthRecord:
    """Who the device is until it has an owner, and again after a reset.

    Args:
        serial: its serial number.
        model: what it is.
        chain: its birth chain in DER, its IDevID certificate first.

    Raises:
        Malformed: one of them cannot be.
    """

    serial: str
    model: str
    chain: tuple[bytes, ...]

    def __post_init__(self) -> None:
        check_serial(self.serial)
        check_label_text(self.model, "model")
        check_chain(self.chain, "birth chain")

    def encode(self) -> bytes:
        """Return the file's content."""
        return cbor.encode({1: 1, 2: self.serial, 3: self.model, 4: list(self.chain)})

    @classmethod
    def decode(cls, data: bytes) -> BirthRecord:
        """Read it. Raises Malformed, TooLarge."""
        found = shape.fields(cbor.decode(data, limit=_MOST_BYTES, depth=2), "birth", (1, 2, 3, 4))
        shape.constant(found[1], "version", 1)
        return cls(found[2], found[3], tuple(shape.array(found[4], "birth chain", 1, 4)))


def encode_verifier(record: VerifierRecord) -> bytes:
    """Return a verifier as the file has it; whoever has these bytes can guess the code offline."""
    salt, cost = record.parameters.salt, record.parameters.cost
    return cbor.encode({1: 1, 2: record.w0.reveal(), 3: record.point, 4: salt, 5: [cost.n, cost.r, cost.p]})


def decode_verifier(data: bytes) -> VerifierRecord:
    """Read a verifier. Raises Malformed, TooLarge, NotAuthentic."""
    found = shape.fields(cbor.decode(data, limit=_MOST_BYTES, depth=2), "verifier", (1, 2, 3, 4, 5))
    shape.constant(found[1], "version", 1)
    cost = [shape.uint(value, "cost") for value in shape.array(found[5], "cost", 3, 3)]
    parameters = Parameters(shape.bstr(found[4], "salt", 16), ScryptCost(*cost))
    return VerifierRecord(Secret(shape.bstr(found[2], "w0", 32)), shape.bstr(found[3], "L", 65), parameters)


class NewbornHome:
    """The files of a made device in its state directory.

    Args:
        path: the state directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keystore_path = path / "keystore"
        self.birth_path = path / "birth"
        self.verifier_path = path / "verifier"
        self.passphrase_path = path / "passphrase"

    def write(self, birth: BirthRecord, verifier: VerifierRecord) -> None:
        """Keep both durably. Raises LocalMisuse if the directory cannot be written."""
        replace_private(self.birth_path, birth.encode(), check=lambda: None)
        replace_private(self.verifier_path, encode_verifier(verifier), check=lambda: None)

    def read_birth(self) -> BirthRecord:
        """Return who the device is. Raises LocalMisuse if it was not made by a factory, StateLost."""
        if not self.birth_path.exists():
            raise LocalMisuse(f"{self.path} is no device that a factory made", hint="sealway factory make")
        try:
            return BirthRecord.decode(read_private(self.birth_path, limit=_MOST_BYTES))
        except SealwayError as error:
            raise StateLost(f"{self.birth_path} is damaged: {error.message}") from None

    def read_verifier(self) -> VerifierRecord | None:
        """Return the setup code's verifier, or None once it was removed. Raises StateLost, LocalMisuse."""
        if not self.verifier_path.exists():
            return None
        try:
            return decode_verifier(read_private(self.verifier_path, limit=_MOST_BYTES))
        except SealwayError as error:
            raise StateLost(f"{self.verifier_path} is damaged: {error.message}") from None
