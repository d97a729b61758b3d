# SPDX-License-Identifier: Apache-2.0
"""Making devices: a key that is born in its keystore, a birth certificate, a setup code; one by one, in batches.

Invariant: a device is counted once it is whole and on the disk, and only then gets its place: no half-made device is
ever counted, and no serial number given twice, wherever the process is killed. The setup code is written to the label
file, which stays with the factory, and nowhere else.

OUT/SERIAL/              what goes into the device; see ``newborn``
OUT/labels/SERIAL.json   what goes to the printer
OUT/.SERIAL.making/      both, until the device is counted
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import SALT_BYTES, Parameters, VerifierRecord, derive
from sealway.errors import LocalMisuse
from sealway.factory.authority import OpenFactory
from sealway.factory.labelfile import Label
from sealway.factory.newborn import IDEVID_KEY, BirthRecord, NewbornHome
from sealway.factory.register import Made
from sealway.factory.setupcode import SetupCode
from sealway.identity.manufacturing import issue_idevid
from sealway.keystore.places import FILE, check_place, create_keystore
from sealway.keystore.private_file import replace_private
from sealway.storage.files import sync_directory, usable
from sealway.wire.manifest import check_label_text, check_mud_url, check_serial

MOST_IN_A_BATCH: Final = 10_000
LABELS: Final = "labels"

_NUMBER_DIGITS: Final = 6
_PASSPHRASE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Making:
    """What all devices of a batch have in common.

    Args:
        model: what they are.
        out: where they go.
        mud_url: where their network behaviour is described, or None.
        passphrase: of their keystores; None: a random one for each, which lies beside it.
        keystore: where their keys are born, as ``keystore.places`` names it; of a token, the PIN is the passphrase.

    Raises:
        Malformed: a model or a MUD URL that cannot be.
        LocalMisuse: no such place for keys, or a token without its PIN.
    """

    model: str
    out: Path
    mud_url: str | None = None
    passphrase: Secret | None = field(default=None, repr=False)
    keystore: str = FILE

    def __post_init__(self) -> None:
        check_place(self.keystore)
        if self.keystore != FILE and self.passphrase is None:
            raise LocalMisuse("a token has a PIN", hint="give it as the devices' passphrase: --device-key-file FILE")
        check_label_text(self.model, "model")
        if self.mud_url is not None:
            check_mud_url(self.mud_url)


def next_serials(factory: OpenFactory, prefix: str, count: int) -> list[str]:
    """Return the next ``count`` serial numbers: prefix and six digits, after the highest that was given.

    Raises:
        Malformed: they would be none.
        LocalMisuse: the numbers are used up.
    """
    numbered = re.compile(re.escape(prefix) + rf"([0-9]{{{_NUMBER_DIGITS}}})", re.ASCII)
    taken = [int(match[1]) for serial in factory.register.made if (match := numbered.fullmatch(serial))]
    first = max(taken, default=0) + 1
    if first + count > 10**_NUMBER_DIGITS:
        raise LocalMisuse(f"there are no {count} serial numbers left with {prefix}", hint="give another --prefix")
    return [check_serial(f"{prefix}{number:0{_NUMBER_DIGITS}}") for number in range(first, first + count)]


def demand_room(factory: OpenFactory, serials: Sequence[str], out: Path) -> None:
    """Return if nothing stands where these devices and their labels go. Raises LocalMisuse."""
    for serial in serials:
        if serial not in factory.register.made:
            _Place(out, serial).demand_room()


def make_all(factory: OpenFactory, serials: Sequence[str], making: Making, tell: Callable[[str, bool], None]) -> None:
    """Make the devices that are not made yet; what was begun and interrupted is begun anew.

    Args:
        tell: is called with each serial number, and whether it was made before.

    Raises:
        LocalMisuse: something is in the way, or the disk is full.
    """
    with usable(making.out, "the directory"):
        (making.out / LABELS).mkdir(mode=0o700, parents=True, exist_ok=True)
    demand_room(factory, serials, making.out)
    for serial in serials:
        place = _Place(making.out, serial)
        before = serial in factory.register.made
        if not before:
            place.clear()
            _make(factory, serial, making, place)
        place.settle()
        tell(serial, before)


def _make(factory: OpenFactory, serial: str, making: Making, place: _Place) -> None:
    home = NewbornHome(place.device)
    keystore = create_keystore(making.keystore, home.keystore_path, _passphrase(home, making))
    keystore.generate(IDEVID_KEY)
    now = int(time.time())
    chain = issue_idevid(
        keystore.signer(IDEVID_KEY).public, serial, ca_chain=factory.chain, ca_signer=factory.signer,
        mud_url=making.mud_url, now=now, random=os.urandom,
    )  # fmt: skip
    code = SetupCode.draw(os.urandom)
    home.write(BirthRecord(serial, making.model, chain), verifier_of(code))
    label = Label(factory.manufacturer.name, making.model, serial, code)
    replace_private(place.label, label.encode(), check=lambda: None)
    place.sync()
    out = str(making.out.resolve())
    factory.register.enter(Made(serial, sha256(chain[0]).hexdigest(), making.model, making.mud_url, out, now))


def verifier_of(code: SetupCode) -> VerifierRecord:
    """Return a fresh verifier of a setup code: what the device keeps in the code's place."""
    parameters = Parameters(os.urandom(SALT_BYTES))
    return derive(code.password.reveal(), parameters).record(parameters)


def _passphrase(home: NewbornHome, making: Making) -> Secret:
    if making.passphrase is not None:
        return making.passphrase
    drawn = os.urandom(_PASSPHRASE_BYTES).hex().encode()
    replace_private(home.passphrase_path, drawn + b"\n", check=lambda: None)
    return Secret(drawn)


class _Place:
    """Where one device is made, and where it goes.

    Args:
        out: the batch's directory.
        serial: the device's.
    """

    def __init__(self, out: Path, serial: str) -> None:
        self._out, self._serial = out, serial
        self._making = out / f".{serial}.making"
        self.device = self._making / "device"
        self.label = self._making / "label.json"
        self._label_in_place = out / LABELS / f"{serial}.json"

    def demand_room(self) -> None:
        """Return if there is no other device with this number here, and no label of one. Raises LocalMisuse."""
        for path in (self._out / self._serial, self._label_in_place):
            with usable(path, "the place of a device"):
                if os.path.lexists(path):
                    raise LocalMisuse(f"{path} is in the way", hint="it is in no register; move it away")

    def clear(self) -> None:
        """Make room for a new device: what a crash left was never counted. Raises LocalMisuse."""
        self.demand_room()
        with usable(self._making, "the directory"):
            shutil.rmtree(self._making, ignore_errors=True)
            self.device.mkdir(mode=0o700, parents=True)

    def sync(self) -> None:
        """Make the new directories durable."""
        for directory in (self.device, self._making, self._out):
            sync_directory(directory)

    def settle(self) -> None:
        """Move a counted device to its place, or the part that a crash left behind. Raises LocalMisuse."""
        if not self._making.exists():
            return
        with usable(self._out, "the directory"):
            if self.label.exists():
                self.label.replace(self._label_in_place)
                sync_directory(self._label_in_place.parent)
            if self.device.exists():
                self.device.replace(self._out / self._serial)
            self._making.rmdir()
            sync_directory(self._out)
