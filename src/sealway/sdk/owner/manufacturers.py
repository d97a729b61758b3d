# SPDX-License-Identifier: Apache-2.0
"""Whose devices an owner takes in: trusted manufacturers, and their lists of what they made.

Invariant: a root that is here was put here by the owner; a manifest that is here was proven under one of them, and is
proven again whenever it is read. Of a manufacturer with manifests, only listed devices are taken in, also when none of
them can be proven any more; what is held of one manufacturer never matters for another.

DIR/manufacturers/   root certificates, by fingerprint
DIR/manifests/KEY/   manifests by hash, in a folder for the key (its SHA-256) of their manufacturer's root
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
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
from sealway.identity.certificates import subject_key_id
from sealway.keystore.private_file import read_private, replace_private
from sealway.storage.files import names_in, usable
from sealway.wire.cose import MAX_CERTIFICATE_BYTES, MAX_DOCUMENT_BYTES

_MOST: Final = 64
"""Manufacturers of one owner."""

_MOST_MANIFESTS: Final = 4096
"""Of one manufacturer."""


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
            NotTrusted: a root of another key with its key identifier is trusted; certificates would name both as their
                issuer.
            LocalMisuse: too many, or the directory cannot be used.
        """
        manufacturer = trust_manufacturer(der, fingerprint=fingerprint)
        for held in self.trusted():
            if held.root.key != manufacturer.root.key and subject_key_id(held.root) == subject_key_id(
                manufacturer.root
            ):
                raise NotTrusted(
                    f"this root has the key identifier of another that is trusted, of {held.name}",
                    hint=f"one of the two is wrong; that one is {self._roots}/{held.fingerprint.hex()}.der",
                )
        _keep(self._roots, f"{manufacturer.fingerprint.hex()}.der", der, _MOST)
        return manufacturer

    def trusted(self) -> list[Manufacturer]:
        """Return them by name. Raises StateLost for a file that is damaged."""
        found = []
        for path in names_in(self._roots, ".der", "the directory"):
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
            NotTrusted: it contradicts one that is here: another of its number, or no link to that before or after it.
            LocalMisuse: too many, or the directory cannot be used.
        """
        manifest = verify_manifest(encoded, self.trusted(), now)
        _demand_consistent(manifest, self.manifests(manifest.manufacturer, now))
        _keep(self._folder(manifest.manufacturer), f"{manifest.hash.hex()}.cose", encoded, _MOST_MANIFESTS)
        return manifest

    def manifests(self, manufacturer: Manufacturer, now: int) -> list[ProvenManifest]:
        """Return those held of one manufacturer that are valid now, by number.

        Raises:
            StateLost: a file is damaged.
            LocalMisuse: the directory cannot be read.
        """
        found = []
        for path in self._held(manufacturer):
            with _intact(path), suppress(NotTrusted):  # by the clock, or by what its issuing authority has become
                found.append(verify_manifest(_read(path, MAX_DOCUMENT_BYTES), [manufacturer], now))
        return sorted(found, key=lambda one: one.claims.number)

    def held(self, manufacturer: Manufacturer) -> int:
        """Return how many manifests of a manufacturer are here, valid now or not. Raises LocalMisuse."""
        return len(self._held(manufacturer))

    def _held(self, manufacturer: Manufacturer) -> list[Path]:
        return names_in(self._folder(manufacturer), ".cose", "the manifests")

    def _folder(self, manufacturer: Manufacturer) -> Path:
        """By key: what lists the devices of a root lists them, too, once its certificate is issued anew."""
        return self._manifests / sha256(manufacturer.root.key.point).hexdigest()

    def prove(self, chain: Sequence[bytes], now: int, *, expected_serial: str | None = None) -> Birth:
        """Prove what a device was born as; one whose manufacturer gave lists has to be on one of them.

        Args:
            chain: its birth chain in DER, the device's certificate first.
            now: Unix seconds.
            expected_serial: the serial number on the label, or None for any.

        Raises:
            Malformed, TooLarge, NotAuthentic, NotTrusted: see ``verify_idevid`` and ``demand_listed``.
            StateLost: a file is damaged.
            LocalMisuse: the directory cannot be read.
        """
        birth = verify_idevid(chain, self.trusted(), now, expected_serial=expected_serial)
        if self.held(birth.manufacturer):
            demand_listed(birth, self.manifests(birth.manufacturer, now))
        return birth


def _demand_consistent(manifest: ProvenManifest, held: Collection[ProvenManifest]) -> None:
    """Return if a manifest fits those that are held of its manufacturer.

    Claims are compared, not bytes: a second signature of the same list is the same list. Each of these is kept, since
    the one after it names one of their hashes.
    """
    claims, name = manifest.claims, manifest.manufacturer.name
    same = [one for one in held if one.claims.number == claims.number]
    before = {one.hash for one in held if one.claims.number == claims.number - 1}
    after = {one.claims.previous for one in held if one.claims.number == claims.number + 1}
    hint = "ask the manufacturer which of them is right"
    if any(one.claims != claims for one in same):
        raise NotTrusted(f"{name} has signed two different manifests {claims.number}", hint=hint)
    if before and claims.previous not in before:
        raise NotTrusted(f"manifest {claims.number} of {name} does not follow the manifest before it", hint=hint)
    if after and not after & {manifest.hash, *(one.hash for one in same)}:
        raise NotTrusted(f"the manifest after {claims.number} of {name} does not follow it", hint=hint)


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
        for one in (directory.parent, directory):  # the mode is that of the last one only
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory / name).exists() and len(list(directory.iterdir())) >= most:
            raise LocalMisuse(f"{directory} holds {most} files", hint="remove those that are no longer needed")
    replace_private(directory / name, content, check=lambda: None)
