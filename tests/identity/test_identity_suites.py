# SPDX-License-Identifier: Apache-2.0
"""What endpoints with Ed25519 certificates prove, under an owner whose keys are on P-256; and what does not fit."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509 import load_der_x509_certificate

from sealway.crypto.keys import SoftSigner
from sealway.crypto.suites import SUITE_1, SUITE_3, Suite
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotAuthorized, NotTrusted
from sealway.identity.assertion import make_assertion, verify_assertion
from sealway.identity.bundles import sign_bundle, verify_bundle, verify_offer, verify_publication
from sealway.identity.consents import sign_consent, verify_consent
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.documents import sign_document, verify_document
from sealway.identity.grants import issue_grant, verify_grant
from sealway.identity.issuing import issue_certificate, make_csr, self_signed_ca, verify_csr
from sealway.identity.signing_key import EdwardsSigningKey, SigningKey
from sealway.wire.bundle import BundleClaims, Offer, OneTimeKey, Publication, SignedBundle
from sealway.wire.consent import ConsentClaims, SignedConsent
from sealway.wire.cose import EDDSA, ES256, TYP_CONSENT, Sign1, X5t
from sealway.wire.grant import GrantClaims, SignedGrant
from sealway.wire.merkle import merkle_path, merkle_root
from tests.identity.small_domain import NOW, SmallDomain, name, seeded, signer
from tests.identity.test_bundles import claims_of

METER, ROOF = name("meter-1"), name("roof", "gateway")
AUDIENCE = "https://hub.example/v1/token"


@pytest.fixture(scope="module")
def domain() -> SmallDomain:
    return SmallDomain()


def suite_3_claims(**changes: Any) -> BundleClaims:
    """The claims of a meter of suite 3."""
    draw, public = SUITE_3.curve.draw, SUITE_3.curve.public
    keys = tuple(public(draw(seeded(f"one-time {i}"))) for i in range(4))
    usual = claims_of(
        suites=(3,), agreement_key=public(draw(seeded("agreement"))), signed_prekey=public(draw(seeded("prekey"))),
        one_time_root=merkle_root(keys), one_time_count=len(keys),
    )  # fmt: skip
    return replace(usual, **changes)


def meter(domain: SmallDomain, suite: Suite = SUITE_3) -> tuple[Credential, SoftSigner]:
    return domain.credential("meter-1", suite=suite)


# certificates --------------------------------------------------------------------------------------------------------
def test_an_ed25519_certificate_under_a_p_256_authority(domain: SmallDomain, tmp_path: Path) -> None:
    credential, key = meter(domain)
    assert credential.key == key.public
    (tmp_path / "leaf.der").write_bytes(credential.chain[0])
    (tmp_path / "ca.der").write_bytes(domain.ca_der)
    said = [
        subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, timeout=120)
        for command in (
            "openssl x509 -inform DER -in leaf.der -noout -text",
            "openssl x509 -inform DER -in ca.der -out ca.pem",
            f"openssl verify -attime {NOW} -CAfile ca.pem leaf.der",
        )
    ]
    assert "Public Key Algorithm: ED25519" in said[0].stdout
    assert "Signature Algorithm: ecdsa-with-SHA256" in said[0].stdout
    assert said[2].stdout == "leaf.der: OK\n", said[2].stderr


def test_a_request_is_signed_as_its_key_does() -> None:
    key = signer("m", SUITE_3)
    assert verify_csr(make_csr(key, METER)) == (METER, key.public)


def test_a_request_of_another_ed25519_key_is_refused() -> None:
    class Swapped:
        public = signer("m", SUITE_3).public
        sign = signer("n", SUITE_3).sign

    with pytest.raises(NotAuthentic, match="signature"):
        verify_csr(make_csr(Swapped(), METER))


def test_a_request_signed_with_the_other_algorithm_is_malformed() -> None:
    """The request says Ed25519 and the key is on P-256, or the other way round: the parser of X.509 cannot help it."""
    key = signer("m", SUITE_3)
    der = make_csr(key, METER)
    other = make_csr(signer("m"), METER)
    oid_ed25519, oid_ecdsa = bytes.fromhex("300506032b6570"), bytes.fromhex("300a06082a8648ce3d040302")
    assert oid_ed25519 in der and oid_ecdsa in other
    with pytest.raises((Malformed, NotAuthentic)):
        verify_csr(der[: der.rindex(oid_ed25519)] + oid_ecdsa + der[der.rindex(oid_ed25519) + 7 :])


def test_an_authority_with_an_ed25519_key_issues_nothing(domain: SmallDomain) -> None:
    with pytest.raises(LocalMisuse, match="P-256"):
        self_signed_ca(signer("ca", SUITE_3), "building.example", now=NOW, days=10, random=seeded("x"))
    ca = Ed25519PrivateKey.generate()
    authority = domain.forged(key=ca.public_key(), basic=(True, 0), usage=("key_cert_sign",), names=None, purposes=None)
    root = domain.root_with(issuing_cas=(authority,))  # its own certificate is signed by a key on P-256
    leaf = domain.forged(issuer_der=authority)
    with pytest.raises(NotAuthentic, match="signature"):
        verify_chain((leaf,), root, NOW)


REFUSED: list[Callable[[EdwardsSigningKey], object]] = [
    lambda key: key.private_bytes(None, None, None), lambda key: key.private_bytes_raw(), copy.copy, copy.deepcopy,
]  # fmt: skip


@pytest.mark.parametrize("use", REFUSED)
def test_what_the_builders_get_signs_and_nothing_else(use: Callable[[EdwardsSigningKey], object]) -> None:
    with pytest.raises(LocalMisuse, match="sign and nothing else"):
        use(EdwardsSigningKey(signer("m", SUITE_3)))


def test_a_p_256_signing_key_is_none_of_ed25519() -> None:
    with pytest.raises(LocalMisuse, match="P-256"):
        SigningKey(signer("m", SUITE_3))


# bundles -------------------------------------------------------------------------------------------------------------
def test_a_bundle_of_suite_3(domain: SmallDomain) -> None:
    credential, key = meter(domain)
    claims = suite_3_claims()
    encoded = sign_bundle(claims, credential, key)
    proven = verify_bundle(encoded, credential, NOW)
    assert proven.suites == (SUITE_3,)
    assert SignedBundle.decode(encoded).sign1.alg == EDDSA
    keys = tuple(SUITE_3.curve.public(SUITE_3.curve.draw(seeded(f"one-time {i}"))) for i in range(4))
    offer = Offer(encoded, OneTimeKey(1, keys[1], merkle_path(keys, 1))).encode()
    assert verify_offer(offer, credential, NOW).one_time is not None
    assert verify_publication(Publication(encoded, keys).encode(), credential, NOW)[1] == keys


def refused_bundle(domain: SmallDomain, claims: BundleClaims, suite: Suite, match: str) -> None:
    credential, key = meter(domain, suite)
    with pytest.raises(NotTrusted, match=match):
        verify_bundle(sign_bundle(claims, credential, key), credential, NOW)


def test_an_ed25519_certificate_with_p_256_agreement_keys_is_refused(domain: SmallDomain) -> None:
    refused_bundle(domain, claims_of(suites=(1, 2)), SUITE_3, "sign as its certificate")


def test_a_p_256_certificate_with_x25519_agreement_keys_is_refused(domain: SmallDomain) -> None:
    refused_bundle(domain, suite_3_claims(), SUITE_1, "sign as its certificate")


@pytest.mark.parametrize("listed", [(1, 3), (2, 3), (1, 2, 3, 7)])
def test_a_bundle_that_lists_suites_of_two_curves_is_refused(domain: SmallDomain, listed: tuple[int, ...]) -> None:
    for suite in (SUITE_1, SUITE_3):
        refused_bundle(domain, claims_of(suites=listed), suite, "different curves")


def test_a_bundle_of_unknown_suites_alone_is_refused(domain: SmallDomain) -> None:
    refused_bundle(domain, claims_of(suites=(4, 23)), SUITE_1, "does not have")


def test_unknown_suites_beside_a_known_one_are_skipped(domain: SmallDomain) -> None:
    credential, key = meter(domain, SUITE_1)
    assert verify_bundle(sign_bundle(claims_of(suites=(1, 9)), credential, key), credential, NOW).suites == (SUITE_1,)


@pytest.mark.parametrize("field", ["agreement_key", "signed_prekey"])
@pytest.mark.parametrize("bad", [bytes(32), b"\xff" * 32], ids=["small order", "not canonical"])
def test_a_bundle_with_an_x25519_key_that_is_not_sound_is_refused(domain: SmallDomain, field: str, bad: bytes) -> None:
    credential, key = meter(domain)
    with pytest.raises(NotAuthentic):
        verify_bundle(sign_bundle(suite_3_claims(**{field: bad}), credential, key), credential, NOW)


# documents -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("suite", [SUITE_1, SUITE_3], ids=repr)
def test_a_document_that_names_the_other_algorithm_is_refused(domain: SmallDomain, suite: Suite) -> None:
    """The signature is good, over a header that lies: only its own signer can make that."""
    credential, key = meter(domain, suite)
    other = EDDSA if suite is SUITE_1 else ES256
    unsigned = Sign1(TYP_CONSENT, X5t(credential.x5t), b"payload", bytes(64), other)
    lying = replace(unsigned, signature=key.sign(unsigned.to_be_signed))
    credential.key.verify(lying.to_be_signed, lying.signature)
    with pytest.raises(NotAuthentic, match="another algorithm"):
        verify_document(lying, credential.key)
    verify_document(sign_document(TYP_CONSENT, X5t(credential.x5t), b"payload", key), credential.key)


def test_a_consent_of_a_device_of_suite_3(domain: SmallDomain) -> None:
    credential, key = meter(domain)
    consent = sign_consent(credential, ROOF, key, now=NOW, seconds=60)
    assert verify_consent(consent, credential, NOW).claims.gateway == ROOF
    lying = SignedConsent.decode(consent)
    relabelled = replace(lying, sign1=replace(lying.sign1, alg=ES256)).encode()
    with pytest.raises(NotAuthentic, match="another algorithm"):
        verify_consent(relabelled, credential, NOW)
    assert isinstance(lying.claims, ConsentClaims)


def granted(domain: SmallDomain, holder: Credential) -> bytes:
    return issue_grant(
        holder=holder, audience=[METER], scopes=["valve:write"], signer=domain.granter, now=NOW, random=seeded("g")
    )


def test_a_grant_for_a_holder_of_suite_3(domain: SmallDomain) -> None:
    holder, _ = domain.credential("app", "application", SUITE_3)
    grant = verify_grant(granted(domain, holder), domain.root, NOW)
    assert grant.permits(holder, METER, "valve:write", NOW) is grant
    claims = grant.claims
    assert (claims.holder_x, claims.holder_y) == (holder.key.point, None)
    assert GrantClaims.decode(claims.encode()) == claims
    other, _ = domain.credential("app", "application")
    with pytest.raises(NotAuthorized, match="another key"):
        grant.permits(other, METER, "valve:write", NOW)


def test_a_holders_key_is_of_one_kind_or_the_other(domain: SmallDomain) -> None:
    holder, _ = domain.credential("app", "application", SUITE_3)
    encoded = SignedGrant.decode(granted(domain, holder)).sign1.payload
    okp = bytes.fromhex("a301012006215820") + holder.key.point
    assert okp in encoded
    for wrong in ("a301022006215820", "a301012001215820"):  # kty EC2; curve P-256
        with pytest.raises(Malformed):
            GrantClaims.decode(encoded.replace(okp[:8], bytes.fromhex(wrong)))


# assertions ----------------------------------------------------------------------------------------------------------
def asserted(domain: SmallDomain, suite: Suite) -> str:
    credential, key = meter(domain, suite)
    return make_assertion(
        name=str(METER), chain=credential.chain, signer=key, audience=AUDIENCE, now=NOW, random=seeded("jti")
    )


def test_an_assertion_with_eddsa(domain: SmallDomain) -> None:
    text = asserted(domain, SUITE_3)
    assert verify_assertion(text, domain.root, NOW, audiences={AUDIENCE}).credential == meter(domain)[0]


def test_an_assertion_that_names_the_other_algorithm_is_refused(domain: SmallDomain) -> None:
    """RFC 8725 §3.1: what the header says must be what the certificate's key is."""
    for suite, other in ((SUITE_1, SUITE_3), (SUITE_3, SUITE_1)):
        credential, key = meter(domain, suite)

        class Lying:
            public = meter(domain, other)[1].public
            sign = key.sign

        text = make_assertion(
            name=str(METER), chain=credential.chain, signer=Lying(), audience=AUDIENCE, now=NOW, random=seeded("jti")
        )
        with pytest.raises(NotAuthentic, match="another algorithm"):
            verify_assertion(text, domain.root, NOW, audiences={AUDIENCE})


def test_a_certificate_is_issued_for_the_key_that_asked(domain: SmallDomain) -> None:
    key = signer("m", SUITE_3)
    chain = issue_certificate(
        make_csr(key, METER), expected_name=METER, ca_chain=[domain.ca_der], ca_signer=domain.ca, now=NOW, days=1,
        random=seeded("serial"),
    )  # fmt: skip
    assert load_der_x509_certificate(chain[0]).public_key() == key.public.to_cryptography()
