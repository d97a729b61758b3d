# SPDX-License-Identifier: Apache-2.0
"""The owner root document: quorums, updates, pins, expiry."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.crypto.keys import SoftSigner
from sealway.errors import LocalMisuse, Malformed, NotTrusted, PeerMisbehaved
from sealway.identity.issuing import self_signed_ca
from sealway.identity.root import OwnerRoot, recall_root, sign_root, trust_root_on_first_use, verify_root
from sealway.wire.cose import TYP_ROOT, Kid, Sign, SignerSignature, sign_to_be_signed
from sealway.wire.root_document import Authority, RootClaims, SignedRoot
from tests.identity.small_domain import DAY, NOW, SmallDomain, name, seeded, signer

OWNERS = [signer(f"owner {i}") for i in range(4)]


def claims_of(domain: SmallDomain, owners: list[SoftSigner], threshold: int, **changes: Any) -> RootClaims:
    points = tuple(owner.public.point for owner in owners)
    return replace(domain.claims, owner_keys=points, threshold=threshold, **changes)


def signed_anyhow(claims: RootClaims, signers: list[SoftSigner]) -> bytes:
    """A document with these signatures, whether or not they suffice."""
    payload = claims.encode()
    kids = sorted((each.public.kid, each) for each in signers)
    parts = tuple(SignerSignature(Kid(k), s.sign(sign_to_be_signed(TYP_ROOT, Kid(k), payload))) for k, s in kids)
    return SignedRoot(Sign(TYP_ROOT, payload, parts), claims).encode()


def accepted(encoded: bytes, pinned: OwnerRoot | None = None) -> OwnerRoot:
    if pinned is None:
        return trust_root_on_first_use(encoded, now=NOW)
    return verify_root(encoded, now=NOW, pinned=pinned)


class TestFirst:
    def test_first_use_pins_everything(self, domain: SmallDomain) -> None:
        root = domain.root
        assert (root.domain, root.domain_id, root.number) == ("building.example", bytes(range(16)), 1)
        assert (root.encoded, root.issuing_cas) == (domain.root_document, (domain.ca_der,))
        assert root.owner_keys == (domain.owner.public,)
        assert root.fingerprint == hashlib.sha256(domain.root_document).digest()

    def test_is_accepted_by_its_fingerprint(self, domain: SmallDomain) -> None:
        root = verify_root(domain.root_document, now=NOW, fingerprint=domain.root.fingerprint)
        assert root == domain.root

    @pytest.mark.parametrize("fingerprint", [b"", bytes(32), bytes(16)])
    def test_refuses_another_fingerprint(self, domain: SmallDomain, fingerprint: bytes) -> None:
        with pytest.raises(NotTrusted, match="not the one expected"):
            verify_root(domain.root_document, now=NOW, fingerprint=fingerprint)

    def test_refuses_a_shortened_fingerprint(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted):
            recall_root(domain.root_document, domain.root.fingerprint[:16])

    def test_needs_a_pin_or_a_fingerprint(self, domain: SmallDomain) -> None:
        both: dict[str, Any] = {"pinned": domain.root, "fingerprint": domain.root.fingerprint}
        for arguments in ({}, both):
            with pytest.raises(LocalMisuse):
                verify_root(domain.root_document, now=NOW, **arguments)

    def test_refuses_a_signature_by_another_key(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="0 valid signatures"):
            accepted(signed_anyhow(domain.claims, [OWNERS[0]]))

    def test_refuses_a_wrong_signature_under_the_right_kid(self, domain: SmallDomain) -> None:
        payload, kid = domain.claims.encode(), Kid(domain.owner.public.kid)
        sign = Sign(TYP_ROOT, payload, (SignerSignature(kid, OWNERS[0].sign(b"anything")),))
        with pytest.raises(NotTrusted, match="0 valid signatures"):
            accepted(SignedRoot(sign, domain.claims).encode())

    @given(st.binary(max_size=128))
    def test_refuses_noise(self, noise: bytes) -> None:
        with pytest.raises(Malformed):
            trust_root_on_first_use(noise, now=NOW)

    def test_no_flipped_bit_goes_unnoticed(self, domain: SmallDomain) -> None:
        for bit in range(0, 8 * len(domain.root_document), 5):
            changed = bytearray(domain.root_document)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises((PeerMisbehaved, NotTrusted)):
                accepted(bytes(changed))

    def test_refuses_an_issuing_ca_that_is_no_authority(self, domain: SmallDomain) -> None:
        claims = replace(domain.claims, issuing_cas=(domain.chain(name("a"), signer("a"))[0],))
        with pytest.raises(NotTrusted, match="no authority"):
            sign_root(claims, [domain.owner])
        with pytest.raises(NotTrusted, match="no authority"):
            accepted(signed_anyhow(claims, [domain.owner]))


class TestTime:
    def test_refuses_an_expired_document(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="expired"):
            trust_root_on_first_use(domain.root_document, now=NOW + 365 * DAY)

    def test_refuses_a_document_of_the_future(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="not valid yet"):
            trust_root_on_first_use(domain.root_document, now=NOW - 301)
        assert trust_root_on_first_use(domain.root_document, now=NOW - 300)
        assert trust_root_on_first_use(domain.root_document, now=0, now_is_floor=True)

    def test_an_expired_document_is_recalled_and_succeeded_and_vouches_for_nothing(self, domain: SmallDomain) -> None:
        late = NOW + 400 * DAY
        old = recall_root(domain.root_document, domain.root.fingerprint)
        with pytest.raises(NotTrusted, match="expired"):
            old.demand_current(late)
        with pytest.raises(NotTrusted, match="expired"):
            verify_root(domain.root_document, now=late, pinned=old)
        newer = sign_root(replace(domain.claims, number=2, issued=late, expires=late + DAY), [domain.owner])
        assert verify_root(newer, now=late, pinned=old).number == 2


class TestQuorum:
    @pytest.mark.parametrize(("signing", "enough"), [(0, False), (1, False), (2, True), (3, True)])
    def test_two_of_three(self, domain: SmallDomain, signing: int, enough: bool) -> None:
        claims = claims_of(domain, OWNERS[:3], 2)
        signers = [*OWNERS[:signing], OWNERS[3]]  # a signature by somebody else counts for nothing
        if enough:
            assert accepted(signed_anyhow(claims, signers)).claims.threshold == 2
        else:
            with pytest.raises(NotTrusted, match=f"{signing} valid signatures of its own owner keys, and needs 2"):
                accepted(signed_anyhow(claims, signers))

    def test_signing_needs_the_quorum(self, domain: SmallDomain) -> None:
        claims = claims_of(domain, OWNERS[:3], 2)
        with pytest.raises(LocalMisuse, match="needs 2"):
            sign_root(claims, [OWNERS[0], OWNERS[3]])
        with pytest.raises(LocalMisuse, match="needs 2"):
            sign_root(claims, [OWNERS[0], OWNERS[0]])
        assert accepted(sign_root(claims, [OWNERS[2], OWNERS[0], OWNERS[2]])).number == 1


class TestUpdate:
    def test_the_same_document_again_changes_nothing(self, domain: SmallDomain) -> None:
        assert accepted(domain.root_document, domain.root) is domain.root

    def test_a_newer_one_follows(self, domain: SmallDomain) -> None:
        encoded = sign_root(replace(domain.claims, number=5), [domain.owner])
        assert accepted(encoded, domain.root).number == 5

    @pytest.mark.parametrize("number", [1, 2])
    def test_refuses_a_number_that_is_not_greater(self, domain: SmallDomain, number: int) -> None:
        pinned = domain.root_with(number=2)
        other = sign_root(replace(domain.claims, number=number, expires=NOW + DAY), [domain.owner])
        with pytest.raises(NotTrusted, match="not newer"):
            accepted(other, pinned)

    @pytest.mark.parametrize("changes", [{"domain": "other.example"}, {"domain_id": bytes(16)}])
    def test_refuses_another_domain(self, domain: SmallDomain, changes: dict[str, Any]) -> None:
        encoded = sign_root(replace(domain.claims, number=2, **changes), [domain.owner])
        with pytest.raises(NotTrusted, match="cannot follow"):
            accepted(encoded, domain.root)

    def test_new_owner_keys_need_both_quorums(self, domain: SmallDomain) -> None:
        claims = claims_of(domain, OWNERS[:3], 2, number=2)
        with pytest.raises(NotTrusted, match="0 valid signatures of the old"):
            accepted(sign_root(claims, OWNERS[:2]), domain.root)
        with pytest.raises(NotTrusted, match="1 valid signatures of its own"):
            accepted(signed_anyhow(claims, [domain.owner, OWNERS[0]]), domain.root)
        assert accepted(sign_root(claims, [domain.owner, *OWNERS[:2]]), domain.root).owner_keys == tuple(
            owner.public for owner in OWNERS[:3]
        )

    def test_the_old_quorum_is_the_old_threshold(self, domain: SmallDomain) -> None:
        pinned = accepted(sign_root(claims_of(domain, OWNERS[:3], 2), OWNERS[:2]))
        claims = claims_of(domain, OWNERS[:1], 1, number=2)
        with pytest.raises(NotTrusted, match="1 valid signatures of the old"):
            accepted(sign_root(claims, OWNERS[:1]), pinned)
        assert accepted(sign_root(claims, [OWNERS[0], OWNERS[2]]), pinned).number == 2

    def test_a_new_issuing_ca_comes_with_it(self, domain: SmallDomain) -> None:
        new = self_signed_ca(signer("new ca"), "building.example", now=NOW, days=9, random=seeded("new"))
        claims = replace(domain.claims, number=2, issuing_cas=(domain.ca_der, new))
        root = accepted(sign_root(claims, [domain.owner]), domain.root)
        assert [anchor.key for anchor in root.anchors] == [domain.ca.public, signer("new ca").public]


class TestGrantKeys:
    def test_are_found_by_kid_within_their_time(self, domain: SmallDomain) -> None:
        other = Authority(signer("other granter").public.point, NOW)
        root = domain.root_with(grant_keys=(other, domain.claims.grant_keys[0]))
        assert root.grant_key(domain.granter.public.kid, NOW) == domain.granter.public
        assert root.grant_key(signer("other granter").public.kid, NOW) == signer("other granter").public
        with pytest.raises(NotTrusted, match="time is over"):
            root.grant_key(signer("other granter").public.kid, NOW + 1)

    def test_refuses_a_key_that_is_not_named(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="not named for grants"):
            domain.root.grant_key(domain.owner.public.kid, NOW)


def test_a_root_cannot_be_made_up(domain: SmallDomain) -> None:
    with pytest.raises(LocalMisuse, match="verify_root"):
        OwnerRoot(
            claims=domain.claims,
            encoded=domain.root_document,
            fingerprint=bytes(32),
            anchors=(),
            owner_keys=(),
            proof=object(),
        )
