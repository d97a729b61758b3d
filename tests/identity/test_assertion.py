# SPDX-License-Identifier: Apache-2.0
"""Assertions of who asks a hop for admission (RFC 7523 §3), and every way not to be one."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwk, jws, jwt

from sealway.crypto.keys import private_key
from sealway.errors import Malformed, NotAuthentic, NotTrusted, SealwayError, TooLarge
from sealway.identity.assertion import Assertion, verify_assertion
from tests.hub.conftest import Domain, Member

AUDIENCE = "https://hub.test/v1/token"


@pytest.fixture(scope="module")
def domain() -> Domain:
    return Domain()


@pytest.fixture(scope="module")
def meter(domain: Domain) -> Member:
    return domain.member("device", "meter-1")


@pytest.fixture(scope="module")
def lock(domain: Domain) -> Member:
    return domain.member("device", "lock-1")


@pytest.fixture(scope="module")
def stranger() -> Member:
    """An endpoint of somebody else's domain."""
    return Domain("elsewhere.example").member("device", "meter-1")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def forged(member, now, *, header=None, claims=None, signer=None):
    """An assertion with changes (None removes), properly signed all the same."""
    first, second, _ = member.assertion(AUDIENCE, now).split(".")
    parts = []
    for part, changes in ((first, header or {}), (second, claims or {})):
        merged = json.loads(unb64(part)) | changes
        parts.append(b64(json.dumps({key: value for key, value in merged.items() if value is not None}).encode()))
    return signed(".".join(parts), signer or member.signer)


def signed(signing_input, signer):
    return f"{signing_input}.{b64(signer.sign(signing_input.encode()))}"


def verified(text, domain, now):
    return verify_assertion(text, domain.root, now, audiences={AUDIENCE})


def test_an_assertion_proves_its_endpoint(domain, meter):
    assertion = verified(meter.assertion(AUDIENCE, domain.now), domain, domain.now)
    assert assertion.credential == meter.credential
    assert len(assertion.jti) == 32
    assert domain.now < assertion.expires <= domain.now + 360


def test_joserfc_agrees_both_ways(domain, meter):
    text = meter.assertion(AUDIENCE, domain.now)
    public = meter.credential.key.to_cryptography().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    registry = jws.JWSRegistry(algorithms=["ES256"])
    registry.max_header_length = 8192
    token = jwt.decode(text, jwk.ECKey.import_key(public), registry=registry)
    assert token.claims["sub"] == str(meter.name)
    private = private_key(meter.scalar).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    again = jwt.encode(token.header, token.claims, jwk.ECKey.import_key(private), registry=registry)
    assert verified(again, domain, domain.now).credential.name == meter.name


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"header": {"alg": "none"}}, Malformed),
        ({"header": {"alg": "HS256"}}, Malformed),
        ({"header": {"alg": "ES384"}}, Malformed),
        ({"header": {"typ": "at+jwt"}}, Malformed),
        ({"header": {"crit": ["b64"], "b64": False}}, Malformed),
        ({"header": {"jwk": {}}}, Malformed),
        ({"header": {"x5c": None}}, Malformed),
        ({"header": {"x5c": []}}, Malformed),
        ({"header": {"x5c": "text"}}, Malformed),
        ({"header": {"x5c": [7]}}, Malformed),
        ({"header": {"x5c": ["***"]}}, Malformed),
        ({"header": {"x5c": ["AAAA"]}}, Malformed),
        ({"header": {"x5c": ["AAAA"] * 5}}, Malformed),
        ({"claims": {"iss": None}}, Malformed),
        ({"claims": {"jti": None}}, Malformed),
        ({"claims": {"jti": ""}}, Malformed),
        ({"claims": {"jti": "j" * 129}}, Malformed),
        ({"claims": {"jti": 7}}, Malformed),
        ({"claims": {"exp": "soon"}}, Malformed),
        ({"claims": {"exp": True}}, Malformed),
        ({"claims": {"exp": 1e9}}, Malformed),
        ({"claims": {"iat": -1}}, Malformed),
        ({"claims": {"nbf": "later"}}, Malformed),
        ({"claims": {"iss": "sealway://building.example/device/lock-1"}}, NotTrusted),
        ({"claims": {"sub": "sealway://building.example/device/lock-1"}}, NotTrusted),
        ({"claims": {"aud": "https://other.test/v1/token"}}, NotTrusted),
        ({"claims": {"aud": [AUDIENCE]}}, NotTrusted),
    ],
)
def test_what_an_assertion_must_be(domain, meter, changes, error):
    with pytest.raises(error):
        verified(forged(meter, domain.now, **changes), domain, domain.now)


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"iat": -60, "exp": 60}, True),
        ({"iat": 60, "exp": 100}, True),
        ({"iat": 61, "exp": 100}, False),
        ({"iat": 0, "exp": 300}, True),
        ({"iat": 0, "exp": 301}, False),
        ({"iat": -120, "exp": -59}, True),
        ({"iat": -120, "exp": -60}, False),
        ({"iat": 10, "exp": 10}, False),
        ({"iat": 0, "exp": 100, "nbf": 60}, True),
        ({"iat": 0, "exp": 100, "nbf": 61}, False),
    ],
)
def test_times(domain, meter, claims, good):
    text = forged(meter, domain.now, claims={claim: domain.now + offset for claim, offset in claims.items()})
    if good:
        assert verified(text, domain, domain.now).expires == domain.now + claims["exp"] + 60
    else:
        with pytest.raises(NotTrusted):
            verified(text, domain, domain.now)


def test_another_key_and_another_domain(domain, meter, lock, stranger):
    with pytest.raises(NotAuthentic):
        verified(forged(meter, domain.now, signer=lock.signer), domain, domain.now)
    with pytest.raises(NotTrusted):
        verified(stranger.assertion(AUDIENCE, domain.now), domain, domain.now)
    with pytest.raises(NotTrusted):
        verified(meter.assertion(AUDIENCE, domain.now), domain, domain.now + 91 * 86_400)


def test_an_assertion_cannot_be_made_up(meter):
    with pytest.raises(SealwayError):
        Assertion(credential=meter.credential, jti="x", expires=0, proof=None)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b'{"alg":"ES256","alg":"ES256"}', b'{"a":NaN}', b"[" * 6000, b"\xff\xfe"]
)
def test_parts_that_are_no_objects(domain, meter, part, content):
    segments = meter.assertion(AUDIENCE, domain.now).split(".")[:2]
    segments[part] = b64(content)
    with pytest.raises(Malformed):
        verified(signed(".".join(segments), meter.signer), domain, domain.now)


def test_the_form_is_strict(domain, meter):
    text = meter.assertion(AUDIENCE, domain.now)
    for wrong in (text + ".", text.replace(".", "", 1), text + "=", text + "\n", " " + text, text.replace("e", "é", 1)):
        with pytest.raises(Malformed):
            verified(wrong, domain, domain.now)
    with pytest.raises(TooLarge):
        verified("x" * 30_000, domain, domain.now)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10**6), byte=st.characters(max_codepoint=255))
def test_any_changed_character_is_refused(domain, meter, at, byte):
    text = meter.assertion(AUDIENCE, domain.now)
    at %= len(text)
    changed = text[:at] + byte + text[at + 1 :]
    if changed != text:
        with pytest.raises(SealwayError):
            verified(changed, domain, domain.now)
