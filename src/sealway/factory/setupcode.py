# SPDX-License-Identifier: Apache-2.0
"""The setup code on a device's label: eleven digits, and the text of the QR code that carries them.

Invariant: a SetupCode is one that a factory could have made: its check digit fits, and its secret digits are not among
those that anyone would try first. Its secret shows in no repr, no log line and no error.

DDD-RRRR-RRRC: three digits of discriminator, which is no secret; seven random digits; a check digit (Verhoeff), which
finds every single wrong digit and every two neighbours that changed places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Self

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, Malformed, Mistyped
from sealway.wire.manifest import check_serial

SECRET_DIGITS: Final = 7
QR_PREFIX: Final = "SEALWAY:1:"
MAX_QR_CHARACTERS: Final = 64

_DISCRIMINATOR_DIGITS: Final = 3
_POSSIBLE: Final = 10 ** (_DISCRIMINATOR_DIGITS + SECRET_DIGITS)
_DRAW_BYTES: Final = 5
_FAIR_BELOW: Final = (1 << 8 * _DRAW_BYTES) // _POSSIBLE * _POSSIBLE
_DRAWS: Final = 64  # a fair source is refused this often in a row with a chance of 2^-430

# One hyphen or one space may stand between two digits; people group them in different ways.
_TYPED: Final = re.compile(r"[0-9](?:[ -]?[0-9]){10}", re.ASCII)
_ELEVEN: Final = re.compile(r"[0-9]{11}", re.ASCII)

# Verhoeff's scheme: the multiplication of the dihedral group D5, and the powers of a permutation.
_PRODUCT: Final = tuple(
    tuple((a + b) % 5 + 5 * (b > 4) if a < 5 else (a - b) % 5 + 5 * (b < 5) for b in range(10)) for a in range(10)
)
_PERMUTATION: Final = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


@dataclass(frozen=True, slots=True)
class SetupCode:
    """What proves to a new device that whoever speaks to it has seen its label. Made by ``draw`` and ``parse``.

    Args:
        discriminator: three digits by which a device is found on the network; no secret.
        secret: the seven random digits, ASCII.

    Raises:
        Malformed: other than digits, or a secret that anyone would try first.
    """

    discriminator: str
    secret: Secret = field(repr=False)

    def __post_init__(self) -> None:
        digits = self.discriminator + self.secret.reveal().decode("ascii", "replace")
        if len(self.secret) != SECRET_DIGITS or not _ELEVEN.fullmatch(digits + "0"):
            raise Malformed("a setup code has 11 digits, as 471-9382-5564")
        if _is_trivial(digits[_DISCRIMINATOR_DIGITS:]):
            raise Malformed("no device has so simple a setup code", hint="read it from the device's label again")

    @classmethod
    def draw(cls, random: Random) -> Self:
        """Make a new one; every code that is not too simple is as likely as every other.

        Args:
            random: source of randomness.

        Raises:
            LocalMisuse: the source returns the wrong length, or only unusable values.
        """
        for _ in range(_DRAWS):
            drawn = random(_DRAW_BYTES)
            if len(drawn) != _DRAW_BYTES:
                raise LocalMisuse("the source of randomness returned a wrong number of bytes")
            digits = f"{int.from_bytes(drawn) % _POSSIBLE:0{_DISCRIMINATOR_DIGITS + SECRET_DIGITS}}"
            if int.from_bytes(drawn) < _FAIR_BELOW and not _is_trivial(digits[_DISCRIMINATOR_DIGITS:]):
                return cls._of(digits)
        raise LocalMisuse("the source of randomness is broken", hint="check the system's random number generator")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a person typed: eleven digits; one hyphen or one space may stand between two of them.

        Raises:
            Malformed: not eleven digits, or a code that no device has.
            Mistyped: eleven digits, of which at least one is wrong.
        """
        if not _TYPED.fullmatch(text):
            raise Malformed("a setup code has 11 digits, as 471-9382-5564")
        digits = text.replace("-", "").replace(" ", "")
        if digits[-1] != check_digit(digits[:-1]):
            raise Mistyped("a digit of the setup code is wrong", hint="compare it with the device's label")
        return cls._of(digits[:-1])

    @property
    def password(self) -> Secret:
        """The ten digits without the check digit, ASCII: what the PAKE is run with."""
        return Secret(self.discriminator.encode() + self.secret.reveal())

    def reveal(self) -> str:
        """Return the code as it stands on the label, DDD-RRRR-RRRC; whoever calls this answers for where it goes."""
        digits = self._digits()
        return f"{digits[:3]}-{digits[3:7]}-{digits[7:]}"

    def _digits(self) -> str:
        ten = self.password.reveal().decode()
        return ten + check_digit(ten)

    @classmethod
    def _of(cls, ten: str) -> Self:
        return cls(ten[:_DISCRIMINATOR_DIGITS], Secret(ten[_DISCRIMINATOR_DIGITS:].encode()))

    def __str__(self) -> str:
        return f"{self.discriminator}-[redacted]"


@dataclass(frozen=True, slots=True)
class QrText:
    """What the QR code on a label says: SEALWAY:1:, the eleven digits, a colon, the serial number.

    All of it is of the characters that a QR code packs tightly (ISO/IEC 18004: the alphanumeric mode).

    Args:
        code: the setup code.
        serial: the device's serial number; see ``check_serial``. Raises Malformed.
    """

    code: SetupCode
    serial: str

    def __post_init__(self) -> None:
        check_serial(self.serial)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a scanner read. Raises Malformed, or Mistyped for a wrong check digit."""
        if len(text) > MAX_QR_CHARACTERS or not text.startswith(QR_PREFIX):
            raise Malformed("not the QR code of a Sealway device", hint="scan the one on the device's label")
        digits, separator, serial = text.removeprefix(QR_PREFIX).partition(":")
        if not separator or not _ELEVEN.fullmatch(digits):
            raise Malformed("the QR code has no setup code and serial number")
        return cls(SetupCode.parse(digits), serial)

    def reveal(self) -> str:
        """Return the text, setup code and all; whoever calls this answers for where it goes."""
        return f"{QR_PREFIX}{self.code.reveal().replace('-', '')}:{self.serial}"


def check_digit(digits: str) -> str:
    """Return the Verhoeff check digit of some decimal digits."""
    value = 0
    for place, digit in enumerate(reversed(digits), start=1):
        value = _PRODUCT[value][_permuted(place, int(digit))]
    return next(str(last) for last in range(10) if _PRODUCT[value][last] == 0)


def _permuted(place: int, digit: int) -> int:
    for _ in range(place % 8):
        digit = _PERMUTATION[digit]
    return digit


def _is_trivial(secret: str) -> bool:
    """Say whether all digits are equal, or count up or down, from 9 on to 0: Matter's list, with its neighbours."""
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(secret)}
    return len(steps) == 1 and steps <= {0, 1, 9}
