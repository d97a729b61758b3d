# SPDX-License-Identifier: Apache-2.0
"""Certificates that no owner would issue, some of which no builder would make."""

from __future__ import annotations

import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from tests.identity.small_domain import SmallDomain


def with_many_extensions(domain: SmallDomain) -> bytes:
    """A leaf with extensions that nobody here needs, and that are all parsed."""
    point = x509.DistributionPoint([x509.UniformResourceIdentifier("http://x")], None, None, None)
    extra: list[tuple[x509.ExtensionType, bool]] = [
        (x509.CRLDistributionPoints([point]), False),
        (x509.PolicyConstraints(0, None), False),
        (x509.TLSFeature([x509.TLSFeatureType.status_request]), False),
        (x509.InhibitAnyPolicy(0), False),
        (x509.IssuerAlternativeName([x509.DNSName("x"), x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))]), False),
    ]
    return domain.forged(extra=extra)


def ed25519_certificate() -> bytes:
    """A self-signed certificate with a P-256 key, signed with EdDSA."""
    key = ed25519.Ed25519PrivateKey.generate()
    subject = x509.Name([])
    certificate = x509.load_der_x509_certificate(SmallDomain().ca_der)
    builder = x509.CertificateBuilder(
        subject,
        subject,
        certificate.public_key(),
        1,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
    return builder.sign(key, None).public_bytes(Encoding.DER)


def der(tag: int, content: bytes) -> bytes:
    """One DER element."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    encoded = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(encoded)]) + encoded + content


def taken_apart(certificate: bytes) -> tuple[bytes, bytes]:
    """The content of the TBSCertificate of one with the serial number 0x5EA1, and what follows it."""
    tbs = x509.load_der_x509_certificate(certificate).tbs_certificate_bytes
    return tbs[4:], certificate[4 + len(tbs) :]


def with_serial(certificate: bytes, serial: bytes) -> bytes:
    """With these bytes as serial number."""
    content, rest = taken_apart(certificate)
    return der(0x30, der(0x30, content.replace(bytes.fromhex("02025ea1"), der(2, serial), 1)) + rest)


def version_1(certificate: bytes) -> bytes:
    """Without version and extensions, as version 1 has it."""
    content, rest = taken_apart(certificate)
    without = content[5 : content.index(b"\xa3\x81")]
    return der(0x30, der(0x30, without) + rest)
