# SPDX-License-Identifier: Apache-2.0
"""Admission: who gets an access token, and every way not to get one (RFC 6749 §5.2, RFC 7523 §3)."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwk, jws, jwt

from sealway.crypto.keys import private_key
from sealway.errors import Malformed, NotAuthentic, NotTrusted, SealwayError, TooLarge
from sealway.hub.service import token_url
from sealway.hub.store import DATABASE
from sealway.identity.assertion import Assertion, verify_assertion

URL = "https://hub.test"
AUDIENCE = token_url(URL)


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


async def test_a_token_opens_the_door(bench, meter):
    answer = await bench.http.post("/v1/token", data=bench.form(meter, client_id=str(meter.name)))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"], len(body["access_token"])) == ("Bearer", 3600, 43)
    caller = await bench.hub.admission.caller(f"bearer {body['access_token']}")
    assert (caller.name, caller.mailbox, caller.role, caller.carries) == (
        str(meter.name),
        meter.mailbox,
        "endpoint",
        False,
    )


async def test_roles(bench, gateway, application, hub_member):
    for member, role in ((gateway, "carrier"), (application, "endpoint")):
        caller = await bench.hub.admission.caller(f"Bearer {await bench.token(member)}")
        assert caller.role == role
    answer = await bench.http.post("/v1/token", data=bench.form(hub_member))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_an_assertion_is_used_once_even_across_a_restart(benches, meter):
    bench = benches()
    form = bench.form(meter)
    assert (await bench.http.post("/v1/token", data=form)).status_code == 200
    again = await bench.http.post("/v1/token", data=form)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    later = benches(clock=bench.clock)
    assert (await later.http.post("/v1/token", data=form)).status_code == 401
    assert later.refusals("token", "OAuthRefusal") == 1


async def test_a_token_survives_a_restart_and_ends_in_time(benches, meter):
    bench = benches()
    token = await bench.token(meter)
    later = benches(clock=bench.clock)
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/v1/credentials/{'0' * 64}"
    assert (await later.http.get(path, headers=headers)).status_code == 404
    bench.clock.now += 3600
    for hub in (later, benches(clock=bench.clock)):
        answer = await hub.http.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    await hub.hub.sweep()
    with pytest.raises(NotTrusted):
        await hub.hub.admission.caller(f"Bearer {token}")


async def test_a_token_does_not_outlive_its_certificate(bench, domain):
    shortly = domain.member("device", "brief", days=0)
    answer = await bench.http.post("/v1/token", data=bench.form(shortly))
    assert answer.status_code in (200, 400, 401)
    if answer.status_code == 200:
        assert answer.json()["expires_in"] <= 1


async def test_the_token_itself_is_stored_nowhere(bench, meter, tmp_path):
    token = await bench.token(meter)
    for path in (tmp_path / "hub").iterdir():
        assert token.encode() not in path.read_bytes()
    with closing(sqlite3.connect(tmp_path / "hub" / DATABASE)) as db:
        assert db.execute("SELECT digest FROM tokens").fetchone() == (hashlib.sha256(token.encode()).digest(),)


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"client_assertion_type": "saml"}, 401, "invalid_client"),
        ({"client_assertion_type": None}, 401, "invalid_client"),
        ({"client_assertion": None}, 400, "invalid_request"),
        ({"client_assertion": ""}, 400, "invalid_request"),
        ({"client_assertion": "x" * 25_000}, 400, "invalid_request"),
        ({"client_assertion": "a.b.c"}, 401, "invalid_client"),
        ({"client_id": "somebody"}, 401, "invalid_client"),
    ],
)
async def test_refused_requests(bench, meter, changes, status, error):
    form = {key: value for key, value in (bench.form(meter) | changes).items() if value is not None}
    answer = await bench.http.post("/v1/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["error_description"]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"grant_type=a&grant_type=b", "application/x-www-form-urlencoded"),
        (b"grant_type", "application/x-www-form-urlencoded"),
        (b"\xff=1", "application/x-www-form-urlencoded"),
        (b"a=%ff", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(40)), "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
    ],
)
async def test_what_is_no_form(bench, body, media_type):
    answer = await bench.http.post("/v1/token", content=body, headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_form_that_is_too_large(bench):
    answer = await bench.http.post(
        "/v1/token", content=b"a=" + bytes(70_000), headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 413


async def test_a_stranger_gets_no_token(bench, stranger):
    answer = await bench.http.post("/v1/token", data=bench.form(stranger))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_rates(benches, meter, lock):
    bench = benches(assertions_per_minute=4, tokens_per_minute=2)
    statuses = [(await bench.http.post("/v1/token", data=bench.form(meter))).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    statuses = [(await bench.http.post("/v1/token", data=bench.form(lock))).status_code for _ in range(2)]
    assert statuses == [200, 429]


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer é", "Bearer " + "x" * 200, "Bearer " + "A" * 43]
)
async def test_no_token(bench, value):
    headers = {} if value is None else {"Authorization": value.encode("latin-1")}
    answer = await bench.http.get(f"/v1/credentials/{'0' * 64}", headers=headers)
    assert answer.status_code == 401
    assert set(answer.json()) == {"error", "hint"}


async def test_remembered_callers_are_bounded(bench, meter, monkeypatch):
    monkeypatch.setattr("sealway.hub.admission._MOST_REMEMBERED", 2)
    for _ in range(4):
        answer = await bench.http.post("/v1/token", data=bench.form(meter))
        await bench.hub.admission.caller(f"Bearer {answer.json()['access_token']}")
    assert len(bench.hub.admission._remembered) == 2
