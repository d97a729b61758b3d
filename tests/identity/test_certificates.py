# SPDX-License-Identifier: Apache-2.0
"""Every way in which a certificate chain is refused, one test each; and that OpenSSL agrees about a good one."""

from __future__ import annotations

import ipaddress
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotTrusted, PeerMisbehaved, SealwayError, TooLarge
from sealway.identity.certificates import MAX_CERTIFICATE_BYTES, read_certificate
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.issuing import BACKDATED_SECONDS, self_signed_ca
from tests.identity.odd_certificates import ed25519_certificate, version_1, with_many_extensions, with_serial
from tests.identity.small_domain import DAY, NOW, SmallDomain, forge, name, seeded, signer

URI = x509.UniformResourceIdentifier
GOOD_NAME = URI("sealway://building.example/device/d")
AUTHORITY: dict[str, Any] = {"basic": (True, 0), "usage": ("key_cert_sign",), "purposes": None, "names": None}


def refused(domain: SmallDomain, error: type[SealwayError], match: str, **changes: Any) -> None:
    """A leaf with these changes is refused for this reason; without them it would be accepted."""
    assert verify_chain([domain.forged()], domain.root, NOW).name.label == "d"
    with pytest.raises(error, match=match):
        verify_chain([domain.forged(**changes)], domain.root, NOW)


class TestGoodChains:
    def test_a_device_is_who_its_certificate_says(self, domain: SmallDomain) -> None:
        key = signer("meter-1")
        chain = domain.chain(name("meter-1"), key)
        credential = verify_chain(chain, domain.root, NOW, expected_name=name("meter-1"), expected_role="device")
        assert (credential.name, credential.role, credential.key) == (name("meter-1"), "device", key.public)
        assert (credential.chain, len(credential.x5t)) == (chain, 32)
        assert (credential.not_before, credential.not_after) == (NOW - BACKDATED_SECONDS, NOW + 30 * DAY)

    def test_the_anchor_may_stand_at_the_end(self, domain: SmallDomain) -> None:
        chain = (*domain.chain(name("meter-1"), signer("m")), domain.ca_der)
        assert verify_chain(chain, domain.root, NOW).chain == chain

    @pytest.mark.parametrize("role", ["device", "application", "gateway", "hub"])
    def test_every_role_is_certified(self, domain: SmallDomain, role: str) -> None:
        chain = domain.chain(name("x", role), signer("x"))
        assert verify_chain(chain, domain.root, NOW, expected_role=role).role == role

    def test_a_hub_has_host_names(self, domain: SmallDomain) -> None:
        hosts: dict[str, Any] = {"dns": ["hub.example"], "ip": [ipaddress.ip_address("127.0.0.1")]}
        chain = domain.chain(name("main", "hub"), signer("hub"), **hosts)
        assert verify_chain(chain, domain.root, NOW).name == name("main", "hub")

    def test_an_intermediate_authority_is_allowed_where_the_anchor_allows_it(self, domain: SmallDomain) -> None:
        root, chain = with_intermediate(domain, anchor_pathlen=1)
        assert verify_chain(chain, root, NOW).name.label == "d"
        assert verify_chain([*chain, root.issuing_cas[0]], root, NOW).name.label == "d"

    def test_a_renewed_authority_with_the_same_key_is_used(self, domain: SmallDomain) -> None:
        old = self_signed_ca(domain.ca, "building.example", now=NOW - 10 * DAY, days=5, random=seeded("old"))
        root = domain.root_with(issuing_cas=(old, domain.ca_der))
        assert verify_chain(domain.chain(name("a"), signer("a")), root, NOW).name == name("a")

    def test_openssl_agrees(self, domain: SmallDomain, tmp_path: Path) -> None:
        hosts: dict[str, Any] = {"dns": ["hub.example"]}
        leaf = domain.chain(name("main", "hub"), signer("hub"), **hosts)[0]
        for file, der in (("ca.pem", domain.ca_der), ("leaf.pem", leaf)):
            (tmp_path / file).write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        options = ["-x509_strict", "-check_ss_sig", "-purpose", "sslserver", "-verify_hostname", "hub.example"]
        command = ["openssl", "verify", *options, "-attime", str(NOW), "-CAfile", "ca.pem", "leaf.pem"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert result.stdout == "leaf.pem: OK\n", result.stderr


class TestForm:
    def test_refuses_what_is_too_large(self, domain: SmallDomain) -> None:
        with pytest.raises(TooLarge):
            verify_chain([bytes(MAX_CERTIFICATE_BYTES + 1)], domain.root, NOW)

    @given(st.binary(max_size=64))
    def test_refuses_what_is_no_certificate(self, noise: bytes) -> None:
        with pytest.raises(Malformed):
            read_certificate(noise)

    def test_refuses_trailing_bytes(self, domain: SmallDomain) -> None:
        with pytest.raises(Malformed):
            read_certificate(domain.ca_der + b"\0")

    def test_refuses_truncation_at_every_byte(self, domain: SmallDomain) -> None:
        for end in range(len(domain.ca_der)):
            with pytest.raises(Malformed):
                read_certificate(domain.ca_der[:end])

    def test_no_flipped_bit_goes_unnoticed(self, domain: SmallDomain) -> None:
        leaf = domain.chain(name("meter-1"), signer("m"))[0]
        for bit in range(0, 8 * len(leaf), 3):
            changed = bytearray(leaf)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises((PeerMisbehaved, NotTrusted)):
                verify_chain([bytes(changed)], domain.root, NOW)

    def test_refuses_extensions_that_the_parser_stumbles_over(self, domain: SmallDomain) -> None:
        features = x509.TLSFeature([x509.TLSFeatureType.status_request])
        good = domain.forged(extra=[(features, False)])
        assert read_certificate(good)
        with pytest.raises(Malformed):
            read_certificate(good.replace(features.public_bytes(), bytes.fromhex("3003020101")))

    @given(st.data())
    def test_no_mutation_escapes(self, domain: SmallDomain, data: st.DataObject) -> None:
        changed = bytearray(data.draw(st.sampled_from([domain.ca_der, with_many_extensions(domain)])))
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(changed) - 1))
            changed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        with suppress(PeerMisbehaved, NotTrusted):
            read_certificate(bytes(changed))

    def test_refuses_a_key_on_another_curve(self, domain: SmallDomain) -> None:
        refused(domain, Malformed, "P-256", key=ec.generate_private_key(ec.SECP384R1()).public_key())

    def test_refuses_an_rsa_key(self, domain: SmallDomain) -> None:
        refused(domain, Malformed, "P-256", key=rsa.generate_private_key(65537, 2048).public_key())

    def test_refuses_another_hash(self, domain: SmallDomain) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        refused(domain, Malformed, "ECDSA and SHA-256", signed_with=key, algorithm=hashes.SHA384())

    def test_refuses_another_signature_algorithm(self, domain: SmallDomain) -> None:
        with pytest.raises(Malformed, match="ECDSA and SHA-256"):
            read_certificate(ed25519_certificate())

    @pytest.mark.filterwarnings("ignore:Parsed a serial number")
    @pytest.mark.parametrize("serial", ["00", "ff", "00" + "80" + "00" * 19])
    def test_refuses_a_serial_number_out_of_range(self, domain: SmallDomain, serial: str) -> None:
        with pytest.raises(Malformed):
            read_certificate(with_serial(domain.forged(), bytes.fromhex(serial)))

    def test_refuses_version_1(self, domain: SmallDomain) -> None:
        with pytest.raises(Malformed, match="version 3"):
            read_certificate(version_1(domain.forged()))

    def test_refuses_an_unknown_critical_extension(self, domain: SmallDomain) -> None:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        refused(domain, NotTrusted, "not understood", extra=[(unknown, True)])

    def test_ignores_an_unknown_extension_that_is_not_critical(self, domain: SmallDomain) -> None:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        assert verify_chain([domain.forged(extra=[(unknown, False)])], domain.root, NOW)

    @pytest.mark.parametrize("critical", [True, False])
    def test_refuses_name_constraints(self, domain: SmallDomain, critical: bool) -> None:
        constraints = x509.NameConstraints([x509.DNSName("example")], None)
        refused(domain, NotTrusted, "extension|constraints", extra=[(constraints, critical)])


class TestPath:
    def test_refuses_an_empty_chain(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="1 to 3"):
            verify_chain([], domain.root, NOW)

    def test_refuses_more_than_three_certificates(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="1 to 3"):
            verify_chain([domain.ca_der] * 4, domain.root, NOW)

    def test_refuses_three_certificates_below_the_anchor(self, domain: SmallDomain) -> None:
        root, chain = with_intermediate(domain, anchor_pathlen=1)
        with pytest.raises(NotTrusted, match="longer than 3"):
            verify_chain([chain[0], *chain], root, NOW)

    def test_refuses_the_anchor_alone(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="nothing but"):
            verify_chain([domain.ca_der], domain.root, NOW)

    def test_refuses_an_unknown_authority(self, domain: SmallDomain) -> None:
        other = self_signed_ca(signer("other"), "building.example", now=NOW, days=9, random=seeded("other"))
        refused(domain, NotTrusted, "authority of this domain", issuer=signer("other"), issuer_der=other)

    def test_refuses_an_authority_presented_with_the_chain(self, domain: SmallDomain) -> None:
        other = self_signed_ca(signer("other"), "building.example", now=NOW, days=9, random=seeded("other"))
        with pytest.raises(NotTrusted, match="authority of this domain"):
            verify_chain([forge(issuer=signer("other"), issuer_der=other), other], domain.root, NOW)

    def test_refuses_a_signature_by_another_key(self, domain: SmallDomain) -> None:
        refused(domain, NotAuthentic, "signature", issuer=signer("other"))

    def test_refuses_differing_inner_and_outer_algorithms(self, domain: SmallDomain) -> None:
        # ecdsa-with-SHA384 inside the signed part only: the last byte of the first of two equal OIDs
        oid = bytes.fromhex("06082a8648ce3d0403")
        leaf = bytearray(domain.forged())
        leaf[leaf.index(oid) + len(oid)] = 3
        with pytest.raises((Malformed, NotAuthentic)):
            verify_chain([bytes(leaf)], domain.root, NOW)

    def test_refuses_another_issuer_name(self, domain: SmallDomain) -> None:
        other = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other")])
        refused(domain, NotTrusted, "another issuer", issuer_name=other)

    def test_refuses_a_missing_authority_key_identifier(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "lacks the extension authorityKeyIdentifier", authority=None)

    def test_refuses_an_authority_key_identifier_without_key(self, domain: SmallDomain) -> None:
        parent = x509.load_der_x509_certificate(domain.ca_der)
        by_name = x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(parent.subject)], 1)
        refused(domain, NotTrusted, "no key identifier", authority=by_name)

    def test_refuses_an_intermediate_where_the_anchor_allows_none(self, domain: SmallDomain) -> None:
        root, chain = with_intermediate(domain, anchor_pathlen=0)
        with pytest.raises(NotTrusted, match="longer than its authority allows"):
            verify_chain(chain, root, NOW)

    def test_refuses_another_key_identifier_within_the_chain(self, domain: SmallDomain) -> None:
        root, chain = with_intermediate(
            domain, anchor_pathlen=1, authority=x509.AuthorityKeyIdentifier(b"x", None, None)
        )
        with pytest.raises(NotTrusted, match="another issuer key"):
            verify_chain(chain, root, NOW)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"basic": None}, "no authority"),
            ({"basic": (False, None)}, "no authority"),
            ({"basic_critical": False}, "no authority"),
            ({"usage": None}, "lacks the extension keyUsage"),
            ({"usage": ("digital_signature",)}, "may not sign certificates"),
        ],
    )
    def test_refuses_an_issuer_that_is_no_authority(
        self, domain: SmallDomain, changes: dict[str, Any], reason: str
    ) -> None:
        root, chain = with_intermediate(domain, anchor_pathlen=1, middle=changes)
        with pytest.raises(NotTrusted, match=reason):
            verify_chain(chain, root, NOW)

    def test_refuses_an_endpoint_as_issuer(self, domain: SmallDomain) -> None:
        middle = domain.forged()
        leaf = forge(issuer=signer("forged"), issuer_der=middle)
        root = domain.root_with(issuing_cas=(anchor(1),))
        with pytest.raises(NotTrusted):
            verify_chain([leaf, middle], root, NOW)


class TestTime:
    def test_refuses_what_has_expired(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "expired", begins=NOW - DAY, ends=NOW - 1)

    def test_the_last_second_counts(self, domain: SmallDomain) -> None:
        assert verify_chain([domain.forged(ends=NOW)], domain.root, NOW).not_after == NOW

    def test_refuses_what_has_not_begun(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "not valid yet", begins=NOW + 1)

    def test_a_clock_floor_cannot_say_that_something_has_not_begun(self, domain: SmallDomain) -> None:
        leaf = domain.forged(begins=NOW + 1)
        assert verify_chain([leaf], domain.root, NOW - 10 * DAY, now_is_floor=True).not_before == NOW + 1

    def test_a_clock_floor_still_says_that_something_has_expired(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="expired"):
            verify_chain([domain.forged(ends=NOW)], domain.root, NOW + 1, now_is_floor=True)

    def test_refuses_an_authority_that_has_expired(self, domain: SmallDomain) -> None:
        root = domain.root_with(issuing_cas=(anchor(0, ends=NOW - 1),))
        with pytest.raises(NotTrusted, match="a certificate has expired"):
            verify_chain([forge(issuer=signer("anchor"), issuer_der=root.issuing_cas[0])], root, NOW)

    def test_refuses_a_root_document_that_has_expired(self, domain: SmallDomain) -> None:
        leaf = domain.forged(ends=NOW + 1000 * DAY)
        with pytest.raises(NotTrusted, match="root document has expired"):
            verify_chain([leaf], domain.root, NOW + 366 * DAY)


class TestEndpointProfile:
    @pytest.mark.parametrize("changes", [{"basic": None}, {"basic_critical": False}, {"basic": (True, None)}])
    def test_refuses_what_may_be_an_authority(self, domain: SmallDomain, changes: dict[str, Any]) -> None:
        refused(domain, NotTrusted, "no authority", **changes)

    @pytest.mark.parametrize(
        "usage", [(), ("key_agreement",), ("digital_signature", "key_agreement"), ("digital_signature", "crl_sign")]
    )
    def test_refuses_any_other_key_usage(self, domain: SmallDomain, usage: tuple[str, ...]) -> None:
        refused(domain, NotTrusted, "signatures only", usage=usage)

    def test_refuses_missing_key_usage(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "lacks the extension keyUsage", usage=None)

    @pytest.mark.parametrize(
        "purposes",
        [
            (ExtendedKeyUsageOID.SERVER_AUTH,),
            (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
            (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,),
        ],
    )
    def test_refuses_other_purposes_for_a_device(
        self, domain: SmallDomain, purposes: tuple[x509.ObjectIdentifier, ...]
    ) -> None:
        refused(domain, NotTrusted, "extended key usage", purposes=purposes)

    def test_refuses_a_hub_without_server_authentication(self, domain: SmallDomain) -> None:
        names = [URI("sealway://building.example/hub/h")]
        refused(domain, NotTrusted, "extended key usage", names=names)

    def test_refuses_missing_purposes(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "lacks the extension extendedKeyUsage", purposes=None)

    def test_refuses_missing_names(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "lacks the extension subjectAltName", names=None)

    def test_refuses_two_uris(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "exactly one URI", names=[GOOD_NAME, URI("https://example")])

    def test_refuses_no_uri(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "exactly one URI", names=[x509.DNSName("hub.example")])

    def test_refuses_a_uri_that_is_no_name(self, domain: SmallDomain) -> None:
        refused(domain, Malformed, "name", names=[URI("https://building.example/device/d")])

    @pytest.mark.parametrize("other", [x509.RFC822Name("a@example"), x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))])
    def test_refuses_names_of_another_kind(self, domain: SmallDomain, other: x509.GeneralName) -> None:
        refused(domain, NotTrusted, "unknown kind", names=[GOOD_NAME, other])

    def test_refuses_host_names_for_a_device(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "must not have DNS", names=[GOOD_NAME, x509.DNSName("d.example")])


class TestExpectations:
    def test_refuses_another_domain(self, domain: SmallDomain) -> None:
        refused(domain, NotTrusted, "another domain", names=[URI("sealway://other.example/device/d")])

    def test_refuses_another_name_than_was_asked_for(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="expected sealway"):
            verify_chain([domain.forged()], domain.root, NOW, expected_name=name("e"))

    def test_refuses_another_role_than_is_needed(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="role hub"):
            verify_chain([domain.forged()], domain.root, NOW, expected_role="hub")


class TestProof:
    def test_a_credential_cannot_be_made_up(self, domain: SmallDomain) -> None:
        real = verify_chain([domain.forged()], domain.root, NOW)
        with pytest.raises(LocalMisuse, match="verify_chain"):
            Credential(
                name=name("root"),
                chain=real.chain,
                key=real.key,
                x5t=real.x5t,
                not_before=0,
                not_after=NOW,
                proof=None,
            )

    def test_a_credential_cannot_be_altered(self, domain: SmallDomain) -> None:
        real = verify_chain([domain.forged()], domain.root, NOW)
        with pytest.raises((ValueError, TypeError)):
            replace(real, name=name("other"))  # type: ignore[call-arg]


def anchor(pathlen: int, **changes: Any) -> bytes:
    """A CA certificate of the key "anchor" that allows ``pathlen`` authorities below it."""
    own = self_signed_ca(signer("anchor"), "building.example", now=NOW, days=10, random=seeded("anchor"))
    authority: dict[str, Any] = AUTHORITY | {"basic": (True, pathlen), "key": signer("anchor").public.to_cryptography()}
    return forge(issuer=signer("anchor"), issuer_der=own, **(authority | changes))


def with_intermediate(
    domain: SmallDomain, *, anchor_pathlen: int, middle: dict[str, Any] | None = None, **leaf: Any
) -> tuple[Any, list[bytes]]:
    """A root whose anchor issued an intermediate authority, and a chain below that."""
    top = anchor(anchor_pathlen)
    below = forge(issuer=signer("anchor"), issuer_der=top, **(AUTHORITY | (middle or {})))
    chain = [forge(issuer=signer("forged"), issuer_der=below, **leaf), below]
    return domain.root_with(issuing_cas=(top,)), chain
