# SPDX-License-Identifier: Apache-2.0
"""Prekey bundles: signing and every refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.crypto.keys import generate_scalar, public_x
from sealway.crypto.ports import Signer
from sealway.crypto.suites import SUITE_1
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotTrusted, PeerMisbehaved, Replayed
from sealway.identity.bundles import ProvenBundle, sign_bundle, verify_bundle, verify_offer, verify_publication
from sealway.identity.credentials import verify_chain
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.bundle import BundleClaims, Offer, OneTimeKey, Publication, SignedBundle
from sealway.wire.cose import TYP_BUNDLE, KeyRef, Sign1, X5chain, X5t, sign1_to_be_signed
from sealway.wire.merkle import merkle_path, merkle_root
from tests.identity.small_domain import DAY, NOW, SmallDomain, name, seeded, signer

METER = name("meter-1")
KEYS = tuple(public_x(generate_scalar(seeded(f"one-time {i}"))) for i in range(5))
OFF_CURVE = (1).to_bytes(32)


def claims_of(of: Name = METER, **changes: Any) -> BundleClaims:
    claims = BundleClaims(
        bundle_id=b"abcd",
        name=of,
        mailbox=MailboxAddress("https://hub.example", of.mailbox),
        sequence=3,
        suites=(1,),
        agreement_key=public_x(generate_scalar(seeded("agreement"))),
        signed_prekey=public_x(generate_scalar(seeded("prekey"))),
        issued=NOW,
        expires=NOW + 7 * DAY,
        one_time_root=merkle_root(KEYS),
        one_time_count=len(KEYS),
    )
    return replace(claims, **changes)


def signed_anyhow(claims: BundleClaims, key_ref: KeyRef, key: Signer) -> bytes:
    """A bundle of these claims, whoever signs it."""
    payload = claims.encode()
    signature = key.sign(sign1_to_be_signed(TYP_BUNDLE, key_ref, payload))
    return SignedBundle(Sign1(TYP_BUNDLE, key_ref, payload, signature), claims).encode()


def offered(domain: SmallDomain, at: int = 2, **changes: Any) -> bytes:
    """An offer of the meter's bundle with a one-time key, but for these changes of the key."""
    credential, key = domain.credential("meter-1")
    one_time = OneTimeKey(at, KEYS[at], merkle_path(KEYS, at))
    return Offer(sign_bundle(claims_of(), credential, key), replace(one_time, **changes)).encode()


class TestGood:
    def test_a_bundle_is_proven(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        encoded = sign_bundle(claims_of(), credential, key)
        proven = verify_bundle(encoded, credential, NOW, lowest_sequence=3)
        assert (proven.credential, proven.claims, proven.encoded) == (credential, claims_of(), encoded)
        assert proven.hash == SignedBundle.decode(encoded).hash
        assert proven.one_time is None

    def test_the_certificate_may_travel_in_it(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        encoded = signed_anyhow(claims_of(), X5chain((*credential.chain, domain.ca_der)), key)
        assert verify_bundle(encoded, credential, NOW).claims == claims_of()

    @pytest.mark.parametrize("index", range(5))
    def test_an_offered_one_time_key_is_proven(self, domain: SmallDomain, index: int) -> None:
        proven = verify_offer(offered(domain, index), domain.credential("meter-1")[0], NOW)
        assert proven.one_time is not None
        assert (proven.one_time.index, proven.one_time.key) == (index, KEYS[index])

    def test_an_offer_may_have_no_key_left(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        offer = Offer(sign_bundle(claims_of(), credential, key)).encode()
        assert verify_offer(offer, credential, NOW).one_time is None

    @pytest.mark.parametrize("keys", [(), KEYS[:1], KEYS])
    def test_a_publication_is_proven(self, domain: SmallDomain, keys: tuple[bytes, ...]) -> None:
        credential, key = domain.credential("meter-1")
        claims = claims_of(one_time_root=merkle_root(keys) if keys else None, one_time_count=len(keys) or None)
        publication = Publication(sign_bundle(claims, credential, key), keys).encode()
        proven, proven_keys = verify_publication(publication, credential, NOW)
        assert (proven.claims, proven_keys) == (claims, keys)


class TestSigning:
    def test_needs_the_credentials_key(self, domain: SmallDomain) -> None:
        with pytest.raises(LocalMisuse, match="key"):
            sign_bundle(claims_of(), domain.credential("meter-1")[0], signer("other"))

    def test_needs_the_credentials_name(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        with pytest.raises(LocalMisuse, match="in the name of"):
            sign_bundle(claims_of(name("meter-2")), credential, key)


class TestRefusals:
    def test_refuses_another_endpoints_bundle(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        with pytest.raises(NotTrusted, match="certificate"):
            verify_bundle(sign_bundle(claims_of(), credential, key), domain.credential("meter-2")[0], NOW)

    def test_refuses_another_certificate_of_the_same_endpoint(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        renewed = verify_chain(domain.chain(METER, key, days=31), domain.root, NOW)
        with pytest.raises(NotTrusted, match="certificate"):
            verify_bundle(sign_bundle(claims_of(), credential, key), renewed, NOW)

    def test_refuses_another_chain_in_it(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        encoded = signed_anyhow(claims_of(), X5chain((domain.ca_der,)), key)
        with pytest.raises(NotTrusted, match="certificate"):
            verify_bundle(encoded, credential, NOW)

    def test_refuses_a_signature_by_another_key(self, domain: SmallDomain) -> None:
        credential, _ = domain.credential("meter-1")
        encoded = signed_anyhow(claims_of(), X5t(credential.x5t), signer("other"))
        with pytest.raises(NotAuthentic):
            verify_bundle(encoded, credential, NOW)

    def test_refuses_a_bundle_in_another_name(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        encoded = signed_anyhow(claims_of(name("meter-2")), X5t(credential.x5t), key)
        with pytest.raises(NotTrusted, match="in the name of"):
            verify_bundle(encoded, credential, NOW)

    def test_refuses_an_older_sequence(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        with pytest.raises(Replayed, match="older"):
            verify_bundle(sign_bundle(claims_of(), credential, key), credential, NOW, lowest_sequence=4)

    @pytest.mark.parametrize(("now", "reason"), [(NOW + 7 * DAY, "expired"), (NOW - 301, "not valid yet")])
    def test_refuses_it_outside_its_time(self, domain: SmallDomain, now: int, reason: str) -> None:
        credential, key = domain.credential("meter-1")
        encoded = sign_bundle(claims_of(), credential, key)
        with pytest.raises(NotTrusted, match=reason):
            verify_bundle(encoded, credential, now)

    def test_a_clock_floor_cannot_call_it_too_new(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        encoded = sign_bundle(claims_of(), credential, key)
        assert verify_bundle(encoded, credential, 0, now_is_floor=True)

    @pytest.mark.parametrize("field", ["agreement_key", "signed_prekey"])
    def test_refuses_keys_off_the_curve(self, domain: SmallDomain, field: str) -> None:
        credential, key = domain.credential("meter-1")
        changes: dict[str, Any] = {field: OFF_CURVE}
        encoded = sign_bundle(claims_of(**changes), credential, key)
        with pytest.raises(NotAuthentic, match="curve"):
            verify_bundle(encoded, credential, NOW)

    @given(st.data())
    def test_no_flipped_bit_goes_unnoticed(self, domain: SmallDomain, data: st.DataObject) -> None:
        changed = bytearray(offered(domain))
        bit = data.draw(st.integers(0, 8 * len(changed) - 1))
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((PeerMisbehaved, NotTrusted)):
            verify_offer(bytes(changed), domain.credential("meter-1")[0], NOW)


class TestOneTimeKeys:
    @pytest.mark.parametrize("changes", [{"index": 1}, {"key": KEYS[0]}, {"path": ()}, {"index": 63}])
    def test_refuses_one_that_is_not_in_the_tree(self, domain: SmallDomain, changes: dict[str, Any]) -> None:
        with pytest.raises(NotAuthentic):
            verify_offer(offered(domain, **changes), domain.credential("meter-1")[0], NOW)

    def test_refuses_one_where_none_was_committed_to(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        bundle = sign_bundle(claims_of(one_time_root=None, one_time_count=None), credential, key)
        with pytest.raises(Malformed, match="commits to none"):
            verify_offer(Offer(bundle, OneTimeKey(0, KEYS[0], ())).encode(), credential, NOW)

    def test_refuses_one_off_the_curve(self, domain: SmallDomain) -> None:
        credential, key = domain.credential("meter-1")
        claims = claims_of(one_time_root=merkle_root([OFF_CURVE]), one_time_count=1)
        offer = Offer(sign_bundle(claims, credential, key), OneTimeKey(0, OFF_CURVE, ())).encode()
        with pytest.raises(NotAuthentic, match="curve"):
            verify_offer(offer, credential, NOW)

    @pytest.mark.parametrize("keys", [(), KEYS[:4], (*KEYS, KEYS[0]), KEYS[::-1]])
    def test_refuses_a_publication_with_other_keys(self, domain: SmallDomain, keys: tuple[bytes, ...]) -> None:
        credential, key = domain.credential("meter-1")
        publication = Publication(sign_bundle(claims_of(), credential, key), keys).encode()
        with pytest.raises(NotTrusted, match="one-time keys"):
            verify_publication(publication, credential, NOW)


def test_a_proven_bundle_cannot_be_made_up(domain: SmallDomain) -> None:
    credential = domain.credential("a")[0]
    with pytest.raises(LocalMisuse, match="verify_bundle"):
        ProvenBundle(
            credential=credential, claims=claims_of(), suites=(SUITE_1,), encoded=b"", hash=b"", proof=None
        )  # fmt: skip
