# SPDX-License-Identifier: Apache-2.0
"""A domain in memory, deterministic, and a way to certify what the real owner never would."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealway.crypto.keys import SoftSigner, generate_scalar
from sealway.crypto.ports import Random, Signer
from sealway.crypto.suites import SUITE_1, Suite
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.issuing import issue_certificate, make_csr, self_signed_ca
from sealway.identity.root import OwnerRoot, sign_root, trust_root_on_first_use
from sealway.identity.signing_key import SigningKey
from sealway.wire.address import Name
from sealway.wire.root_document import Authority, RootClaims

NOW = 1_800_000_000
DAY = 86_400
DOMAIN = "building.example"
USAGE = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def seeded(seed: str) -> Random:
    """A source of randomness that is the same in every run."""
    numbers = count()
    return lambda length: hashlib.shake_256(f"{seed} {next(numbers)}".encode()).digest(length)


def signer(seed: str, suite: Suite = SUITE_1) -> SoftSigner:
    """A signing key made from a seed, as endpoints of a suite have it."""
    return SoftSigner(generate_scalar(seeded(seed)), suite.signature)


def name(label: str, role: str = "device", domain: str = DOMAIN) -> Name:
    """A name in the domain."""
    return Name(domain, role, label)


def key_usage(*allowed: str) -> x509.KeyUsage:
    """A keyUsage extension with these bits."""
    return x509.KeyUsage(**{use: use in allowed for use in USAGE})


class SmallDomain:
    """An owner with one key, one issuing CA and one grant key."""

    def __init__(self, domain: str = DOMAIN) -> None:
        self.owner, self.ca, self.granter = signer("owner"), signer("ca"), signer("granter")
        self.ca_der = self_signed_ca(self.ca, domain, now=NOW, days=3650, random=seeded("ca"))
        self.claims = RootClaims(
            domain=domain,
            domain_id=bytes(range(16)),
            number=1,
            issued=NOW,
            expires=NOW + 365 * DAY,
            owner_keys=(self.owner.public.point,),
            threshold=1,
            issuing_cas=(self.ca_der,),
            grant_keys=(Authority(self.granter.public.point, NOW + 100 * DAY),),
        )
        self.root_document = sign_root(self.claims, [self.owner])
        self.root = trust_root_on_first_use(self.root_document, now=NOW)

    def root_with(self, **changes: Any) -> OwnerRoot:
        """The root document with other claims, signed by the owner."""
        encoded = sign_root(replace(self.claims, **changes), [self.owner])
        return trust_root_on_first_use(encoded, now=NOW)

    def chain(self, of: Name, key: Signer, *, days: int = 30, **hosts: Any) -> tuple[bytes, ...]:
        """A good chain."""
        return issue_certificate(
            make_csr(key, of),
            expected_name=of,
            ca_chain=[self.ca_der],
            ca_signer=self.ca,
            now=NOW,
            days=days,
            random=seeded(str(of)),
            **hosts,
        )

    def credential(self, label: str, role: str = "device", suite: Suite = SUITE_1) -> tuple[Credential, SoftSigner]:
        """A proven credential and its key, made from the label."""
        key = signer(label, suite)
        return verify_chain(self.chain(name(label, role), key), self.root, NOW), key

    def forged(self, *, issuer: Signer | None = None, issuer_der: bytes | None = None, **changes: Any) -> bytes:
        """A leaf like a device's, but for these changes; see ``forge``."""
        return forge(issuer=issuer or self.ca, issuer_der=issuer_der or self.ca_der, **changes)


def forge(
    *,
    issuer: Signer,
    issuer_der: bytes,
    key: Any = None,
    issuer_name: x509.Name | None = None,
    begins: int = NOW,
    ends: int = NOW + DAY,
    basic: tuple[bool, int | None] | None = (False, None),
    basic_critical: bool = True,
    usage: Sequence[str] | None = ("digital_signature",),
    purposes: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,),
    names: Sequence[x509.GeneralName] | None = (x509.UniformResourceIdentifier("sealway://building.example/device/d"),),
    authority: x509.AuthorityKeyIdentifier | bool | None = True,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    subject_key: bool = True,
    serial: int = 0x5EA1,
    signed_with: Any = None,
    algorithm: Any = None,
) -> bytes:
    """Return a certificate in DER, signed by ``issuer``; None leaves an extension out."""
    parent = x509.load_der_x509_certificate(issuer_der)
    public = key if key is not None else signer("forged").public.to_cryptography()
    if authority is True:
        ski = parent.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority = x509.AuthorityKeyIdentifier(ski.digest, None, None)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        *([] if basic is None else [(x509.BasicConstraints(*basic), basic_critical)]),
        *([] if usage is None else [(key_usage(*usage), True)]),
        *([] if purposes is None else [(x509.ExtendedKeyUsage(purposes), False)]),
        *([] if names is None else [(x509.SubjectAlternativeName(names), False)]),
        *([(authority, False)] if isinstance(authority, x509.AuthorityKeyIdentifier) else []),
        *([(x509.SubjectKeyIdentifier(b"forged forged forged"), False)] if subject_key else []),
        *extra,
    ]
    builder = x509.CertificateBuilder(
        issuer_name=issuer_name or parent.subject,
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "forged")]),
        public_key=public,
        serial_number=serial,
        not_valid_before=datetime.fromtimestamp(begins, UTC),
        not_valid_after=datetime.fromtimestamp(ends, UTC),
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(signed_with or SigningKey(issuer), algorithm or hashes.SHA256())
    return certificate.public_bytes(Encoding.DER)
