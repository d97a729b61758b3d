# SPDX-License-Identifier: Apache-2.0
"""One X.509 certificate: read within bounds, and the checks of RFC 5280 §6.1 that concern it alone or with its issuer.

Invariant: what is not understood is refused. Only keys on P-256 and Ed25519 (RFC 8410), only signatures of an authority
with ECDSA and SHA-256, only DER, at most 4 KiB, no critical extension that is not acted on, no name constraints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from sealway.crypto.keys import VerifyingKey
from sealway.errors import Malformed, NotAuthentic, NotTrusted, SealwayError, TooLarge
from sealway.identity.clock import check_period
from sealway.wire.address import Name

MAX_CERTIFICATE_BYTES: Final = 4096


def key_usage(*, signs: bool, certifies: bool) -> x509.KeyUsage:
    """Return what a key may do (RFC 5280 §4.2.1.3).

    Args:
        signs: digitalSignature: documents, and the handshakes of hops.
        certifies: keyCertSign and cRLSign.
    """
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certifies,
        crl_sign=certifies,
        encipher_only=False,
        decipher_only=False,
    )


DIGITAL_SIGNATURE: Final = key_usage(signs=True, certifies=False)
"""What an endpoint's key may do (RFC 5280 §4.2.1.3); agreement keys stand in bundles, never in certificates."""

SERVER_ROLES: Final = frozenset({"hub", "gateway"})
"""Roles that answer TLS connections: they may have DNS and IP names, and have serverAuth."""

_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that was read, and not yet believed.

    Args:
        der: its encoding.
        key: its public key, valid; an authority's is on P-256, since nothing that another signed is read.
        parsed: the cryptography package's view of it.
    """

    der: bytes
    key: VerifyingKey
    parsed: x509.Certificate = field(repr=False, compare=False)

    @property
    def x5t(self) -> bytes:
        """SHA-256 of the certificate, 32 bytes (RFC 9360 §2)."""
        return hashlib.sha256(self.der).digest()

    @property
    def not_before(self) -> int:
        """The first second, Unix time, at which it is valid."""
        return int(self.parsed.not_valid_before_utc.timestamp())

    @property
    def not_after(self) -> int:
        """The last second, Unix time, at which it is valid."""
        return int(self.parsed.not_valid_after_utc.timestamp())

    def extension(self, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
        """Return the extension of this kind, or None."""
        try:
            return self.parsed.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            return None

    def required(self, kind: type[_Extension]) -> _Extension:
        """Return the value of the extension of this kind. Raises NotTrusted if it is absent."""
        found = self.extension(kind)
        if found is None:
            raise NotTrusted(f"a certificate lacks the extension {kind.oid._name}")
        return found.value


def read_certificate(der: bytes) -> Certificate:
    """Read one certificate strictly.

    Raises:
        TooLarge: over 4 KiB.
        Malformed: not a DER X.509 version 3 certificate with a P-256 or Ed25519 key and an ECDSA-SHA-256 signature.
        NotAuthentic: the public key is not on its curve.
        NotTrusted: a critical extension that is not understood, or name constraints.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise TooLarge(f"a certificate is larger than {MAX_CERTIFICATE_BYTES} bytes")
    with malformed_unless_readable("a certificate"):
        parsed = x509.load_der_x509_certificate(der)
        # Lazily parsed parts are read here, so that nothing fails to parse later.
        extensions = list(parsed.extensions)
        check_encoding("a certificate", der, parsed)
        subject_key = parsed.public_key()
        _ = parsed.subject, parsed.issuer, parsed.not_valid_before_utc, parsed.not_valid_after_utc
    _check_form(parsed)
    _check_extensions(extensions)
    return Certificate(der, VerifyingKey.from_certificate_key(subject_key), parsed)


def check_validity(certificate: Certificate, now: int, *, now_is_floor: bool) -> None:
    """RFC 5280 §6.1.3 (a)(2): within its validity period at ``now`` (Unix seconds). Raises NotTrusted."""
    # RFC 5280 §4.1.2.5: notAfter is the last second of validity. No skew: certificates are issued backdated.
    ends = certificate.not_after + 1
    check_period("a certificate", certificate.not_before, ends, now, now_is_floor=now_is_floor, skew=0)


def check_issued_by(certificate: Certificate, issuer: Certificate) -> None:
    """RFC 5280 §6.1.3 (a)(1) and (a)(4), and the key identifiers of §4.2.1.1 and §4.2.1.2.

    Raises:
        NotTrusted: issuer name or key identifier do not match.
        NotAuthentic: the signature does not verify.
    """
    # §6.1.3 (a)(4): the names chain, byte for byte (stricter than §7.1).
    if certificate.parsed.issuer.public_bytes() != issuer.parsed.subject.public_bytes():
        raise NotTrusted("a certificate names another issuer")
    # §4.2.1.1: the authority key identifier must be present and be the issuer's subject key identifier.
    if authority_key_id(certificate) != subject_key_id(issuer):
        raise NotTrusted("a certificate names another issuer key")
    try:  # §6.1.3 (a)(1); this also compares the inner and the outer signature algorithm (§4.1.1.2).
        certificate.parsed.verify_directly_issued_by(issuer.parsed)
    except (ValueError, TypeError, InvalidSignature):
        raise NotAuthentic("a certificate's signature does not verify") from None


def check_authority(certificate: Certificate, *, below: int) -> None:
    """RFC 5280 §6.1.4 (k) to (n): may issue, ``below`` further authorities down to the endpoint. Raises NotTrusted."""
    constraints = certificate.extension(x509.BasicConstraints)
    # §6.1.4 (k): basicConstraints present with cA true; §4.2.1.9: and critical.
    if constraints is None or not constraints.value.ca or not constraints.critical:
        raise NotTrusted("a certificate was issued by one that is no authority")
    # §6.1.4 (l) and (m): not more authorities below than pathLenConstraint allows.
    if constraints.value.path_length is not None and below > constraints.value.path_length:
        raise NotTrusted("a certificate chain is longer than its authority allows")
    # §6.1.4 (n): keyUsage has keyCertSign (here it must also be present).
    if not certificate.required(x509.KeyUsage).key_cert_sign:
        raise NotTrusted("an authority's key may not sign certificates")


def check_endpoint(certificate: Certificate) -> Name:
    """The profile of an endpoint's certificate; return its name. Raises NotTrusted, Malformed for the name."""
    # RFC 5280 §4.2.1.9: CA:FALSE, and critical as this profile has it.
    constraints = certificate.extension(x509.BasicConstraints)
    if constraints is None or constraints.value.ca or not constraints.critical:
        raise NotTrusted("an endpoint's certificate must say that it is no authority")
    # §4.2.1.3: digitalSignature and nothing else.
    if certificate.required(x509.KeyUsage) != DIGITAL_SIGNATURE:
        raise NotTrusted("an endpoint's key must be for signatures only")
    name = _endpoint_name(certificate.required(x509.SubjectAlternativeName), "a certificate")
    # §4.2.1.12: exactly the purposes of the role; anyExtendedKeyUsage is none of them.
    if set(certificate.required(x509.ExtendedKeyUsage)) != set(purposes_of(name.role)):
        raise NotTrusted(f"a certificate's extended key usage does not fit the role {name.role}")
    return name


def purposes_of(role: str) -> tuple[x509.ObjectIdentifier, ...]:
    """Return the extended key usages of a role's certificate."""
    if role in SERVER_ROLES:
        return ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
    return (ExtendedKeyUsageOID.CLIENT_AUTH,)


def subject_key_id(certificate: Certificate) -> bytes:
    """Return the subject key identifier. Raises NotTrusted if there is none."""
    return certificate.required(x509.SubjectKeyIdentifier).digest


def authority_key_id(certificate: Certificate) -> bytes:
    """Return the authority key identifier. Raises NotTrusted if there is none."""
    identifier = certificate.required(x509.AuthorityKeyIdentifier).key_identifier
    if identifier is None:
        raise NotTrusted("a certificate's authority key identifier has no key identifier")
    return identifier


def names_in(alternative: x509.SubjectAlternativeName, what: str) -> tuple[Name, bool]:
    """Return the one Sealway name among these alternative names, and whether DNS or IP names stand beside it.

    Raises:
        NotTrusted: none, several, or names of other kinds.
        Malformed: the URI is not a Sealway name.
    """
    uris = alternative.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise NotTrusted(f"{what} must have exactly one URI name, not {len(uris)}")
    hosts = [entry for entry in alternative if isinstance(entry, x509.DNSName | x509.IPAddress)]
    if len(hosts) + 1 != len(list(alternative)):
        raise NotTrusted(f"{what} has an alternative name of an unknown kind")
    return Name.parse(uris[0]), bool(hosts)


def check_encoding(what: str, der: bytes, parsed: x509.Certificate | x509.CertificateSigningRequest) -> None:
    """RFC 5280 §4.1: it is in DER, so that it has one encoding and x5t has one value. Raises Malformed."""
    # The last octets are the signature's bit string, whose count of unused bits (X.690 §8.6.2) the parser lets vary.
    if parsed.public_bytes(Encoding.DER) != der or not der.endswith(b"\0" + parsed.signature):
        raise Malformed(f"{what} is not in DER")


@contextmanager
def malformed_unless_readable(what: str) -> Iterator[None]:
    """Turn whatever the X.509 parser raises into Malformed."""
    try:
        yield
    except SealwayError:
        raise
    except Exception:  # noqa: BLE001 - the parser has many kinds, a KeyError for an unknown TLS feature among them
        raise Malformed(f"{what} cannot be read") from None


def _check_form(parsed: x509.Certificate) -> None:
    # RFC 5280 §4.1.2.1: version 3, since there are extensions.
    if parsed.version is not x509.Version.v3:
        raise Malformed("a certificate is not of version 3")
    # §4.1.2.2: a positive serial number of at most 20 bytes.
    if not 0 < parsed.serial_number < 1 << 159:
        raise Malformed("a certificate's serial number is out of range")
    # §4.1.1.2 and RFC 5758 §3.2: ecdsa-with-SHA256 only.
    if parsed.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise Malformed("a certificate is not signed with ECDSA and SHA-256")


def _check_extensions(extensions: list[x509.Extension[x509.ExtensionType]]) -> None:
    for extension in extensions:
        # RFC 5280 §4.2 and §6.1.5 (f): a critical extension that is not acted on refuses the certificate.
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise NotTrusted("a certificate has a critical extension that is not understood")
        # §4.2.1.10: constraints would have to be applied (§6.1.4 (g)); they are not, so they are refused.
        if extension.oid == ExtensionOID.NAME_CONSTRAINTS:
            raise NotTrusted("a certificate has name constraints, which are not supported")


def _endpoint_name(alternative: x509.SubjectAlternativeName, what: str) -> Name:
    # RFC 5280 §4.2.1.6: the SAN holds the endpoint's name; role and domain are certified with it.
    name, has_hosts = names_in(alternative, what)
    if has_hosts and name.role not in SERVER_ROLES:
        raise NotTrusted(f"{what} of the role {name.role} must not have DNS or IP names")
    return name
