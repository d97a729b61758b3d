# SPDX-License-Identifier: Apache-2.0
"""Birth certificates and manifests: each way in which they are refused, and that OpenSSL agrees about a good one."""

from __future__ import annotations

import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotTrusted, SealwayError, TooLarge
from sealway.identity.birth import (
    MUD_URL_OID,
    Birth,
    Manufacturer,
    ProvenManifest,
    demand_listed,
    ia5,
    trust_manufacturer,
    verify_idevid,
    verify_manifest,
)
from sealway.identity.certificates import MAX_CERTIFICATE_BYTES
from sealway.identity.manufacturing import issue_idevid, issuing_authority, manufacturer_root, sign_manifest
from sealway.wire.cose import TYP_MANIFEST, X5chain, sign1_to_be_signed
from sealway.wire.cose import Sign1 as Document
from sealway.wire.manifest import MadeDevice
from tests.factory.small_factory import MUD_URL, SmallFactory
from tests.identity.small_domain import DAY, NOW, forge, seeded, signer

ACME = SmallFactory()
OTHER = SmallFactory("Other Things")
CENTURIES = 7000 * 365 * DAY
CHAIN = ACME.chain("SW-1")
AUTHORITY: dict[str, Any] = {"purposes": None, "names": None, "ends": NOW + CENTURIES}


def serial_name(*serials: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial) for serial in serials])


def device(monkeypatch: pytest.MonkeyPatch, *serials: str, **changes: Any) -> bytes:
    """A birth certificate with these serial numbers and changes, signed by the issuing authority."""
    names = serial_name(*(serials or ("SW-1",)))
    monkeypatch.setattr("tests.identity.small_domain.x509.Name", lambda _: names)
    return forge(issuer=ACME.issuing, issuer_der=ACME.issuing_der, **({"purposes": None, "names": None} | changes))


def test_a_device_is_who_it_was_born_as() -> None:
    for chain in (CHAIN, (*CHAIN, ACME.root_der)):
        birth = verify_idevid(chain, [OTHER.manufacturer, ACME.manufacturer], NOW, expected_serial="SW-1")
        assert (birth.serial, birth.mud_url, birth.key) == ("SW-1", MUD_URL, ACME.key("SW-1").public)
        assert (birth.manufacturer.name, birth.x5t, birth.chain) == ("Acme Meters", sha256(chain[0]).digest(), chain)
    assert verify_idevid(ACME.chain("SW-1", mud_url=None), [ACME.manufacturer], NOW).mud_url is None


def test_a_birth_certificate_has_no_end() -> None:
    parsed = x509.load_der_x509_certificate(CHAIN[0])
    assert f"{parsed.not_valid_after_utc:%Y%m%d%H%M%SZ}" == "99991231235959Z"  # IEEE 802.1AR §8.2
    assert verify_idevid(CHAIN, [ACME.manufacturer], NOW + CENTURIES).serial == "SW-1"
    with pytest.raises(NotTrusted, match="not valid yet"):
        verify_idevid(CHAIN, [ACME.manufacturer], NOW - DAY)
    assert verify_idevid(CHAIN, [ACME.manufacturer], NOW - DAY, now_is_floor=True).serial == "SW-1"


def test_nothing_unknown_in_a_birth_certificate_is_critical() -> None:
    parsed = x509.load_der_x509_certificate(CHAIN[0])
    critical = {extension.oid for extension in parsed.extensions if extension.critical}
    assert critical == {x509.BasicConstraints.oid, x509.KeyUsage.oid}
    mud = parsed.extensions.get_extension_for_oid(MUD_URL_OID)
    assert not mud.critical and MUD_URL_OID.dotted_string == "1.3.6.1.5.5.7.1.25"  # RFC 8520 §11


def test_openssl_agrees(tmp_path: Path) -> None:
    for name, der in (("root", ACME.root_der), ("issuing", ACME.issuing_der), ("device", CHAIN[0])):
        pem = x509.load_der_x509_certificate(der).public_bytes(encoding=_pem())
        (tmp_path / name).write_bytes(pem)
    command = ["openssl", "verify", "-x509_strict", "-attime", str(NOW), "-CAfile", "root", "-untrusted", "issuing"]
    finished = subprocess.run([*command, "device"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.stdout == "device: OK\n", finished.stderr
    shown = subprocess.run(
        ["openssl", "x509", "-in", "device", "-noout", "-subject", "-enddate", "-nameopt", "RFC2253,show_type"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "serialNumber=PRINTABLESTRING:SW-1" in shown and "Dec 31 23:59:59 9999 GMT" in shown


def _pem() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.PEM


def refused(chain: tuple[bytes, ...], error: type[SealwayError], match: str, **options: Any) -> None:
    with pytest.raises(error, match=match):
        verify_idevid(chain, [ACME.manufacturer], NOW, **options)


def test_another_manufacturers_device_is_refused() -> None:
    refused(OTHER.chain("SW-1"), NotTrusted, "does not trust")
    with pytest.raises(NotTrusted, match="does not trust"):
        verify_idevid(CHAIN, [], NOW)


def test_a_device_that_another_manufacturer_passes_off_as_ours_is_refused() -> None:
    forged = issuing_authority(OTHER.issuing.public, OTHER.root_der, OTHER.root, now=NOW, random=seeded("x"))
    refused((CHAIN[0], forged), NotTrusted, "does not trust")
    leaf = forge(issuer=OTHER.issuing, issuer_der=ACME.issuing_der, purposes=None, names=None)
    refused((leaf, ACME.issuing_der), NotAuthentic, "signature")


@pytest.mark.parametrize("name", ["Acme Meters", "Other Things"])
def test_a_root_with_a_copied_key_identifier_does_not_stand_in_the_way(name: str) -> None:
    impostor = trust_manufacturer(ACME.impostor(name))
    for trusted in ([impostor, ACME.manufacturer], [ACME.manufacturer, impostor]):
        assert verify_idevid(CHAIN, trusted, NOW).manufacturer == ACME.manufacturer
    with pytest.raises(NotAuthentic if name == "Acme Meters" else NotTrusted, match=r"signature|does not trust"):
        verify_idevid(CHAIN, [impostor], NOW)


@pytest.mark.parametrize(
    "extension",
    [
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
        x509.SubjectAlternativeName([x509.DNSName("a.example")]),
    ],
    ids=["purposes", "names"],
)
def test_what_is_not_acted_on_may_stand_in_a_birth_chain_and_not_be_critical(
    monkeypatch: pytest.MonkeyPatch, extension: x509.ExtensionType
) -> None:
    for critical in (False, True):
        leaf = device(monkeypatch, extra=[(extension, critical)])
        monkeypatch.undo()
        middle = forge(
            issuer=ACME.root, issuer_der=ACME.root_der, key=ACME.issuing.public.to_cryptography(), basic=(True, 0),
            usage=("key_cert_sign",), extra=[(extension, critical)], **AUTHORITY,
        )  # fmt: skip
        below = forge(issuer=ACME.issuing, issuer_der=middle, purposes=None, names=None)
        if critical:
            refused((leaf, ACME.issuing_der), NotTrusted, "not acted on")
            refused((below, middle), NotTrusted, "not acted on")
        else:
            assert verify_idevid((leaf, ACME.issuing_der), [ACME.manufacturer], NOW).serial == "SW-1"


def test_another_device_than_the_label_says_is_refused() -> None:
    refused(CHAIN, NotTrusted, "expected the device SW-2", expected_serial="SW-2")


def test_chains_that_are_none() -> None:
    refused((), NotTrusted, "1 to 3")
    refused((CHAIN[0],) * 4, NotTrusted, "1 to 3")
    refused((ACME.root_der,), NotTrusted, "nothing but")
    refused((CHAIN[0],), NotTrusted, "does not trust")
    refused((CHAIN[0], CHAIN[0], CHAIN[1]), NotTrusted, "longer than 3")
    refused((b"x", CHAIN[1]), Malformed, "cannot be read")
    refused((bytes(MAX_CERTIFICATE_BYTES + 1), CHAIN[1]), TooLarge, "larger")


def test_an_authority_is_no_device() -> None:
    refused((ACME.issuing_der,), NotTrusted, "that of an authority")
    refused((CHAIN[0], CHAIN[0]), NotTrusted, "does not trust")


def test_a_device_certifies_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    middle = device(
        monkeypatch, basic=(False, None), usage=("digital_signature",), key=signer("evil").public.to_cryptography()
    )
    monkeypatch.undo()
    leaf = forge(issuer=signer("evil"), issuer_der=middle, purposes=None, names=None)
    root = SmallFactory()
    below = forge(issuer=root.root, issuer_der=root.root_der, key=signer("evil").public.to_cryptography(), **AUTHORITY)
    refused((leaf, below), NotTrusted, "another issuer|no authority")


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"usage": None}, NotTrusted, "lacks the extension"),
        ({"usage": ("key_agreement",)}, NotTrusted, "must be for signatures"),
        ({"usage": ("digital_signature", "key_cert_sign")}, NotTrusted, "must be for signatures"),
        ({"usage": ("digital_signature", "crl_sign")}, NotTrusted, "must be for signatures"),
        ({"basic": (True, 0)}, NotTrusted, "that of an authority"),
        ({"ends": NOW - 1}, NotTrusted, "expired"),
        (
            {"extra": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0"), True)]},
            NotTrusted,
            "critical",
        ),
        ({"extra": [(x509.UnrecognizedExtension(MUD_URL_OID, ia5(MUD_URL)), True)]}, NotTrusted, "critical"),
        ({"extra": [(x509.UnrecognizedExtension(MUD_URL_OID, b"\x0c\x08https://"), False)]}, Malformed, "IA5String"),
        ({"extra": [(x509.UnrecognizedExtension(MUD_URL_OID, b""), False)]}, Malformed, "IA5String"),
        ({"extra": [(x509.UnrecognizedExtension(MUD_URL_OID, ia5(MUD_URL) + b"x"), False)]}, Malformed, "IA5String"),
        (
            {"extra": [(x509.UnrecognizedExtension(MUD_URL_OID, b"\x16\x09https://\xe4"), False)]},
            Malformed,
            "IA5String",
        ),
        (
            {"extra": [(x509.UnrecognizedExtension(MUD_URL_OID, b"\x16\x82\x01\x00" + b"h" * 256), False)]},
            Malformed,
            "IA5",
        ),
        ({"extra": [(x509.UnrecognizedExtension(MUD_URL_OID, ia5("http://a.example/")), False)]}, Malformed, "MUD URL"),
    ],
    ids=str,
)
def test_what_is_no_birth_certificate(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], error: type[SealwayError], match: str
) -> None:
    good = device(monkeypatch)
    assert verify_idevid((good, ACME.issuing_der), [ACME.manufacturer], NOW).serial == "SW-1"
    refused((device(monkeypatch, **changes), ACME.issuing_der), error, match)


def test_a_device_may_leave_out_basic_constraints_and_have_a_long_mud_url(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "https://a.example/" + "x" * 200
    extra = [(x509.UnrecognizedExtension(MUD_URL_OID, ia5(long)), False)]
    birth = verify_idevid((device(monkeypatch, basic=None, extra=extra), ACME.issuing_der), [ACME.manufacturer], NOW)
    assert birth.mud_url == long


@pytest.mark.parametrize("serials", [("A", "B"), ("sw-1",), ("A B",), ("A" * 33,)])
def test_exactly_one_serial_number_as_labels_have_it(monkeypatch: pytest.MonkeyPatch, serials: tuple[str, ...]) -> None:
    refused((device(monkeypatch, *serials), ACME.issuing_der), SealwayError, "serial number")


def test_a_birth_certificate_without_a_serial_number(monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = forge(issuer=ACME.issuing, issuer_der=ACME.issuing_der, purposes=None, names=None)
    refused((leaf, ACME.issuing_der), NotTrusted, "exactly one serial number")


def test_what_is_issued_is_checked() -> None:
    options: dict[str, Any] = {"now": NOW, "random": seeded("x")}
    key, chain = signer("d").public, (ACME.issuing_der, ACME.root_der)
    with pytest.raises(Malformed, match="serial number"):
        issue_idevid(key, "sw", ca_chain=chain, ca_signer=ACME.issuing, mud_url=None, **options)
    with pytest.raises(Malformed, match="MUD URL"):
        issue_idevid(key, "SW", ca_chain=chain, ca_signer=ACME.issuing, mud_url="http://x", **options)
    with pytest.raises(LocalMisuse, match="not that of the authority"):
        issue_idevid(key, "SW", ca_chain=chain, ca_signer=ACME.root, mud_url=None, **options)
    with pytest.raises(Malformed, match="manufacturer"):
        manufacturer_root(ACME.root, "", **options)
    with pytest.raises(LocalMisuse, match="longer"):
        ia5("x" * 256)


# trust ---------------------------------------------------------------------------------------------------------------
def test_a_manufacturer_is_trusted_by_its_fingerprint() -> None:
    trusted = trust_manufacturer(ACME.root_der, fingerprint=sha256(ACME.root_der).digest())
    assert (trusted.name, trusted.fingerprint) == ("Acme Meters", sha256(ACME.root_der).digest())
    with pytest.raises(NotTrusted, match="not the one expected"):
        trust_manufacturer(ACME.root_der, fingerprint=bytes(32))


def test_what_is_no_manufacturers_root() -> None:
    with pytest.raises(NotTrusted, match="another issuer"):
        trust_manufacturer(ACME.issuing_der)
    with pytest.raises(NotTrusted, match="no authority"):
        trust_manufacturer(CHAIN[0])
    from sealway.identity.issuing import self_signed_ca

    with pytest.raises(NotTrusted, match="exactly one organization"):
        trust_manufacturer(self_signed_ca(signer("ca"), "building.example", now=NOW, days=9, random=seeded("x")))


@pytest.mark.parametrize("kind", [Manufacturer, Birth, ProvenManifest])
def test_proven_values_come_from_their_proof_only(kind: Any) -> None:
    fields = dict.fromkeys((name for name in kind.__slots__), None)
    with pytest.raises(LocalMisuse, match="can only come from"):
        kind(**fields, proof=None)


# manifests -----------------------------------------------------------------------------------------------------------
def listed(serial: str, factory: SmallFactory = ACME) -> MadeDevice:
    return MadeDevice(serial, sha256(factory.chain(serial)[0]).digest())


def test_a_manifest_lists_what_was_made() -> None:
    encoded = ACME.manifest(listed("SW-1"), listed("SW-2"))
    manifest = verify_manifest(encoded, [OTHER.manufacturer, ACME.manufacturer], NOW)
    assert manifest.hash == sha256(encoded).digest() and manifest.manufacturer == ACME.manufacturer
    birth = verify_idevid(CHAIN, [ACME.manufacturer], NOW)
    theirs = verify_manifest(OTHER.manifest(listed("SW-1")), [OTHER.manufacturer], NOW)
    assert demand_listed(birth, [theirs, manifest]) is manifest


def test_a_device_that_is_not_listed_is_refused() -> None:
    birth = verify_idevid(CHAIN, [ACME.manufacturer], NOW)
    others = verify_manifest(ACME.manifest(listed("SW-2"), MadeDevice("SW-3", birth.x5t)), [ACME.manufacturer], NOW)
    clone = verify_manifest(ACME.manifest(MadeDevice("SW-1", bytes(32))), [ACME.manufacturer], NOW)
    theirs = verify_manifest(OTHER.manifest(listed("SW-1")), [OTHER.manufacturer], NOW)
    for manifests in ([], [others], [clone], [theirs], [others, clone, theirs]):
        with pytest.raises(NotTrusted, match="does not list the device SW-1"):
            demand_listed(birth, manifests)


def manifest_refused(encoded: bytes, error: type[SealwayError], match: str) -> None:
    with pytest.raises(error, match=match):
        verify_manifest(encoded, [ACME.manufacturer], NOW)


def test_another_manufacturers_manifest_is_refused() -> None:
    manifest_refused(OTHER.manifest(), NotTrusted, "does not trust")
    manifest_refused(ACME.manifest(manufacturer="Other Things"), NotTrusted, "in the name of another")


def test_a_manifest_from_the_future_is_refused() -> None:
    assert verify_manifest(ACME.manifest(issued=NOW + 300), [ACME.manufacturer], NOW).claims.issued == NOW + 300
    manifest_refused(ACME.manifest(issued=NOW + 301), NotTrusted, "future")


def test_a_manifest_that_was_changed_is_refused() -> None:
    encoded = ACME.manifest()
    manifest_refused(encoded[:-1] + bytes([encoded[-1] ^ 1]), NotAuthentic, "signature")
    manifest_refused(encoded.replace(b"SW-1", b"SW-2"), NotAuthentic, "signature")
    manifest_refused(b"", Malformed, "tag 18")


def signed_by(key: Any, *chain: bytes) -> bytes:
    payload, ref = ACME.claims().encode(), X5chain(chain)
    signature = key.sign(sign1_to_be_signed(TYP_MANIFEST, ref, payload))
    return Document(TYP_MANIFEST, ref, payload, signature).encode()


def test_no_device_signs_a_manifest() -> None:
    manifest_refused(signed_by(ACME.key("SW-1"), *CHAIN), NotTrusted, "no authority")


def test_an_authority_that_may_not_sign_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    key = signer("plain authority")
    der = forge(
        issuer=ACME.root, issuer_der=ACME.root_der, key=key.public.to_cryptography(), basic=(True, 0),
        usage=("key_cert_sign",), **AUTHORITY,
    )  # fmt: skip
    manifest_refused(signed_by(key, der), NotTrusted, "may not sign documents")


def test_a_manifest_is_signed_with_the_issuing_key_only() -> None:
    with pytest.raises(LocalMisuse, match="not that of the authority"):
        sign_manifest(ACME.claims(), ACME.issuing_der, ACME.root)
