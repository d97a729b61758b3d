# SPDX-License-Identifier: Apache-2.0
"""The manufacturer's authority: a root, an issuing authority below it, and birth certificates (IDevID) for devices.

Invariant: private keys are used only through a Signer. What is issued passes the verification of ``identity.birth``
and has no end (IEEE 802.1AR §8.2: 99991231235959Z), since a device cannot be called back to have it renewed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sealway.crypto.keys import VerifyingKey
from sealway.crypto.ports import Random, Signer
from sealway.errors import LocalMisuse
from sealway.identity.birth import MUD_URL_OID, ia5, manufacturer_name
from sealway.identity.certificates import (
    DIGITAL_SIGNATURE,
    Certificate,
    check_authority,
    key_usage,
    read_certificate,
    subject_key_id,
)
from sealway.identity.documents import sign_document
from sealway.identity.issuing import begin_certificate, key_identifier
from sealway.identity.signing_key import SigningKey
from sealway.wire.cose import TYP_MANIFEST, X5chain
from sealway.wire.manifest import ManifestClaims, SignedManifest, check_label_text, check_mud_url, check_serial
from sealway.wire.shape import LATEST_SECOND

_ROOT_USAGE: Final = key_usage(signs=False, certifies=True)
_ISSUING_USAGE: Final = key_usage(signs=True, certifies=True)  # it signs manifests


def manufacturer_root(signer: Signer, manufacturer: str, *, now: int, random: Random) -> bytes:
    """Return the self-signed certificate (DER) that owners trust: pathlen 1, keyCertSign and cRLSign.

    Args:
        signer: the root's key; it is needed again only for a further issuing authority.
        manufacturer: the name in all certificates, printable, at most 64 bytes.
        now: Unix seconds.
        random: source of the serial number.

    Raises:
        Malformed: not such a name.
    """
    subject = _authority_name(manufacturer, "device root")
    builder = begin_certificate(subject, signer.public, now, LATEST_SECOND, random).issuer_name(subject)
    return _authority(builder, signer.public, 1, _ROOT_USAGE, key_identifier(signer.public), signer)


def issuing_authority(key: VerifyingKey, root: bytes, root_signer: Signer, *, now: int, random: Random) -> bytes:
    """Return the certificate (DER) of the authority that works in the factory: pathlen 0; it also signs manifests.

    Args:
        key: its public key.
        root: the manufacturer's root certificate.
        root_signer: the root's key.

    Raises:
        LocalMisuse: another key than the root's.
        Malformed, NotTrusted: no root certificate.
    """
    issuer = _usable(root, root_signer, below=1)
    subject = _authority_name(manufacturer_name(issuer), "device issuing")
    builder = begin_certificate(subject, key, now, LATEST_SECOND, random).issuer_name(issuer.parsed.subject)
    return _authority(builder, key, 0, _ISSUING_USAGE, subject_key_id(issuer), root_signer)


def issue_idevid(
    key: VerifyingKey,
    serial: str,
    *,
    ca_chain: Sequence[bytes],
    ca_signer: Signer,
    mud_url: str | None,
    now: int,
    random: Random,
) -> tuple[bytes, ...]:
    """Return a device's birth chain in DER: its IDevID certificate (IEEE 802.1AR §8), then the issuing authority's.

    Args:
        key: the device's, made in its keystore.
        serial: its serial number, which becomes the subject's serialNumber attribute.
        ca_chain: the issuing authority's certificate first, the root last.
        ca_signer: the issuing authority's key.
        mud_url: where the description of its network behaviour is (RFC 8520), or None.
        now: Unix seconds.
        random: source of the certificate's serial number.

    Raises:
        Malformed: not a serial number, or not a MUD URL.
        LocalMisuse: another key than the issuing authority's.
    """
    issuer = _usable(ca_chain[0], ca_signer, below=0)
    subject = _subject(manufacturer_name(issuer), x509.NameAttribute(NameOID.SERIAL_NUMBER, check_serial(serial)))
    builder = (
        begin_certificate(subject, key, now, LATEST_SECOND, random)
        .issuer_name(issuer.parsed.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(DIGITAL_SIGNATURE, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier(subject_key_id(issuer), None, None), critical=False)
    )
    if mud_url is not None:  # RFC 8520 §11: never critical
        value = x509.UnrecognizedExtension(MUD_URL_OID, ia5(check_mud_url(mud_url)))
        builder = builder.add_extension(value, critical=False)
    leaf = builder.sign(SigningKey(ca_signer), hashes.SHA256()).public_bytes(Encoding.DER)
    return leaf, *ca_chain[:-1]


def sign_manifest(claims: ManifestClaims, issuer: bytes, signer: Signer) -> bytes:
    """Return the encoded manifest, signed by the issuing authority, whose certificate (DER) it carries.

    Raises:
        LocalMisuse: another key than the issuing authority's.
    """
    _usable(issuer, signer, below=0)
    key_ref, payload = X5chain((issuer,)), claims.encode()
    return SignedManifest(sign_document(TYP_MANIFEST, key_ref, payload, signer), claims).encode()


def _authority(
    builder: x509.CertificateBuilder, key: VerifyingKey, below: int, usage: x509.KeyUsage, issuer: bytes, signer: Signer
) -> bytes:
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier(key_identifier(key)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(issuer, None, None), critical=False)
    )
    return builder.sign(SigningKey(signer), hashes.SHA256()).public_bytes(Encoding.DER)


def _usable(der: bytes, signer: Signer, *, below: int) -> Certificate:
    certificate = read_certificate(der)
    check_authority(certificate, below=below)
    if certificate.key != signer.public:
        raise LocalMisuse("the signing key is not that of the authority's certificate")
    return certificate


def _authority_name(manufacturer: str, what: str) -> x509.Name:
    return _subject(check_label_text(manufacturer, "manufacturer"), x509.NameAttribute(NameOID.COMMON_NAME, what))


def _subject(manufacturer: str, attribute: x509.NameAttribute[str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, manufacturer), attribute])
