# SPDX-License-Identifier: Apache-2.0
"""Whose devices an owner takes in: trusted manufacturers, and their lists of what they made.

Invariant: a root that is here was put here by the owner; a manifest that is here was proven under one of them, and is
proven again whenever it is read. Of a manufacturer with manifests, only listed devices are taken in.

DIR/manufacturers/   root certificates, by fingerprint
DIR/manifests/       manifests, by hash
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sealway.errors import LocalMisuse, NotTrusted, SealwayError, StateLost
from sealway.identity.birth import (
    Birth,
    Manufacturer,
    ProvenManifest,
    demand_listed,
    trust_manufacturer,
    verify_idevid,
    verify_manifest,
)
from sealway.keystore.private_file import read_private, replace_private
from sealway.storage.files import usable
from sealway.wire.cose import MAX_CERTIFICATE_BYTES, MAX_DOCUMENT_BYTES

_MOST: Final = 64
"""Manufacturers of one owner."""

_MOST_MANIFESTS: Final = 4096


class Manufacturers:
    """The trusted manufacturers in an owner's directory.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self._roots = path / "manufacturers"
        self._manifests = path / "manifests"

    def trust(self, der: bytes, *, fingerprint: bytes | None = None) -> Manufacturer:
        """Trust a manufacturer from now on; again has no effect.

        Args:
            der: its root certificate.
            fingerprint: SHA-256 of it, from a trusted source; without it whoever brought the file is trusted.

        Raises:
            Malformed, TooLarge, NotAuthentic, NotTrusted: see ``trust_manufacturer``.
            LocalMisuse: too many, or the directory cannot be used.
        """
        manufacturer = trust_manufacturer(der, fingerprint=fingerprint)
        _keep(self._roots, f"{manufacturer.fingerprint.hex()}.der", der, _MOST)
        return manufacturer

    def trusted(self) -> list[Manufacturer]:
        """Return them by name. Raises StateLost for a file that is damaged."""
        found = []
        for path in sorted(self._roots.glob("*.der")):
            with _intact(path):
                fingerprint = bytes.fromhex(path.stem)
                found.append(trust_manufacturer(_read(path, MAX_CERTIFICATE_BYTES), fingerprint=fingerprint))
        return sorted(found, key=lambda one: (one.name, one.fingerprint))

    def add_manifest(self, encoded: bytes, now: int) -> ProvenManifest:
        """Keep a manifest of a trusted manufacturer; again has no effect.

        Args:
            encoded: untrusted bytes.
            now: Unix seconds.

        Raises:
            Malformed, TooLarge, NotAuthentic, NotTrusted: see ``verify_manifest``.
            NotTrusted: another manifest with this number is here; a manufacturer counts each once.
            LocalMisuse: too many, or the directory cannot be used.
        """
        manifest = verify_manifest(encoded, self.trusted(), now)
        for held in self.manifests(now):
            same = (held.manufacturer.fingerprint, held.claims.number)
            if same == (manifest.manufacturer.fingerprint, manifest.claims.number) and held.hash != manifest.hash:
                raise NotTrusted(
                    f"{manifest.manufacturer.name} has signed two different manifests {manifest.claims.number}",
                    hint="ask the manufacturer which of them is right",
                )
        _keep(self._manifests, f"{manifest.hash.hex()}.cose", encoded, _MOST_MANIFESTS)
        return manifest

    def manifests(self, now: int) -> list[ProvenManifest]:
        """Return those that are held, by manufacturer and number. Raises StateLost for a file that is damaged."""
        trusted, found = self.trusted(), []
        for path in sorted(self._manifests.glob("*.cose")):
            with _intact(path):
                found.append(verify_manifest(_read(path, MAX_DOCUMENT_BYTES), trusted, now))
        return sorted(found, key=lambda one: (one.manufacturer.name, one.claims.number))

    def prove(self, chain: Sequence[bytes], now: int, *, expected_serial: str | None = None) -> Birth:
        """Prove what a device was born as; one whose manufacturer gave lists has to be on one of them.

        Args:
            chain: its birth chain in DER, the device's certificate first.
            now: Unix seconds.
            expected_serial: the serial number on the label, or None for any.

        Raises:
            Malformed, TooLarge, NotAuthentic, NotTrusted: see ``verify_idevid`` and ``demand_listed``.
            StateLost: a file is damaged.
        """
        birth = verify_idevid(chain, self.trusted(), now, expected_serial=expected_serial)
        fingerprint = birth.manufacturer.fingerprint
        lists = [one for one in self.manifests(now) if one.manufacturer.fingerprint == fingerprint]
        if lists:
            demand_listed(birth, lists)
        return birth


@contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Turn what a check says of a file of ours into StateLost that names it."""
    try:
        yield
    except (SealwayError, ValueError) as error:
        raise StateLost(f"{path} is damaged: {error}", hint="remove it, and add it again") from None


def _read(path: Path, limit: int) -> bytes:
    return read_private(path, limit=limit)


def _keep(directory: Path, name: str, content: bytes, most: int) -> None:
    with usable(directory, "the directory"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory / name).exists() and len(list(directory.iterdir())) >= most:
            raise LocalMisuse(f"{directory} holds {most} files", hint="remove those that are no longer needed")
    replace_private(directory / name, content, check=lambda: None)
