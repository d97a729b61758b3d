# SPDX-License-Identifier: Apache-2.0
"""The enrolment file: what it carries, and every refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.crypto.ports import Signer
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotAuthorized, NotTrusted, PeerMisbehaved
from sealway.identity.enrolment import (
    Enrolment,
    EnrolmentClaims,
    NextHop,
    read_root,
    sign_enrolment,
    verify_enrolment,
)
from sealway.identity.grants import issue_grant
from sealway.identity.root import verify_root
from sealway.wire import cbor
from sealway.wire.cose import TYP_ENROLMENT, TYP_GRANT, Kid, Sign1, X5t, sign1_to_be_signed
from tests.identity.small_domain import DAY, NOW, SmallDomain, name, seeded, signer

APP = name("app", "application")
ROOF = NextHop(name("roof", "gateway"), "coap://[::1]:5683")


def claims_of(domain: SmallDomain, **changes: Any) -> EnrolmentClaims:
    """The application's enrolment, but for these changes."""
    holder, key = domain.credential("app", "application")
    grant = issue_grant(
        holder=holder,
        audience=[name("valve")],
        scopes=["valve:write"],
        signer=domain.granter,
        now=NOW,
        random=seeded("g"),
    )
    claims = EnrolmentClaims(
        root_document=domain.root_document,
        chain=domain.chain(APP, key),
        hub="https://hub.example:8443",
        gateway=ROOF,
        grants=(grant,),
        peers=(name("meter-1"), name("meter-2")),
        issued=NOW,
    )
    return replace(claims, **changes)


def opened(domain: SmallDomain, encoded: bytes, now: int = NOW) -> Enrolment:
    return verify_enrolment(encoded, domain.root, now, member=signer("app").public)


def payload_signed(key: Signer, payload: bytes, *, typ: str = TYP_ENROLMENT) -> bytes:
    key_ref = Kid(key.public.kid)
    return Sign1(typ, key_ref, payload, key.sign(sign1_to_be_signed(typ, key_ref, payload))).encode()


class TestGood:
    def test_carries_all_a_member_needs(self, domain: SmallDomain) -> None:
        claims = claims_of(domain)
        encoded = sign_enrolment(claims, domain.granter)
        root = verify_root(read_root(encoded), now=NOW, fingerprint=domain.root.fingerprint)
        enrolment = verify_enrolment(encoded, root, NOW, member=signer("app").public)
        assert (enrolment.claims, enrolment.root, enrolment.credential.name) == (claims, domain.root, APP)
        assert enrolment.grants[0].permits(enrolment.credential, name("valve"), "valve:write", NOW)

    def test_the_smallest(self, domain: SmallDomain) -> None:
        claims = claims_of(domain, gateway=None, grants=(), peers=())
        assert opened(domain, sign_enrolment(claims, domain.granter)).claims == claims


class TestRefusals:
    def test_refuses_another_root_document(self, domain: SmallDomain) -> None:
        encoded = sign_enrolment(claims_of(domain), domain.granter)
        with pytest.raises(NotTrusted, match="another root document"):
            verify_enrolment(encoded, domain.root_with(number=2), NOW, member=signer("app").public)

    @pytest.mark.parametrize("who", ["owner", "ca"])
    def test_refuses_a_signer_that_may_not(self, domain: SmallDomain, who: str) -> None:
        with pytest.raises(NotTrusted, match="not named for grants"):
            opened(domain, sign_enrolment(claims_of(domain), getattr(domain, who)))

    def test_refuses_a_signer_named_otherwise(self, domain: SmallDomain) -> None:
        payload = claims_of(domain).encode()
        encoded = Sign1(TYP_ENROLMENT, X5t(bytes(32)), payload, bytes(64)).encode()
        with pytest.raises(NotTrusted, match="not named for grants"):
            opened(domain, encoded)

    def test_refuses_a_wrong_signature(self, domain: SmallDomain) -> None:
        good = Sign1.decode(sign_enrolment(claims_of(domain), domain.granter))
        with pytest.raises(NotAuthentic):
            opened(domain, replace(good, signature=domain.granter.sign(b"anything")).encode())

    def test_refuses_a_certificate_for_another_key(self, domain: SmallDomain) -> None:
        encoded = sign_enrolment(claims_of(domain), domain.granter)
        with pytest.raises(NotTrusted, match="another key"):
            verify_enrolment(encoded, domain.root, NOW, member=signer("other").public)

    def test_refuses_a_grant_for_another_member(self, domain: SmallDomain) -> None:
        claims = claims_of(domain, chain=domain.chain(name("app-2", "application"), signer("app")))
        with pytest.raises(NotAuthorized, match="belongs to"):
            opened(domain, sign_enrolment(claims, domain.granter))

    def test_refuses_a_grant_that_has_expired(self, domain: SmallDomain) -> None:
        with pytest.raises(NotAuthorized, match="expired"):
            opened(domain, sign_enrolment(claims_of(domain), domain.granter), NOW + DAY)

    def test_refuses_another_type_of_document(self, domain: SmallDomain) -> None:
        with pytest.raises(Malformed, match="type"):
            opened(domain, payload_signed(domain.granter, claims_of(domain).encode(), typ=TYP_GRANT))

    @pytest.mark.parametrize(
        ("label", "value"),
        [
            (1, 2),
            (2, b""),
            (3, []),
            (3, [b"x"] * 5),
            (4, "http://hub.example"),
            (5, ["sealway://building.example/device/d", "coap://h"]),
            (5, ["sealway://building.example/gateway/g", "http://h"]),
            (5, ["sealway://building.example/gateway/g", 7]),
            (5, ["sealway://building.example/gateway/g"]),
            (5, None),
            (6, [b""]),
            (6, [b"g"] * 17),
            (7, ["nobody"]),
            (7, ["sealway://building.example/device/d"] * 2),
            (8, -1),
            (9, 0),
        ],
    )
    def test_refuses_values_of_another_shape(self, domain: SmallDomain, label: int, value: Any) -> None:
        fields = cbor.decode(claims_of(domain).encode(), limit=1 << 16)
        encoded = payload_signed(domain.granter, cbor.encode(fields | {label: value}))
        with pytest.raises(Malformed):
            opened(domain, encoded)
        with pytest.raises(Malformed):
            read_root(encoded)

    @given(st.binary(max_size=64))
    def test_refuses_noise(self, noise: bytes) -> None:
        with pytest.raises(Malformed):
            read_root(noise)

    @given(st.data())
    def test_no_flipped_bit_goes_unnoticed(self, domain: SmallDomain, data: st.DataObject) -> None:
        changed = bytearray(sign_enrolment(claims_of(domain), domain.granter))
        bit = data.draw(st.integers(0, 8 * len(changed) - 1))
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((PeerMisbehaved, NotTrusted)):
            opened(domain, bytes(changed))

    def test_cannot_be_made_up(self, domain: SmallDomain) -> None:
        real = opened(domain, sign_enrolment(claims_of(domain), domain.granter))
        with pytest.raises(LocalMisuse, match="verify_enrolment"):
            Enrolment(root=real.root, credential=real.credential, grants=(), claims=real.claims, proof=None)
