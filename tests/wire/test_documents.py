# SPDX-License-Identifier: Apache-2.0
"""Bundles, grants, consents, root documents, bodies of the hop protocol: what they refuse, one rule at a time."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor, cose
from sealway.wire.address import MailboxAddress
from sealway.wire.bundle import BundleClaims, Offer, OneTimeKey, Publication, SignedBundle
from sealway.wire.carriage import Acknowledgement, CertChain, Collected, CollectRequest, Deposits, Handed, Verdicts
from sealway.wire.consent import ConsentClaims, SignedConsent
from sealway.wire.envelope import MAX_ENVELOPE_BYTES
from sealway.wire.grant import GrantClaims, Scope, SignedGrant, every_device
from sealway.wire.manifest import MadeDevice, ManifestClaims, SignedManifest
from sealway.wire.root_document import Authority, RootClaims, SignedRoot
from tests.wire.wire_samples import (
    BEGIN,
    BOX,
    BUNDLE,
    BUNDLE_CLAIMS,
    CONSENT,
    CONSENT_CLAIMS,
    END,
    GATEWAY,
    GRANT,
    GRANT_CLAIMS,
    KID,
    MANIFEST_CLAIMS,
    METER,
    OFFICE,
    ROOT,
    ROOT_CLAIMS,
    SIGNATURE,
    X5T,
    filled,
)

KEY = filled(32)
POINT = b"\x02" + KEY
LATE = 253_402_300_800

WRONG_FIELDS: list[tuple[Any, dict[str, Any]]] = [
    (BUNDLE_CLAIMS, {"bundle_id": bytes(3)}),
    (BUNDLE_CLAIMS, {"bundle_id": bytes(9)}),
    (BUNDLE_CLAIMS, {"name": str(METER)}),
    (BUNDLE_CLAIMS, {"name": OFFICE}),
    (BUNDLE_CLAIMS, {"mailbox": MailboxAddress("https://hub.example", OFFICE.mailbox)}),
    (BUNDLE_CLAIMS, {"mailbox": str(BUNDLE_CLAIMS.mailbox)}),
    (BUNDLE_CLAIMS, {"sequence": 0}),
    (BUNDLE_CLAIMS, {"suites": ()}),
    (BUNDLE_CLAIMS, {"suites": (0,)}),
    (BUNDLE_CLAIMS, {"suites": (24,)}),
    (BUNDLE_CLAIMS, {"suites": (2, 1)}),
    (BUNDLE_CLAIMS, {"suites": (1, 1)}),
    (BUNDLE_CLAIMS, {"suites": ([1],)}),
    (BUNDLE_CLAIMS, {"agreement_key": bytes(33)}),
    (BUNDLE_CLAIMS, {"signed_prekey": bytes(31)}),
    (BUNDLE_CLAIMS, {"ml_kem": bytes(1183)}),
    (BUNDLE_CLAIMS, {"one_time_root": None}),
    (BUNDLE_CLAIMS, {"one_time_count": None}),
    (BUNDLE_CLAIMS, {"one_time_count": 0}),
    (BUNDLE_CLAIMS, {"one_time_count": 65}),
    (BUNDLE_CLAIMS, {"one_time_root": bytes(31)}),
    (BUNDLE_CLAIMS, {"expires": BEGIN}),
    (BUNDLE_CLAIMS, {"expires": LATE}),
    (BUNDLE_CLAIMS, {"issued": -1}),
    (GRANT_CLAIMS, {"issuer": "Building"}),
    (GRANT_CLAIMS, {"holder": str(OFFICE)}),
    (GRANT_CLAIMS, {"audience": ()}),
    (GRANT_CLAIMS, {"audience": (str(METER), str(METER))}),
    (GRANT_CLAIMS, {"audience": (str(OFFICE),)}),
    (GRANT_CLAIMS, {"audience": ("sealway://building.example/application/*",)}),
    (GRANT_CLAIMS, {"audience": ("sealway://*/device/*",)}),
    (GRANT_CLAIMS, {"audience": (METER,)}),
    (GRANT_CLAIMS, {"audience": tuple(f"sealway://a/device/{n}" for n in range(17))}),
    (GRANT_CLAIMS, {"expires": BEGIN}),
    (GRANT_CLAIMS, {"issued": LATE}),
    (GRANT_CLAIMS, {"grant_id": bytes(15)}),
    (GRANT_CLAIMS, {"holder_x": bytes(31)}),
    (GRANT_CLAIMS, {"holder_y": bytes(33)}),
    (GRANT_CLAIMS, {"scopes": ()}),
    (GRANT_CLAIMS, {"scopes": ("valve:write",)}),
    (GRANT_CLAIMS, {"scopes": (Scope("a", "b"), Scope("a", "b"))}),
    (MANIFEST_CLAIMS, {"manufacturer": ""}),
    (MANIFEST_CLAIMS, {"manufacturer": " Acme"}),
    (MANIFEST_CLAIMS, {"manufacturer": "Acme\n"}),
    (MANIFEST_CLAIMS, {"manufacturer": "ä" * 33}),
    (MANIFEST_CLAIMS, {"manufacturer": b"Acme"}),
    (MANIFEST_CLAIMS, {"model": "x" * 65}),
    (MANIFEST_CLAIMS, {"number": 0}),
    (MANIFEST_CLAIMS, {"number": 1}),
    (MANIFEST_CLAIMS, {"previous": None}),
    (MANIFEST_CLAIMS, {"previous": bytes(31)}),
    (MANIFEST_CLAIMS, {"mud_url": "http://acme.example/"}),
    (MANIFEST_CLAIMS, {"mud_url": "https://" + "a" * 248}),
    (MANIFEST_CLAIMS, {"mud_url": "https://acme.example/ä"}),
    (MANIFEST_CLAIMS, {"issued": LATE}),
    (MANIFEST_CLAIMS, {"devices": ()}),
    (MANIFEST_CLAIMS, {"devices": [MadeDevice("A", KEY)]}),
    (MANIFEST_CLAIMS, {"devices": (("A", KEY),)}),
    (MANIFEST_CLAIMS, {"devices": (MadeDevice("A", KEY), MadeDevice("A", bytes(32)))}),
    (MANIFEST_CLAIMS, {"devices": (MadeDevice("B", KEY), MadeDevice("A", KEY))}),
    (MANIFEST_CLAIMS, {"devices": tuple(MadeDevice(f"{n:03}", KEY) for n in range(257))}),
    (MadeDevice("A", KEY), {"serial": "a"}),
    (MadeDevice("A", KEY), {"serial": "A-"}),
    (MadeDevice("A", KEY), {"serial": 1}),
    (MadeDevice("A", KEY), {"x5t": bytes(33)}),
    (CONSENT_CLAIMS, {"device": GATEWAY}),
    (CONSENT_CLAIMS, {"gateway": METER}),
    (CONSENT_CLAIMS, {"gateway": str(GATEWAY)}),
    (CONSENT_CLAIMS, {"mailbox": OFFICE.mailbox}),
    (CONSENT_CLAIMS, {"expires": BEGIN - 1}),
    (ROOT_CLAIMS, {"domain": ""}),
    (ROOT_CLAIMS, {"domain_id": bytes(15)}),
    (ROOT_CLAIMS, {"number": 0}),
    (ROOT_CLAIMS, {"expires": BEGIN}),
    (ROOT_CLAIMS, {"owner_keys": ()}),
    (ROOT_CLAIMS, {"owner_keys": (POINT, POINT)}),
    (ROOT_CLAIMS, {"owner_keys": (b"\x04" + KEY,), "threshold": 1}),
    (ROOT_CLAIMS, {"owner_keys": (KEY,), "threshold": 1}),
    (ROOT_CLAIMS, {"threshold": 0}),
    (ROOT_CLAIMS, {"threshold": 3}),
    (ROOT_CLAIMS, {"issuing_cas": ()}),
    (ROOT_CLAIMS, {"issuing_cas": (b"",)}),
    (ROOT_CLAIMS, {"issuing_cas": (b"a", b"a")}),
    (ROOT_CLAIMS, {"issuing_cas": (bytes(4097),)}),
    (ROOT_CLAIMS, {"grant_keys": (Authority(POINT, END), Authority(POINT, END + 1))}),
    (ROOT_CLAIMS, {"grant_keys": (POINT,)}),
    (ROOT_CLAIMS, {"status_keys": None}),
]


@pytest.mark.parametrize(("sample", "wrong"), WRONG_FIELDS, ids=[str(list(w)) for _, w in WRONG_FIELDS])
def test_wrong_fields_are_malformed(sample: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        replace(sample, **wrong)


# Changes of the encoded map: {label: value}, and None to leave the label out.
WRONG_MAPS: list[tuple[Any, dict[int, Any]]] = [
    (BUNDLE_CLAIMS, {1: 2}),
    (BUNDLE_CLAIMS, {1: True}),
    (BUNDLE_CLAIMS, {14: 0}),
    (BUNDLE_CLAIMS, {2: ...}),
    (BUNDLE_CLAIMS, {3: 7}),
    (BUNDLE_CLAIMS, {4: None}),
    (BUNDLE_CLAIMS, {6: 1}),
    (BUNDLE_CLAIMS, {9: None}),
    (BUNDLE_CLAIMS, {10: None, 11: None}),
    (BUNDLE_CLAIMS, {10: ...}),
    (GRANT_CLAIMS, {3: str(METER)}),
    (GRANT_CLAIMS, {7: ...}),
    (GRANT_CLAIMS, {40: 1}),
    (GRANT_CLAIMS, {8: {}}),
    (GRANT_CLAIMS, {8: {3: b"kid"}}),
    (GRANT_CLAIMS, {8: {1: {1: 1, -1: 1, -2: KEY, -3: KEY}}}),
    (GRANT_CLAIMS, {8: {1: {1: 2, -1: 2, -2: KEY, -3: KEY}}}),
    (GRANT_CLAIMS, {8: {1: {1: 2, -1: 1, -2: KEY, -3: True}}}),
    (GRANT_CLAIMS, {8: {1: {1: 2, -1: 1, -2: KEY, -3: KEY, -4: KEY}}}),
    (GRANT_CLAIMS, {9: [["valve", "write"]]}),
    (GRANT_CLAIMS, {9: b""}),
    (GRANT_CLAIMS, {9: cbor.encode([])}),
    (GRANT_CLAIMS, {9: cbor.encode([["valve"]])}),
    (GRANT_CLAIMS, {9: cbor.encode([["valve", 2]])}),
    (GRANT_CLAIMS, {9: cbor.encode([["valve", "write"]]) + b"\x00"}),
    (MANIFEST_CLAIMS, {1: 2}),
    (MANIFEST_CLAIMS, {4: None}),
    (MANIFEST_CLAIMS, {6: None}),
    (MANIFEST_CLAIMS, {7: ...}),
    (MANIFEST_CLAIMS, {8: []}),
    (MANIFEST_CLAIMS, {8: [["A"]]}),
    (MANIFEST_CLAIMS, {8: {"A": KEY}}),
    (MANIFEST_CLAIMS, {9: 0}),
    (CONSENT_CLAIMS, {6: 0}),
    (CONSENT_CLAIMS, {5: ...}),
    (ROOT_CLAIMS, {1: 0}),
    (ROOT_CLAIMS, {12: ...}),
    (ROOT_CLAIMS, {12: None}),
    (ROOT_CLAIMS, {13: []}),
    (ROOT_CLAIMS, {10: [[POINT]]}),
    (ROOT_CLAIMS, {10: [[POINT, LATE]]}),
    (ROOT_CLAIMS, {10: [POINT]}),
    (ROOT_CLAIMS, {7: POINT}),
]


@pytest.mark.parametrize(("sample", "wrong"), WRONG_MAPS, ids=[str(w)[:40] for _, w in WRONG_MAPS])
def test_wrong_maps_are_malformed(sample: Any, wrong: dict[int, Any]) -> None:
    encoded = cbor.decode(sample.encode(), limit=10_000) | wrong
    with pytest.raises(Malformed):
        type(sample).decode(cbor.encode({label: value for label, value in encoded.items() if value is not ...}))


@pytest.mark.parametrize("kind", [BundleClaims, GrantClaims, ConsentClaims, RootClaims, ManifestClaims])
def test_claims_are_a_map(kind: Any) -> None:
    with pytest.raises(Malformed):
        kind.decode(b"\x80")


def test_hashes_are_over_the_whole_encoded_document() -> None:
    assert BUNDLE.hash == hashlib.sha256(BUNDLE.encode()).digest()
    assert ROOT.hash == hashlib.sha256(ROOT.encode()).digest()


SIGNED: list[tuple[Any, Any, str]] = [
    (SignedBundle, BUNDLE_CLAIMS, cose.TYP_BUNDLE),
    (SignedGrant, GRANT_CLAIMS, cose.TYP_GRANT),
    (SignedConsent, CONSENT_CLAIMS, cose.TYP_CONSENT),
]
RIGHT_KEY: dict[Any, cose.KeyRef] = {SignedBundle: X5T, SignedGrant: KID, SignedConsent: X5T}
WRONG_KEYS: dict[Any, list[cose.KeyRef]] = {
    SignedBundle: [KID],
    SignedGrant: [X5T, cose.X5chain((b"leaf",))],
    SignedConsent: [KID, cose.X5chain((b"leaf",))],
}


@pytest.mark.parametrize(("kind", "claims", "typ"), SIGNED)
def test_a_signed_document_is_of_its_type_and_signed_by_the_right_kind_of_key(kind: Any, claims: Any, typ: str) -> None:
    payload, key_ref = claims.encode(), RIGHT_KEY[kind]
    other_type = next(other for other in cose.TYPES if other != typ)
    for wrong in WRONG_KEYS[kind]:
        sign1 = cose.Sign1(typ, wrong, payload, SIGNATURE)
        with pytest.raises(Malformed):
            kind.decode(sign1.encode())
    sign1 = cose.Sign1(other_type, key_ref, payload, SIGNATURE)
    with pytest.raises(Malformed, match="type"):
        kind.decode(sign1.encode())
    with pytest.raises(Malformed, match="type"):
        kind(sign1, claims)
    with pytest.raises(Malformed, match="differ"):
        kind(cose.Sign1(typ, key_ref, payload, SIGNATURE), replace(claims, expires=claims.expires + 1))


def test_a_manifest_is_of_its_type_and_carries_its_signers_certificate() -> None:
    payload, chain = MANIFEST_CLAIMS.encode(), cose.X5chain((b"issuing",))
    for wrong in (KID, X5T):
        with pytest.raises(Malformed, match="x5chain"):
            SignedManifest.decode(cose.Sign1(cose.TYP_MANIFEST, wrong, payload, SIGNATURE).encode())
    other = cose.Sign1(cose.TYP_BUNDLE, chain, payload, SIGNATURE)
    with pytest.raises(Malformed, match="type"):
        SignedManifest.decode(other.encode())
    with pytest.raises(Malformed, match="type"):
        SignedManifest(other, MANIFEST_CLAIMS)
    with pytest.raises(Malformed, match="differ"):
        SignedManifest(cose.Sign1(cose.TYP_MANIFEST, chain, payload, SIGNATURE), replace(MANIFEST_CLAIMS, number=3))


def test_a_root_document_is_of_its_type() -> None:
    other = cose.Sign(cose.TYP_GRANT, ROOT_CLAIMS.encode(), ROOT.sign.signatures)
    with pytest.raises(Malformed, match="type"):
        SignedRoot.decode(other.encode())
    with pytest.raises(Malformed, match="type"):
        SignedRoot(other, ROOT_CLAIMS)
    with pytest.raises(Malformed, match="differ"):
        SignedRoot(ROOT.sign, replace(ROOT_CLAIMS, number=9))


def test_a_grant_fits_the_option_in_which_it_travels() -> None:
    many = replace(GRANT_CLAIMS, scopes=tuple(Scope(f"{n:063}", "write") for n in range(20)))
    sign1 = cose.Sign1(cose.TYP_GRANT, KID, many.encode(), SIGNATURE)
    with pytest.raises(Malformed, match="1024"):
        SignedGrant(sign1, many)
    with pytest.raises(TooLarge):
        SignedGrant.decode(sign1.encode())


@pytest.mark.parametrize("encoded", [GRANT.encode() + bytes(1024), CONSENT.encode() + bytes(1024)])
def test_small_documents_have_small_limits(encoded: bytes) -> None:
    for kind in (SignedGrant, SignedConsent):
        with pytest.raises(TooLarge):
            kind.decode(encoded)


def test_scopes_as_text() -> None:
    assert str(Scope.parse("valve:write")) == "valve:write"
    assert Scope.parse("rooms/1.a:read") == Scope("rooms/1.a", "read")
    for text in ("", "valve", ":write", "valve:", "Valve:write", "valve:write:now", "va lve:write", "*:*", "a" * 129):
        with pytest.raises(Malformed):
            Scope.parse(text)


def test_every_device_of_a_domain() -> None:
    assert every_device("building.example") == "sealway://building.example/device/*"
    with pytest.raises(Malformed):
        every_device("*")


def test_the_hop_protocol_is_bounded() -> None:
    big = bytes(MAX_ENVELOPE_BYTES + 1)
    for wrong in (
        lambda: Deposits(()),
        lambda: Deposits(((BOX, b""),)),
        lambda: Deposits(((BOX, big),)),
        lambda: Deposits((("nobody", b"e"),)),
        lambda: Deposits(((BOX, b"e"),) * 101),
        lambda: Deposits(((BOX, b"e", 1),)),  # type: ignore[arg-type]
        lambda: Verdicts(((99, ""),)),
        lambda: Verdicts(((600, ""),)),
        lambda: Verdicts(((200, "x" * 257),)),
        lambda: Handed(((-1, True, b"e"),)),
        lambda: Handed(((0, 1, b"e"),)),  # type: ignore[arg-type]
        lambda: Handed(((0, True, b""),)),
        lambda: Collected(((BOX, -1, b"e"),)),
        lambda: Collected(((BOX, 1 << 63, b"e"),)),
        lambda: Collected(((BOX, 0, b"e"),) * 101),
        lambda: Acknowledgement(()),
        lambda: Acknowledgement(((BOX, ()),)),
        lambda: Acknowledgement(((BOX, (1, 1)),)),
        lambda: Acknowledgement(((BOX, (1,)), (BOX, (2,)))),
        lambda: Acknowledgement(((BOX, tuple(range(1001))),)),
        lambda: Acknowledgement(tuple((BOX[:-2] + end + "2", tuple(range(1000))) for end in "abcdefghijk")),
        lambda: CollectRequest((), 0),
        lambda: CollectRequest((BOX, BOX), 0),
        lambda: CollectRequest((BOX,), 61),
        lambda: CollectRequest((BOX,), 0, 0),
        lambda: CollectRequest((BOX,), 0, 101),
        lambda: CertChain(()),
        lambda: CertChain((b"",)),
        lambda: CertChain((b"a",) * 5),
        lambda: Publication(b""),
        lambda: Publication(b"b", (KEY,) * 65),
        lambda: Publication(b"b", (KEY[1:],)),
        lambda: OneTimeKey(64, KEY, ()),
        lambda: OneTimeKey(0, KEY[1:], ()),
        lambda: OneTimeKey(0, KEY, (KEY,) * 7),
        lambda: OneTimeKey(0, KEY, (b"",)),
        lambda: Offer(b"b", (0, KEY, ())),  # type: ignore[arg-type]
    ):
        with pytest.raises(Malformed):
            wrong()


def test_one_time_keys_are_numbered_by_position() -> None:
    publication = Publication(BUNDLE.encode(), (KEY, filled(32, 1)))
    assert cbor.decode(publication.encode(), limit=10_000) == [BUNDLE.encode(), [KEY, filled(32, 1)]]
    assert cbor.decode(Offer(b"b").encode(), limit=10) == [b"b", None]


def test_the_largest_bodies_are_read() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    boxes = [f"{BOX[:-2]}{first}{second}" for first in letters for second in letters]
    acknowledgement = Acknowledgement(tuple((box, tuple(range(10))) for box in boxes[:1000]))
    assert Acknowledgement.decode(acknowledgement.encode()) == acknowledgement
    request = CollectRequest(tuple(boxes[:1000]), 60)
    assert CollectRequest.decode(request.encode()) == request
    deposits = Deposits(tuple((box, bytes(80_000)) for box in boxes[:100]))
    assert Deposits.decode(deposits.encode()) == deposits
