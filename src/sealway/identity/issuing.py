# SPDX-License-Identifier: Apache-2.0
"""The owner's authority: certificate requests, the self-signed issuing CA, and certificates for members.

Invariant: private keys are used only through a Signer. A certificate is issued for the key that signed the request
(proof of possession) and for the one name that the owner expected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from sealway.crypto.keys import SignatureAlgorithm, VerifyingKey
from sealway.crypto.ports import Random, Signer
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotTrusted, TooLarge
from sealway.identity.certificates import (
    DIGITAL_SIGNATURE,
    MAX_CERTIFICATE_BYTES,
    SERVER_ROLES,
    Certificate,
    check_authority,
    check_encoding,
    key_usage,
    malformed_unless_readable,
    names_in,
    purposes_of,
    read_certificate,
    subject_key_id,
)
from sealway.identity.signing_key import EdwardsSigningKey, SigningKey
from sealway.wire.address import Name

IPAddress = IPv4Address | IPv6Address

BACKDATED_SECONDS: Final = 300
"""Certificates begin this long before they are issued, for clocks that are behind."""

_OIDS: Final = {
    SignatureAlgorithm.ES256: SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithm.EDDSA: SignatureAlgorithmOID.ED25519,  # RFC 8410 §3
}
_SERIAL_BYTES: Final = 16
_AUTHORITY_USAGE: Final = key_usage(signs=False, certifies=True)


def make_csr(signer: Signer, name: Name) -> bytes:
    """Return a certificate request (PKCS #10, RFC 2986; DER) for ``name``, signed by the key it asks for."""
    builder = x509.CertificateSigningRequestBuilder(_common_name(name), [])
    builder = builder.add_extension(_alternative_names(name, (), ()), critical=False)
    return _request_signed(builder, signer).public_bytes(Encoding.DER)


def verify_csr(der: bytes) -> tuple[Name, VerifyingKey]:
    """Return the name and the key that a certificate request asks for, once it proves possession of the key.

    Raises:
        TooLarge: over 4 KiB.
        Malformed: not a DER PKCS #10 request with a P-256 or Ed25519 key, signed with that (ECDSA with SHA-256).
        NotAuthentic: the signature does not verify.
        NotTrusted: not exactly one Sealway name.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise TooLarge(f"a certificate request is larger than {MAX_CERTIFICATE_BYTES} bytes")
    with malformed_unless_readable("a certificate request"):
        request = x509.load_der_x509_csr(der)
        extensions = request.extensions
        check_encoding("a certificate request", der, request)
        public, valid = request.public_key(), request.is_signature_valid
    key = VerifyingKey.from_certificate_key(public)
    if request.signature_algorithm_oid != _OIDS[key.algorithm]:
        raise Malformed("a certificate request is not signed as its key does (ECDSA with SHA-256, or Ed25519)")
    if not valid:  # RFC 2986 §4.2: the signature is the proof of possession
        raise NotAuthentic("a certificate request's signature does not verify")
    return _requested_name(extensions), key


def self_signed_ca(signer: Signer, domain: str, *, now: int, days: int, random: Random) -> bytes:
    """Return an issuing CA certificate (DER) for a domain: CA:TRUE, pathlen 0, keyCertSign and cRLSign.

    The root document that carries it is the trust anchor; its own signature proves nothing and is checked by nobody.

    Args:
        signer: the CA's key.
        domain: the domain's name, which becomes DC attributes (RFC 2247) of the subject.
        now: Unix seconds.
        days: how long it is valid.
        random: source of the serial number.
    """
    subject = x509.Name(
        [x509.NameAttribute(NameOID.DOMAIN_COMPONENT, part) for part in reversed(domain.split("."))]
        + [x509.NameAttribute(NameOID.COMMON_NAME, "Sealway issuing CA")]
    )
    identifier = key_identifier(signer.public)
    builder = (
        begin_certificate(subject, signer.public, now, now + days * 86400, random)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_AUTHORITY_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier(identifier), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(identifier, None, None), critical=False)
    )
    return builder.sign(SigningKey(signer), hashes.SHA256()).public_bytes(Encoding.DER)


def issue_certificate(
    csr: bytes,
    *,
    expected_name: Name,
    ca_chain: Sequence[bytes],
    ca_signer: Signer,
    now: int,
    days: int,
    random: Random,
    dns: Sequence[str] = (),
    ip: Sequence[IPAddress] = (),
) -> tuple[bytes, ...]:
    """Certify an endpoint (LDevID) and return its chain in DER, leaf first, without the trust anchor.

    Args:
        csr: the endpoint's request.
        expected_name: the name that the owner means to certify; the request must ask for exactly this.
        ca_chain: the issuing CA's chain (DER): the issuer first, the anchor of the root document last.
        ca_signer: the issuer's key.
        now: Unix seconds; the certificate begins five minutes earlier.
        days: how long it is valid, at most as long as its issuer.
        random: source of the serial number (126 random bits).
        dns: host names, for hubs and gateways only.
        ip: IP addresses, for hubs and gateways only.

    Raises:
        LocalMisuse: another key than the issuer's, an issuer that has expired, or host names for another role.
        NotTrusted: the request asks for another name, or the issuer is no authority.
        Malformed, NotAuthentic, TooLarge: the request or the issuer's certificate is bad.
    """
    name, key = verify_csr(csr)
    if name != expected_name:
        raise NotTrusted(f"the request asks for the name {name}", hint=f"the name expected is {expected_name}")
    if (dns or ip) and name.role not in SERVER_ROLES:
        raise LocalMisuse(f"a certificate of the role {name.role} has no DNS or IP names")
    issuer = _usable_issuer(ca_chain[0], ca_signer, now)
    builder = (
        begin_certificate(_common_name(name), key, now, min(now + days * 86400, issuer.not_after), random)
        .issuer_name(issuer.parsed.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(DIGITAL_SIGNATURE, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes_of(name.role)), critical=False)
        .add_extension(_alternative_names(name, dns, ip), critical=False)
        .add_extension(x509.SubjectKeyIdentifier(key_identifier(key)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(subject_key_id(issuer), None, None), critical=False)
    )
    leaf = builder.sign(SigningKey(ca_signer), hashes.SHA256()).public_bytes(Encoding.DER)
    return leaf, *ca_chain[:-1]


def _request_signed(builder: x509.CertificateSigningRequestBuilder, signer: Signer) -> x509.CertificateSigningRequest:
    if signer.public.algorithm is SignatureAlgorithm.EDDSA:
        return builder.sign(EdwardsSigningKey(signer), None)
    return builder.sign(SigningKey(signer), hashes.SHA256())


def _usable_issuer(der: bytes, signer: Signer, now: int) -> Certificate:
    issuer = read_certificate(der)
    check_authority(issuer, below=0)
    if issuer.key != signer.public:
        raise LocalMisuse("the signing key is not that of the issuing CA's certificate")
    if now > issuer.not_after:
        raise LocalMisuse("the issuing CA's certificate has expired", hint="make a new one and a new root document")
    return issuer


def begin_certificate(
    subject: x509.Name, key: VerifyingKey, now: int, until: int, random: Random
) -> x509.CertificateBuilder:
    """Return a builder with everything that certificates have in common; ``now`` and ``until`` are Unix seconds."""
    return x509.CertificateBuilder(
        subject_name=subject,
        public_key=key.to_cryptography(),
        serial_number=_serial(random),
        not_valid_before=_moment(now) - timedelta(seconds=BACKDATED_SECONDS),
        not_valid_after=_moment(until),
    )


def _serial(random: Random) -> int:
    # RFC 5280 §4.1.2.2: positive, at most 20 bytes. The top bit is cleared, the next one set: 126 random bits.
    drawn = int.from_bytes(random(_SERIAL_BYTES))
    return drawn & ((1 << 127) - 1) | 1 << 126


def key_identifier(key: VerifyingKey) -> bytes:
    """Return the identifier by which certificates name a key, 20 bytes."""
    # RFC 7093 §2 method 1: the leftmost 160 bits of SHA-256 over the subjectPublicKey bit string.
    if key.algorithm is SignatureAlgorithm.EDDSA:  # RFC 8410 §4: the bit string is the key itself
        return hashlib.sha256(key.point).digest()[:20]
    x962 = key.to_cryptography().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return hashlib.sha256(x962).digest()[:20]


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _common_name(name: Name) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name.label)])


def _alternative_names(name: Name, dns: Sequence[str], ip: Sequence[IPAddress]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(str(name)), *map(x509.DNSName, dns), *map(x509.IPAddress, ip)]
    )


def _requested_name(extensions: x509.Extensions) -> Name:
    try:
        alternative = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise NotTrusted("a certificate request has no alternative name") from None
    name, has_hosts = names_in(alternative, "a certificate request")
    if has_hosts:
        raise NotTrusted("a certificate request must not ask for DNS or IP names", hint="the owner decides on these")
    return name
