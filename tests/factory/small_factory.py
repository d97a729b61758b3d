# SPDX-License-Identifier: Apache-2.0
"""A manufacturer in memory, deterministic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

from sealway.crypto.keys import SoftSigner
from sealway.identity.birth import trust_manufacturer
from sealway.identity.certificates import subject_key_id
from sealway.identity.manufacturing import issue_idevid, issuing_authority, manufacturer_root, sign_manifest
from sealway.wire.manifest import MadeDevice, ManifestClaims
from tests.identity.small_domain import NOW, seeded, signer

MUD_URL = "https://acme.example/mud/wm-20.json"


class SmallFactory:
    """A root, an issuing authority, and devices whose keys are made from their serial numbers."""

    def __init__(self, name: str = "Acme Meters") -> None:
        self.root, self.issuing = signer(f"root of {name}"), signer(f"issuing of {name}")
        self.root_der = manufacturer_root(self.root, name, now=NOW, random=seeded("root"))
        self.issuing_der = issuing_authority(
            self.issuing.public, self.root_der, self.root, now=NOW, random=seeded("issuing")
        )
        self.manufacturer = trust_manufacturer(self.root_der)

    def impostor(self, name: str) -> bytes:
        """Another key's root certificate with the key identifier of this one's."""
        identifier = subject_key_id(self.manufacturer.root)
        with patch("sealway.identity.manufacturing.key_identifier", lambda key: identifier):
            return manufacturer_root(signer("impostor"), name, now=NOW, random=seeded("impostor"))

    def key(self, serial: str) -> SoftSigner:
        """The key that a device is born with."""
        return signer(f"device {serial}")

    def chain(self, serial: str, *, mud_url: str | None = MUD_URL) -> tuple[bytes, ...]:
        """The birth chain of a device."""
        return issue_idevid(
            self.key(serial).public,
            serial,
            ca_chain=(self.issuing_der, self.root_der),
            ca_signer=self.issuing,
            mud_url=mud_url,
            now=NOW,
            random=seeded(serial),
        )

    def claims(self, *devices: MadeDevice, **changes: Any) -> ManifestClaims:
        """What the first manifest says."""
        claims = ManifestClaims(
            manufacturer=self.manufacturer.name,
            number=1,
            previous=None,
            model="Water meter WM-20",
            mud_url=MUD_URL,
            issued=NOW,
            devices=devices or (MadeDevice("SW-1", bytes(32)),),
        )
        return replace(claims, **changes)

    def manifest(self, *devices: MadeDevice, **changes: Any) -> bytes:
        """The first manifest, signed."""
        return sign_manifest(self.claims(*devices, **changes), self.issuing_der, self.issuing)
