# SPDX-License-Identifier: Apache-2.0
"""Grants and consents: what they allow, and every refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.crypto.ports import Signer
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotAuthorized, NotTrusted, PeerMisbehaved
from sealway.identity.consents import ProvenConsent, sign_consent, verify_consent
from sealway.identity.credentials import verify_chain
from sealway.identity.grants import Grant, issue_grant, verify_grant
from sealway.wire.consent import ConsentClaims, SignedConsent
from sealway.wire.cose import TYP_CONSENT, TYP_GRANT, Kid, Sign1, X5t, sign1_to_be_signed
from sealway.wire.grant import GrantClaims, Scope, SignedGrant, every_device
from tests.identity.small_domain import DAY, NOW, SmallDomain, name, seeded, signer

VALVE = name("valve-1")
GATEWAY = name("roof", "gateway")


def issued(domain: SmallDomain, **changes: Any) -> bytes:
    """A grant for the application "app" to write the valve, but for these changes."""
    arguments: dict[str, Any] = {
        "holder": domain.credential("app", "application")[0],
        "audience": [VALVE],
        "scopes": ["valve:write", Scope("valve", "read")],
        "signer": domain.granter,
        "now": NOW,
        "random": seeded("grant"),
    }
    return issue_grant(**(arguments | changes))


def reissued(domain: SmallDomain, **changes: Any) -> bytes:
    """The same with claims that ``issue_grant`` would not make, signed by the grant key."""
    claims: GrantClaims = replace(SignedGrant.decode(issued(domain)).claims, **changes)
    key_ref, payload = Kid(domain.granter.public.kid), claims.encode()
    signature = domain.granter.sign(sign1_to_be_signed(TYP_GRANT, key_ref, payload))
    return SignedGrant(Sign1(TYP_GRANT, key_ref, payload, signature), claims).encode()


class TestGrant:
    def test_permits_what_it_says(self, domain: SmallDomain) -> None:
        holder, _ = domain.credential("app", "application")
        grant = verify_grant(issued(domain), domain.root, NOW)
        assert grant.permits(holder, VALVE, "valve:write", NOW) is grant
        assert grant.permits(holder, VALVE, Scope("valve", "read"), NOW) is grant
        assert (grant.holder_key, grant.encoded) == (holder.key, issued(domain))

    def test_may_be_for_all_devices_of_the_domain(self, domain: SmallDomain) -> None:
        holder, _ = domain.credential("app", "application")
        encoded = issued(domain, audience=[every_device("building.example")])
        grant = verify_grant(encoded, domain.root, NOW)
        assert grant.permits(holder, name("any-other"), "valve:write", NOW)
        for device in (name("d", domain="other.example"), name("h", "hub")):
            with pytest.raises(NotAuthorized, match="not for"):
                grant.permits(holder, device, "valve:write", NOW)

    @pytest.mark.parametrize("who", ["name", "key"])
    def test_refuses_another_holder(self, domain: SmallDomain, who: str) -> None:
        grant = verify_grant(issued(domain), domain.root, NOW)
        if who == "name":
            other = domain.credential("another", "application")[0]
        else:
            chain = domain.chain(name("app", "application"), signer("another key"))
            other = verify_chain(chain, domain.root, NOW)
        with pytest.raises(NotAuthorized, match="belongs to"):
            grant.permits(other, VALVE, "valve:write", NOW)

    def test_refuses_the_holders_key_under_another_name(self, domain: SmallDomain) -> None:
        grant = verify_grant(issued(domain), domain.root, NOW)
        chain = domain.chain(name("app-2", "application"), domain.credential("app", "application")[1])
        with pytest.raises(NotAuthorized, match="belongs to"):
            grant.permits(verify_chain(chain, domain.root, NOW), VALVE, "valve:write", NOW)

    @pytest.mark.parametrize(
        "device", [name("valve-2"), name("valve-1", "application"), name("valve-1", domain="b.example")]
    )
    def test_refuses_another_device(self, domain: SmallDomain, device: Any) -> None:
        grant = verify_grant(issued(domain), domain.root, NOW)
        with pytest.raises(NotAuthorized, match="not for"):
            grant.permits(domain.credential("app", "application")[0], device, "valve:write", NOW)

    @pytest.mark.parametrize("scope", ["valve:delete", "valve:writ", "pump:write", "valve:write2"])
    def test_refuses_another_scope(self, domain: SmallDomain, scope: str) -> None:
        grant = verify_grant(issued(domain), domain.root, NOW)
        with pytest.raises(NotAuthorized, match="does not include"):
            grant.permits(domain.credential("app", "application")[0], VALVE, scope, NOW)

    @pytest.mark.parametrize("scope", ["", "valve", "valve:*", "*:*"])
    def test_a_scope_that_is_none_is_malformed(self, domain: SmallDomain, scope: str) -> None:
        grant = verify_grant(issued(domain), domain.root, NOW)
        with pytest.raises(Malformed):
            grant.permits(domain.credential("app", "application")[0], VALVE, scope, NOW)

    @pytest.mark.parametrize(("now", "reason"), [(NOW + DAY, "expired"), (NOW - 301, "not valid yet")])
    def test_refuses_outside_its_time(self, domain: SmallDomain, now: int, reason: str) -> None:
        root = domain.root_with(issued=NOW - 2 * DAY)
        grant = verify_grant(issued(domain), root, NOW)
        with pytest.raises(NotAuthorized, match=reason):
            verify_grant(issued(domain), root, now)
        with pytest.raises(NotAuthorized, match=reason):
            grant.permits(domain.credential("app", "application")[0], VALVE, "valve:write", now)

    def test_a_clock_floor_says_only_that_it_has_expired(self, domain: SmallDomain) -> None:
        holder = domain.credential("app", "application")[0]
        grant = verify_grant(issued(domain), domain.root, 0, now_is_floor=True)
        assert grant.permits(holder, VALVE, "valve:write", 0, now_is_floor=True)
        with pytest.raises(NotAuthorized, match="expired"):
            grant.permits(holder, VALVE, "valve:write", NOW + DAY, now_is_floor=True)
        with pytest.raises(NotAuthorized, match="expired"):
            verify_grant(issued(domain), domain.root, NOW + DAY, now_is_floor=True)

    def test_lives_a_day_by_default(self, domain: SmallDomain) -> None:
        assert verify_grant(issued(domain), domain.root, NOW).claims.expires == NOW + DAY


class TestGrantSignature:
    def test_refuses_a_signer_that_may_not_grant(self, domain: SmallDomain) -> None:
        for other in (domain.owner, domain.ca, domain.credential("app", "application")[1]):
            with pytest.raises(NotTrusted, match="not named for grants"):
                verify_grant(issued(domain, signer=other), domain.root, NOW)

    def test_refuses_a_grant_key_whose_time_is_over(self, domain: SmallDomain) -> None:
        late = NOW + 101 * DAY
        with pytest.raises(NotTrusted, match="time is over"):
            verify_grant(issued(domain, now=late), domain.root, late)

    def test_refuses_a_wrong_signature(self, domain: SmallDomain) -> None:
        grant = SignedGrant.decode(issued(domain))
        wrong = replace(grant.sign1, signature=domain.granter.sign(b"anything"))
        with pytest.raises(NotAuthentic):
            verify_grant(wrong.encode(), domain.root, NOW)

    def test_refuses_another_issuer(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="means nothing"):
            verify_grant(reissued(domain, issuer="other.example"), domain.root, NOW)

    def test_refuses_an_expired_root(self, domain: SmallDomain) -> None:
        with pytest.raises(NotTrusted, match="root document"):
            verify_grant(issued(domain), domain.root_with(expires=NOW + 1), NOW + 1)

    def test_refuses_a_holder_key_that_is_not_a_point(self, domain: SmallDomain) -> None:
        y = SignedGrant.decode(issued(domain)).claims.holder_y or b""
        with pytest.raises(Malformed, match="not a point"):
            verify_grant(reissued(domain, holder_y=y[:1] + bytes(30) + y[-1:]), domain.root, NOW)
        with pytest.raises(NotAuthentic, match="curve"):
            verify_grant(reissued(domain, holder_x=(1).to_bytes(32)), domain.root, NOW)

    @given(st.binary(max_size=64))
    def test_refuses_noise(self, domain: SmallDomain, noise: bytes) -> None:
        with pytest.raises(Malformed):
            verify_grant(noise, domain.root, NOW)

    @given(st.data())
    def test_no_flipped_bit_goes_unnoticed(self, domain: SmallDomain, data: st.DataObject) -> None:
        changed = bytearray(issued(domain))
        bit = data.draw(st.integers(0, 8 * len(changed) - 1))
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((PeerMisbehaved, NotTrusted)):
            verify_grant(bytes(changed), domain.root, NOW)

    def test_a_grant_cannot_be_made_up(self, domain: SmallDomain) -> None:
        real = verify_grant(issued(domain), domain.root, NOW)
        with pytest.raises(LocalMisuse, match="verify_grant"):
            Grant(claims=real.claims, encoded=real.encoded, holder_key=real.holder_key, proof=None)


def consent_signed_by(claims: ConsentClaims, x5t: bytes, key: Signer) -> bytes:
    key_ref, payload = X5t(x5t), claims.encode()
    signature = key.sign(sign1_to_be_signed(TYP_CONSENT, key_ref, payload))
    return SignedConsent(Sign1(TYP_CONSENT, key_ref, payload, signature), claims).encode()


class TestConsent:
    def test_is_proven(self, domain: SmallDomain) -> None:
        device, key = domain.credential("meter-1")
        encoded = sign_consent(device, GATEWAY, key, now=NOW, seconds=DAY)
        proven = verify_consent(encoded, device, NOW)
        assert (proven.device, proven.claims.gateway, proven.encoded) == (device, GATEWAY, encoded)
        assert (proven.claims.mailbox, proven.claims.expires) == (device.name.mailbox, NOW + DAY)

    def test_signing_needs_the_devices_key(self, domain: SmallDomain) -> None:
        with pytest.raises(LocalMisuse, match="key"):
            sign_consent(domain.credential("meter-1")[0], GATEWAY, signer("other"), now=NOW, seconds=1)

    def test_only_a_device_consents_and_only_to_a_gateway(self, domain: SmallDomain) -> None:
        device, key = domain.credential("meter-1")
        with pytest.raises(Malformed, match="gateway"):
            sign_consent(device, name("hub", "hub"), key, now=NOW, seconds=1)
        application, key = domain.credential("app", "application")
        with pytest.raises(Malformed, match="device"):
            sign_consent(application, GATEWAY, key, now=NOW, seconds=1)

    def test_refuses_another_certificate(self, domain: SmallDomain) -> None:
        device, key = domain.credential("meter-1")
        encoded = sign_consent(device, GATEWAY, key, now=NOW, seconds=DAY)
        with pytest.raises(NotTrusted, match="certificate"):
            verify_consent(encoded, domain.credential("meter-2")[0], NOW)

    def test_refuses_to_speak_for_another_device(self, domain: SmallDomain) -> None:
        device, key = domain.credential("meter-1")
        other = name("meter-2")
        claims = ConsentClaims(other, GATEWAY, other.mailbox, NOW, NOW + DAY)
        with pytest.raises(NotTrusted, match="certificate"):
            verify_consent(consent_signed_by(claims, device.x5t, key), device, NOW)

    def test_refuses_a_signature_by_another_key(self, domain: SmallDomain) -> None:
        device, _ = domain.credential("meter-1")
        claims = ConsentClaims(device.name, GATEWAY, device.name.mailbox, NOW, NOW + DAY)
        with pytest.raises(NotAuthentic):
            verify_consent(consent_signed_by(claims, device.x5t, signer("gateway")), device, NOW)

    def test_refuses_a_gateway_of_another_domain(self, domain: SmallDomain) -> None:
        device, key = domain.credential("meter-1")
        encoded = sign_consent(device, name("roof", "gateway", "other.example"), key, now=NOW, seconds=DAY)
        with pytest.raises(NotTrusted, match="another domain"):
            verify_consent(encoded, device, NOW)

    @pytest.mark.parametrize(("now", "reason"), [(NOW + DAY, "expired"), (NOW - 301, "not valid yet")])
    def test_refuses_it_outside_its_time(self, domain: SmallDomain, now: int, reason: str) -> None:
        device, key = domain.credential("meter-1")
        encoded = sign_consent(device, GATEWAY, key, now=NOW, seconds=DAY)
        with pytest.raises(NotTrusted, match=reason):
            verify_consent(encoded, device, now)

    def test_cannot_be_made_up(self, domain: SmallDomain) -> None:
        device, key = domain.credential("meter-1")
        claims = verify_consent(sign_consent(device, GATEWAY, key, now=NOW, seconds=1), device, NOW).claims
        with pytest.raises(LocalMisuse, match="verify_consent"):
            ProvenConsent(device=device, claims=claims, encoded=b"", proof=None)
