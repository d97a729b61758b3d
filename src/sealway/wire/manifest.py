# SPDX-License-Identifier: Apache-2.0
"""The manufacturer's manifest: which devices it made. A COSE_Sign1 by an issuing authority of the manufacturer.

Invariant: ``SignedManifest.claims`` are exactly what its signature's payload says. ``identity`` proves the signature.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sealway.errors import Malformed
from sealway.wire import cbor, shape
from sealway.wire.cose import MAX_DOCUMENT_BYTES, TYP_MANIFEST, Sign1, X5chain, expect_type

MAX_DEVICES = 256
MAX_TEXT_BYTES = 64
MAX_MUD_URL_BYTES = 255

_SERIAL = re.compile(r"[A-Z0-9](?:[A-Z0-9.-]{0,30}[A-Z0-9])?", re.ASCII)
_MUD_URL = re.compile(r"https://[A-Za-z0-9][!-~]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class MadeDevice:
    """A device on the list: its serial number, and SHA-256 of its IDevID certificate (32 bytes)."""

    serial: str
    x5t: bytes

    def __post_init__(self) -> None:
        check_serial(self.serial)
        shape.bstr(self.x5t, "x5t", 32)


@dataclass(frozen=True, slots=True)
class ManifestClaims:
    """What was made.

    Fields: ``manufacturer`` and ``model`` printable text of at most 64 bytes; ``number`` counts a manufacturer's
    manifests from 1; ``previous`` the SHA-256 of the one before, None for number 1 only; ``mud_url`` as in the devices'
    certificates, or None; ``issued`` seconds since the Unix epoch; ``devices`` 1 to 256, in ascending order of serial.
    """

    manufacturer: str
    number: int
    previous: bytes | None
    model: str
    mud_url: str | None
    issued: int
    devices: tuple[MadeDevice, ...]

    def __post_init__(self) -> None:
        check_label_text(self.manufacturer, "manufacturer")
        check_label_text(self.model, "model")
        shape.uint(self.number, "number", 1)
        if self.previous is not None:
            shape.bstr(self.previous, "previous", 32)
        if (self.previous is None) != (self.number == 1):
            raise Malformed("manifest: all but number 1 name the one before")
        if self.mud_url is not None:
            check_mud_url(self.mud_url)
        shape.instant(self.issued, "issued")
        serials = [_serial_of(device) for device in shape.sequence(self.devices, "devices", 1, MAX_DEVICES)]
        shape.distinct(serials, "devices")
        if serials != sorted(serials):
            raise Malformed("manifest: devices are in ascending order of serial number")

    def encode(self) -> bytes:
        """Return the payload that is signed."""
        claims = {
            1: 1,
            2: self.manufacturer,
            3: self.number,
            5: self.model,
            7: self.issued,
            8: [[device.serial, device.x5t] for device in self.devices],
        }
        optional = {4: self.previous, 6: self.mud_url}
        return cbor.encode(claims | {key: value for key, value in optional.items() if value is not None})

    @classmethod
    def decode(cls, data: bytes) -> ManifestClaims:
        """Read a payload. Raises Malformed or TooLarge."""
        value = cbor.decode(data, limit=MAX_DOCUMENT_BYTES, depth=3)
        found = shape.fields(value, "manifest", (1, 2, 3, 5, 7, 8), (4, 6))
        shape.constant(found[1], "version", 1)
        if None in (found.get(4, 0), found.get(6, 0)):
            raise Malformed("manifest: what is absent is left out")
        listed = shape.array(found[8], "devices", 1, MAX_DEVICES)
        devices = tuple(MadeDevice(*shape.array(device, "device", 2, 2)) for device in listed)
        return cls(found[2], found[3], found.get(4), found[5], found.get(6), found[7], devices)


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest with its signature by an issuing authority, whose certificate it carries in x5chain."""

    sign1: Sign1
    claims: ManifestClaims

    def __post_init__(self) -> None:
        expect_type(self.sign1.typ, TYP_MANIFEST)
        if not isinstance(self.sign1.key_ref, X5chain):
            raise Malformed("manifest: signed by an issuing authority, whose certificate stands in x5chain")
        if self.claims.encode() != self.sign1.payload:
            raise Malformed("manifest: claims and payload differ")

    def encode(self) -> bytes:
        """Return the tagged COSE_Sign1."""
        return self.sign1.encode()

    @classmethod
    def decode(cls, data: bytes) -> SignedManifest:
        """Read untrusted bytes. Raises Malformed, or TooLarge above 32 768 bytes."""
        sign1 = Sign1.decode(data)
        expect_type(sign1.typ, TYP_MANIFEST)
        return cls(sign1, ManifestClaims.decode(sign1.payload))


def check_serial(value: object) -> str:
    """Return ``value`` if it is a serial number: 1 to 32 of A-Z, 0-9, and within it also hyphen and dot.

    Raises:
        Malformed: it is not.
    """
    expected = "a serial number of 1 to 32 of A-Z, 0-9, '-' and '.', with a letter or digit at both ends,"
    return shape.matching(value, _SERIAL, expected)


def check_label_text(value: object, what: str) -> str:
    """Return ``value`` if it is text that a label can show: printable, 1 to 64 bytes, no space at its ends.

    Raises:
        Malformed: it is not.
    """
    text = shape.tstr(value, what, 1, MAX_TEXT_BYTES)
    if not text.isprintable() or text != text.strip():
        raise Malformed(f"{what}: printable text without spaces at its ends expected")
    return text


def check_mud_url(value: object) -> str:
    """Return ``value`` if it can be a MUD URL (RFC 8520): https, ASCII, at most 255 bytes. Raises Malformed."""
    return shape.matching(shape.tstr(value, "MUD URL", 1, MAX_MUD_URL_BYTES), _MUD_URL, "a MUD URL, https://…,")


def _serial_of(device: object) -> str:
    if not isinstance(device, MadeDevice):
        raise Malformed("devices: a MadeDevice expected")
    return device.serial
