# SPDX-License-Identifier: Apache-2.0
"""Devices as they leave the factory, for tests that put them into service."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import Parameters, derive
from sealway.factory.newborn import IDEVID_KEY, BirthRecord, NewbornHome
from sealway.factory.setupcode import QrText, SetupCode
from sealway.identity.manufacturing import issue_idevid, issuing_authority, manufacturer_root
from sealway.keystore.file import FileKeystore
from sealway.keystore.sealing import Cost
from tests.cli.town import PASSPHRASE
from tests.identity.small_domain import signer


@dataclass(frozen=True)
class MadeDevice:
    """One device: its state directory, and what is on its label."""

    state: Path
    serial: str
    code: SetupCode

    @property
    def qr(self) -> QrText:
        """What its QR code says."""
        return QrText(self.code, self.serial)


def make_device(base: Path, serial: str, manufacturer: str = "Example Sensors") -> tuple[Path, MadeDevice]:
    """Make a device; return its manufacturer's root certificate, and it."""
    now, top, below = int(time.time()), signer(f"root of {manufacturer}"), signer(f"issuing of {manufacturer}")
    root = manufacturer_root(top, manufacturer, now=now, random=os.urandom)
    issuing = issuing_authority(below.public, root, top, now=now, random=os.urandom)
    home = NewbornHome(base / serial)
    home.path.mkdir(mode=0o700)
    cheap = Cost(memory_kib=8, passes=1)
    keystore = FileKeystore.create(home.keystore_path, Secret(PASSPHRASE.encode()), cost=cheap)
    keystore.generate(IDEVID_KEY)
    chain = issue_idevid(
        keystore.signer(IDEVID_KEY).public, serial, ca_chain=(issuing, root), ca_signer=below, mud_url=None, now=now,
        random=os.urandom,
    )  # fmt: skip
    code, parameters = SetupCode.draw(os.urandom), Parameters(os.urandom(16))
    home.write(BirthRecord(serial, "meter", chain), derive(code.password.reveal(), parameters).record(parameters))
    file = base / f"{serial}.root.der"
    file.write_bytes(root)
    return file, MadeDevice(home.path, serial, code)
