# SPDX-License-Identifier: Apache-2.0
"""Admission: who gets an access token, and every way not to get one (RFC 6749 §5.2). What an assertion must be is in
tests/identity/test_assertion.py."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing

import pytest

from sealway.errors import NotTrusted
from sealway.hub.store import DATABASE


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
