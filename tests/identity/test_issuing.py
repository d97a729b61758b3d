# SPDX-License-Identifier: Apache-2.0
"""Certificate requests, the issuing CA, and certifying members."""

from __future__ import annotations

import copy
import ipaddress
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotTrusted, TooLarge
from sealway.identity.credentials import verify_chain
from sealway.identity.issuing import issue_certificate, make_csr, self_signed_ca, verify_csr
from sealway.identity.signing_key import SigningKey
from tests.identity.small_domain import DAY, NOW, SmallDomain, name, seeded, signer

METER = name("meter-1")


def issue(domain: SmallDomain, **changes: Any) -> tuple[bytes, ...]:
    """Certify the meter, but for these changes."""
    arguments: dict[str, Any] = {
        "csr": make_csr(signer("m"), METER),
        "expected_name": METER,
        "ca_chain": [domain.ca_der],
        "ca_signer": domain.ca,
        "now": NOW,
        "days": 30,
        "random": seeded("serial"),
    }
    return issue_certificate(**(arguments | changes))


def request(*names: x509.GeneralName, key: Any = None, algorithm: Any = None) -> bytes:
    """A request for any names by any key."""
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]), [])
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key or SigningKey(signer("m")), algorithm or hashes.SHA256()).public_bytes(Encoding.DER)


class TestRequests:
    def test_a_request_proves_its_key_and_says_its_name(self) -> None:
        assert verify_csr(make_csr(signer("m"), METER)) == (METER, signer("m").public)

    def test_openssl_agrees(self, tmp_path: Path) -> None:
        (tmp_path / "csr.der").write_bytes(make_csr(signer("m"), METER))
        command = ["openssl", "req", "-verify", "-noout", "-inform", "DER", "-in", "csr.der", "-text"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        assert f"URI:{METER}" in result.stdout

    def test_refuses_what_is_too_large(self) -> None:
        with pytest.raises(TooLarge):
            verify_csr(bytes(4097))

    @given(st.binary(max_size=64))
    def test_refuses_what_is_no_request(self, noise: bytes) -> None:
        with pytest.raises(Malformed):
            verify_csr(noise)

    def test_no_flipped_bit_goes_unnoticed(self) -> None:
        good = make_csr(signer("m"), METER)
        for bit in range(8 * len(good)):
            changed = bytearray(good)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises((Malformed, NotAuthentic, NotTrusted)):
                verify_csr(bytes(changed))

    def test_refuses_truncation_at_every_byte(self) -> None:
        good = make_csr(signer("m"), METER)
        for end in range(len(good)):
            with pytest.raises(Malformed):
                verify_csr(good[:end])

    def test_refuses_another_curve(self) -> None:
        with pytest.raises(Malformed, match="P-256"):
            verify_csr(request(x509.UniformResourceIdentifier(str(METER)), key=ec.generate_private_key(ec.SECP384R1())))

    def test_refuses_another_hash(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(Malformed, match="SHA-256"):
            verify_csr(request(x509.UniformResourceIdentifier(str(METER)), key=key, algorithm=hashes.SHA512()))

    def test_refuses_no_name(self) -> None:
        with pytest.raises(NotTrusted, match="no alternative name"):
            verify_csr(request())

    def test_refuses_two_names(self) -> None:
        uri = x509.UniformResourceIdentifier
        with pytest.raises(NotTrusted, match="exactly one"):
            verify_csr(request(uri(str(METER)), uri(str(name("meter-2")))))

    def test_refuses_host_names(self) -> None:
        with pytest.raises(NotTrusted, match="must not ask"):
            verify_csr(request(x509.UniformResourceIdentifier(str(METER)), x509.DNSName("hub.example")))


class TestIssuing:
    def test_a_certificate_is_what_was_asked_for(self, domain: SmallDomain) -> None:
        chain = issue(domain)
        assert verify_chain(chain, domain.root, NOW, expected_name=METER).key == signer("m").public
        leaf = x509.load_der_x509_certificate(chain[0])
        assert 1 << 126 <= leaf.serial_number < 1 << 127
        assert len(chain) == 1

    def test_issuing_is_deterministic_in_its_randomness(self, domain: SmallDomain) -> None:
        assert issue(domain) == issue(domain)
        assert issue(domain) != issue(domain, random=seeded("another"))

    def test_a_certificate_never_outlives_its_issuer(self, domain: SmallDomain) -> None:
        credential = verify_chain(issue(domain, days=10_000), domain.root, NOW)
        assert credential.not_after == NOW + 3650 * DAY

    def test_intermediates_come_along_and_the_anchor_does_not(self, domain: SmallDomain) -> None:
        assert issue(domain, ca_chain=[domain.ca_der, b"anchor"])[1:] == (domain.ca_der,)

    def test_refuses_another_name_than_expected(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="meter-1"):
            issue(domain, expected_name=name("meter-2"))

    @pytest.mark.parametrize("hosts", [{"dns": ["d.example"]}, {"ip": [ipaddress.ip_address("::1")]}])
    def test_refuses_host_names_for_a_device(self, domain: SmallDomain, hosts: dict[str, Any]) -> None:
        with pytest.raises(LocalMisuse, match="role device"):
            issue(domain, **hosts)

    def test_refuses_a_key_that_is_not_the_issuers(self, domain: SmallDomain) -> None:
        with pytest.raises(LocalMisuse, match="issuing CA"):
            issue(domain, ca_signer=signer("other"))

    def test_refuses_an_issuer_that_has_expired(self, domain: SmallDomain) -> None:
        with pytest.raises(LocalMisuse, match="expired"):
            issue(domain, now=NOW + 4000 * DAY)

    def test_refuses_an_issuer_that_is_no_authority(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="no authority"):
            issue(domain, ca_chain=issue(domain), ca_signer=signer("m"))


class TestIssuingCA:
    def test_its_profile(self, domain: SmallDomain) -> None:
        ca = x509.load_der_x509_certificate(domain.ca_der)
        basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
        assert (basic.critical, basic.value) == (True, x509.BasicConstraints(ca=True, path_length=0))
        assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
        assert not usage.value.digital_signature
        assert ca.subject.rfc4514_string() == "CN=Sealway issuing CA,DC=building,DC=example"
        ca.verify_directly_issued_by(ca)

    def test_two_authorities_of_a_domain_differ_by_key_identifier(self) -> None:
        ders = [self_signed_ca(signer(s), "a.example", now=NOW, days=1, random=seeded(s)) for s in ("x", "y")]
        identifiers = {
            x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            for der in ders
        }
        assert len(identifiers) == 2


class TestSigningKey:
    def test_says_what_it_is(self) -> None:
        key = SigningKey(signer("m"))
        assert (key.curve.name, key.key_size) == ("secp256r1", 256)
        assert key.public_key() == signer("m").public.to_cryptography()

    @pytest.mark.parametrize(
        "use",
        [
            lambda key: key.exchange(ec.ECDH(), key.public_key()),
            lambda key: key.private_numbers(),
            lambda key: key.private_bytes(None, None, None),
            copy.copy,
            copy.deepcopy,
        ],
    )
    def test_gives_nothing_out(self, use: Callable[[SigningKey], object]) -> None:
        with pytest.raises(LocalMisuse, match="nothing else"):
            use(SigningKey(signer("m")))

    @pytest.mark.parametrize("algorithm", [ec.ECDSA(hashes.SHA384()), object()])
    def test_signs_with_one_algorithm_only(self, algorithm: Any) -> None:
        with pytest.raises(LocalMisuse, match="SHA-256"):
            SigningKey(signer("m")).sign(b"", algorithm)
