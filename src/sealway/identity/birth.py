# SPDX-License-Identifier: Apache-2.0
"""Where a device comes from: its birth certificate (IDevID, IEEE 802.1AR), and the manufacturer's list of what it made.

Invariant: a Birth exists only if its chain led to the root of a manufacturer that the owner trusts, at a time when
everything on the way was valid. A ProvenManifest was signed by an authority below such a root, never by a device.
RFC 5280 §6.1 is walked by hand as for endpoints: at most one authority between device and root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import InitVar, dataclass, field
from hmac import compare_digest
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from sealway.crypto.keys import VerifyingKey
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotTrusted, SealwayError
from sealway.identity.certificates import (
    Certificate,
    authority_key_id,
    check_authority,
    check_issued_by,
    check_validity,
    read_certificate,
    subject_key_id,
)
from sealway.identity.clock import SKEW_SECONDS
from sealway.identity.documents import verify_document
from sealway.identity.proof import Proof
from sealway.wire.cose import X5chain
from sealway.wire.manifest import (
    MAX_MUD_URL_BYTES,
    ManifestClaims,
    SignedManifest,
    check_label_text,
    check_mud_url,
    check_serial,
)

MUD_URL_OID: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.25")
"""id-pe-mud-url (RFC 8520 §11)."""

MAX_CHAIN: Final = 3
"""Most certificates from the device's to the manufacturer's root, both included."""

_IA5_STRING: Final = 0x16

_TRUST: Final = Proof("trust_manufacturer")
_BIRTH: Final = Proof("verify_idevid")
_MANIFEST: Final = Proof("verify_manifest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manufacturer:
    """A manufacturer whose devices the owner accepts; made by ``trust_manufacturer`` only.

    Args:
        name: as in its certificates.
        root: its root certificate.
    """

    name: str
    root: Certificate
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _TRUST.demand(proof)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the root certificate, 32 bytes: what the manufacturer publishes."""
        return self.root.x5t


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a device was born as, proven; made by ``verify_idevid`` only.

    Args:
        manufacturer: who made it.
        serial: its serial number, as on its label.
        key: what it signs with when it joins.
        x5t: SHA-256 of its IDevID certificate, 32 bytes.
        mud_url: where its network behaviour is described, or None.
        chain: its certificates in DER, as they were given.
    """

    manufacturer: Manufacturer
    serial: str
    key: VerifyingKey
    x5t: bytes
    mud_url: str | None
    chain: tuple[bytes, ...] = field(repr=False)
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _BIRTH.demand(proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenManifest:
    """A list of made devices that is its manufacturer's; made by ``verify_manifest`` only.

    Args:
        manufacturer: whose it is.
        claims: what it says.
        encoded: the manifest as it travels.
    """

    manufacturer: Manufacturer
    claims: ManifestClaims
    encoded: bytes = field(repr=False)
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _MANIFEST.demand(proof)

    @property
    def hash(self) -> bytes:
        """SHA-256 of the manifest, 32 bytes: what the next one names."""
        return hashlib.sha256(self.encoded).digest()


def trust_manufacturer(der: bytes, *, fingerprint: bytes | None = None) -> Manufacturer:
    """Take a root certificate for a manufacturer's, because the owner decides so.

    Args:
        der: the root certificate.
        fingerprint: SHA-256 of it (32 bytes), from a trusted source; without it whoever brought the file is trusted.

    Raises:
        Malformed, TooLarge, NotAuthentic: not a certificate within the profile, or not signed with its own key.
        NotTrusted: another fingerprint, no authority, or no name of a manufacturer.
    """
    root = read_certificate(der)
    if fingerprint is not None and not compare_digest(root.x5t, fingerprint):
        raise NotTrusted(
            "the manufacturer's root is not the one expected",
            hint="compare the fingerprint with the one that the manufacturer publishes",
        )
    check_authority(root, below=0)
    _check_criticals(root)
    check_issued_by(root, root)  # RFC 5280 §3.2 (self-signed): who makes it holds the key
    return Manufacturer(name=manufacturer_name(root), root=root, proof=_TRUST)


def verify_idevid(
    chain_der: Sequence[bytes],
    manufacturers: Collection[Manufacturer],
    now: int,
    *,
    expected_serial: str | None = None,
    now_is_floor: bool = False,
) -> Birth:
    """Prove what a device was born as.

    Args:
        chain_der: certificates in DER, the device's first; the root may stand at the end or be left out. At most 3.
        manufacturers: whom the owner trusts.
        now: Unix seconds.
        expected_serial: the serial number on the label, or None for any.
        now_is_floor: ``now`` is only the latest time known for sure to have passed.

    Raises:
        Malformed, TooLarge: a certificate cannot be read within the profile.
        NotAuthentic: a signature does not verify.
        NotTrusted: anything else that keeps these manufacturers from vouching for this device.
    """
    path, manufacturer = _verified_path(chain_der, manufacturers, now, now_is_floor=now_is_floor)
    leaf = path[0]
    _check_device(leaf)
    serial = _serial_in(leaf)
    if expected_serial is not None and serial != expected_serial:
        raise NotTrusted(f"expected the device {expected_serial}, and its birth certificate says {serial}")
    return Birth(
        manufacturer=manufacturer,
        serial=serial,
        key=leaf.key,
        x5t=leaf.x5t,
        mud_url=_mud_url_in(leaf),
        chain=tuple(chain_der),
        proof=_BIRTH,
    )


def verify_manifest(encoded: bytes, manufacturers: Collection[Manufacturer], now: int) -> ProvenManifest:
    """Prove a list of made devices.

    Args:
        encoded: untrusted bytes.
        manufacturers: whom the owner trusts.
        now: Unix seconds.

    Raises:
        Malformed, TooLarge: not a manifest in its strict form.
        NotAuthentic: a signature does not verify.
        NotTrusted: not signed by an issuing authority of one of them, another manufacturer's name, or from the future.
    """
    manifest = SignedManifest.decode(encoded)
    claims, key_ref = manifest.claims, manifest.sign1.key_ref
    chain = key_ref.certificates if isinstance(key_ref, X5chain) else ()
    path, manufacturer = _verified_path(chain, manufacturers, now)
    signer = path[0]
    check_authority(signer, below=0)  # so that no device can sign a list of devices
    if not signer.required(x509.KeyUsage).digital_signature:
        raise NotTrusted("a manifest was signed by an authority that may not sign documents")
    verify_document(manifest.sign1, signer.key)
    if claims.manufacturer != manufacturer.name:
        raise NotTrusted(f"a manifest in the name of another manufacturer than {manufacturer.name}")
    if claims.issued > now + SKEW_SECONDS:
        raise NotTrusted("a manifest is from the future", hint="set this computer's clock")
    return ProvenManifest(manufacturer=manufacturer, claims=claims, encoded=encoded, proof=_MANIFEST)


def demand_listed(birth: Birth, manifests: Collection[ProvenManifest]) -> ProvenManifest:
    """Return the manifest of its manufacturer that lists this device, certificate and all.

    Raises:
        NotTrusted: none does.
    """
    for manifest in manifests:
        if manifest.manufacturer.fingerprint != birth.manufacturer.fingerprint:
            continue
        if any(made.serial == birth.serial and made.x5t == birth.x5t for made in manifest.claims.devices):
            return manifest
    raise NotTrusted(
        f"{birth.manufacturer.name} does not list the device {birth.serial}",
        hint="ask the seller for the manifest that came with it, and add that",
    )


def ia5(text: str) -> bytes:
    """Return the DER of an IA5String of at most 255 characters of ASCII (X.690 §8.23). Raises LocalMisuse."""
    content = text.encode("ascii")
    if len(content) > MAX_MUD_URL_BYTES:
        raise LocalMisuse("a text in a certificate is longer than 255 characters")
    length = bytes((len(content),)) if len(content) < 128 else bytes((0x81, len(content)))
    return bytes((_IA5_STRING,)) + length + content


def _verified_path(
    chain_der: Sequence[bytes], manufacturers: Collection[Manufacturer], now: int, *, now_is_floor: bool = False
) -> tuple[list[Certificate], Manufacturer]:
    """RFC 5280 §6.1 from the first certificate to a trusted root, which is the path's last."""
    path, manufacturer = _path(chain_der, manufacturers)
    for below, (certificate, issuer) in enumerate(pairwise(path)):
        check_issued_by(certificate, issuer)
        check_authority(issuer, below=below)
    for certificate in path:
        _check_criticals(certificate)
        check_validity(certificate, now, now_is_floor=now_is_floor)
    return path, manufacturer


def _path(
    chain_der: Sequence[bytes], manufacturers: Collection[Manufacturer]
) -> tuple[list[Certificate], Manufacturer]:
    if not 1 <= len(chain_der) <= MAX_CHAIN:
        raise NotTrusted(f"a birth certificate's chain has 1 to {MAX_CHAIN} certificates, not {len(chain_der)}")
    presented = [read_certificate(der) for der in chain_der]
    if any(presented[-1].der == trusted.root.der for trusted in manufacturers):
        presented.pop()
    if not presented:
        raise NotTrusted("a birth certificate's chain holds nothing but the manufacturer's root")
    if len(presented) >= MAX_CHAIN:
        raise NotTrusted(f"a birth certificate's chain is longer than {MAX_CHAIN} certificates")
    manufacturer = _manufacturer_of(presented[-1], manufacturers)
    return [*presented, manufacturer.root], manufacturer


def _manufacturer_of(last: Certificate, manufacturers: Collection[Manufacturer]) -> Manufacturer:
    """Return whose root issued it. A key identifier is only a text that anyone may copy: the signature decides."""
    wanted = authority_key_id(last)
    failure: SealwayError = NotTrusted(
        "made by a manufacturer that this owner does not trust",
        hint="sealway owner trust-manufacturer, if it should",
    )
    for manufacturer in manufacturers:
        if subject_key_id(manufacturer.root) != wanted or not _names_issuer(last, manufacturer.root):
            continue
        try:
            check_issued_by(last, manufacturer.root)
        except NotAuthentic as error:
            failure = error
        else:
            return manufacturer
    raise failure


def _names_issuer(certificate: Certificate, issuer: Certificate) -> bool:
    return certificate.parsed.issuer.public_bytes() == issuer.parsed.subject.public_bytes()


def _check_criticals(certificate: Certificate) -> None:
    """RFC 5280 §4.2: nothing here acts on these two, which certificates of endpoints have; so they are not critical."""
    for kind in (x509.ExtendedKeyUsage, x509.SubjectAlternativeName):
        found = certificate.extension(kind)
        if found is not None and found.critical:
            raise NotTrusted("a birth certificate has a critical extension that is not acted on")


def _check_device(leaf: Certificate) -> None:
    constraints = leaf.extension(x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:  # RFC 5280 §4.2.1.9; 802.1AR lets a device leave it out
        raise NotTrusted("a device's birth certificate is that of an authority")
    usage = leaf.required(x509.KeyUsage)
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:  # IEEE 802.1AR §8.10.3
        raise NotTrusted("a device's birth key must be for signatures, and not for certificates")


def _serial_in(leaf: Certificate) -> str:
    """IEEE 802.1AR §8.6: the subject's serialNumber attribute, exactly one."""
    found = leaf.parsed.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    if len(found) != 1:
        raise NotTrusted("a birth certificate has exactly one serial number of a device")
    return check_serial(found[0].value)


def _mud_url_in(leaf: Certificate) -> str | None:
    found = [extension for extension in leaf.parsed.extensions if extension.oid == MUD_URL_OID]
    if not found:
        return None
    value = found[0].value
    content = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
    text = content[2 if len(content) < 130 else 3 :].decode("latin-1")
    if not text.isascii() or ia5(text[:MAX_MUD_URL_BYTES]) != content:
        raise Malformed("a birth certificate's MUD URL is not an IA5String of at most 255 characters")
    return check_mud_url(text)


def manufacturer_name(root: Certificate) -> str:
    """Return the organization that an authority's certificate names. Raises NotTrusted, Malformed."""
    found = root.parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if len(found) != 1:
        raise NotTrusted("a manufacturer's certificate names exactly one organization")
    return check_label_text(found[0].value, "manufacturer")
