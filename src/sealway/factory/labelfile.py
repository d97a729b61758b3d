# SPDX-License-Identifier: Apache-2.0
"""What a label says, as a file that goes to whoever prints it: the one place where a setup code is written down.

Invariant: the file is private; its setup code shows in no repr and no error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sealway.errors import LocalMisuse, Malformed
from sealway.factory.setupcode import QrText, SetupCode
from sealway.keystore.private_file import read_private
from sealway.wire.manifest import check_label_text, check_serial

_MOST_BYTES: Final = 4096
_FIELDS: Final = {"manufacturer", "model", "serial", "setup_code", "qr"}


@dataclass(frozen=True, slots=True)
class Label:
    """What stands on one device's label.

    Args:
        manufacturer: who made it.
        model: what it is.
        serial: its serial number.
        code: its setup code.

    Raises:
        Malformed: one of them cannot be.
    """

    manufacturer: str
    model: str
    serial: str
    code: SetupCode

    def __post_init__(self) -> None:
        check_label_text(self.manufacturer, "manufacturer")
        check_label_text(self.model, "model")
        check_serial(self.serial)

    @property
    def qr(self) -> QrText:
        """What its QR code says."""
        return QrText(self.code, self.serial)

    def encode(self) -> bytes:
        """Return the file's content, setup code and all."""
        fields = {
            "manufacturer": self.manufacturer,
            "model": self.model,
            "serial": self.serial,
            "setup_code": self.code.reveal(),
            "qr": self.qr.reveal(),
        }
        return json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a label file. Raises LocalMisuse, StateLost if it cannot be read; Malformed, Mistyped if it is none."""
        try:
            found = json.loads(read_private(path, limit=_MOST_BYTES))
        except (ValueError, RecursionError):
            raise LocalMisuse(f"{path} is no label file") from None
        if not isinstance(found, dict) or found.keys() != _FIELDS or not _all_text(found):
            raise LocalMisuse(f"{path} is no label file", hint="sealway factory make writes them to OUT/labels")
        label = cls(found["manufacturer"], found["model"], found["serial"], SetupCode.parse(found["setup_code"]))
        if label.qr != QrText.parse(found["qr"]):
            raise Malformed("a label's QR code says something else than its digits")
        return label


def _all_text(found: dict[str, object]) -> bool:
    return all(isinstance(value, str) for value in found.values())
