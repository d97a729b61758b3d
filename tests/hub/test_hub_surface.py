# SPDX-License-Identifier: Apache-2.0
"""The surface: OpenAPI, health, metrics, sizes, media types, and no traceback for anybody."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from sealway.crypto.keys import Secret
from sealway.errors import LocalMisuse, Malformed, NotTrusted, RateLimited, SealwayError
from sealway.hub.app import create_app
from sealway.hub.config import HubConfig
from sealway.hub.limits import Rate, Slots
from sealway.hub.server import base_url, run_hub
from sealway.hub.store import Store
from sealway.hub.tls import server_context
from sealway.wire.carriage import Deposits


async def test_the_openapi_document(bench):
    document = (await bench.http.get("/openapi.json")).json()
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert len(operations) == 16
    for (_, path), operation in operations.items():
        assert operation["summary"]
        assert len(operation["tags"]) == 1
        assert ("security" in operation) == (path.startswith("/v1") and path not in ("/v1/token", "/v1/root"))
    assert len({operation["operationId"] for operation in operations.values()}) == 16
    deposit = operations["post", "/v1/mailboxes/{mailbox}/envelopes"]
    assert deposit["requestBody"]["content"]["application/cose"]["schema"]["format"] == "binary"
    claim = operations["post", "/v1/bundles/claim"]
    assert list(claim["responses"]["200"]["content"]) == ["application/cbor"]
    (scheme,) = document["components"]["securitySchemes"].values()
    assert scheme["flows"]["clientCredentials"]["tokenUrl"] == "/v1/token"


async def test_health_and_version(bench):
    assert (await bench.http.get("/health")).json() == {"status": "ok"}
    assert (await bench.http.get("/version")).json()["name"] == "sealway"


async def test_metrics_count_what_happens(bench, meter, application, sealed):
    await bench.publish(application)
    await bench.deposit(meter, application.mailbox, sealed())
    await bench.deposit(meter, application.mailbox, b"nothing of ours")
    answer = await bench.http.get("/metrics")
    lines = answer.text.splitlines()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'sealway_hub_deposits_total{repeated="false"} 1' in lines
    assert 'sealway_hub_requests_total{operation="deposit",status="201"} 1' in lines
    assert 'sealway_hub_requests_total{operation="deposit",status="400"} 1' in lines
    assert "sealway_hub_held 1" in lines
    assert "sealway_hub_mailboxes 1" in lines


async def test_a_refused_deposit_is_counted_once(bench, meter, application):
    await bench.publish(application)
    await bench.deposit(meter, application.mailbox, b"nothing of ours")
    assert bench.refusals("deposit", "Malformed") == 1


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/v1/root", 405), ("GET", "/v1/token", 405)]
)
async def test_no_such_route(bench, method, path, status):
    answer = await bench.http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/credentials"),
        ("PUT", "/v1/bundles"),
        ("PUT", "/v1/consents"),
        ("POST", "/v1/mailboxes/aaaaaaaaaaaaaaaa/envelopes"),
        ("POST", "/v1/deposits"),
        ("POST", "/v1/collect"),
        ("POST", "/v1/acknowledge"),
    ],
)
async def test_bodies_of_every_route_are_bounded_and_typed(bench, meter, method, path):
    assert (await bench.call(meter, method, path, b"x", "text/plain")).status_code == 415
    for media_type in ("application/cbor", "application/cose"):
        answer = await bench.call(meter, method, path, bytes(5_000_000), media_type)
        assert answer.status_code in (413, 415)
    assert (await bench.http.request(method, path, content=b"x")).status_code == 401


async def test_a_body_without_a_length_is_bounded_while_it_arrives(bench, meter):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 65_536
            yield bytes(65_536)
            assert sent < 10_000_000

    token = await bench.token(meter)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cbor"}
    answer = await bench.http.put("/v1/credentials", content=endless(), headers=headers)
    assert (answer.status_code, answer.headers["Connection"]) == (413, "close")
    assert sent <= 200_000


@pytest.mark.parametrize("length", ["9" * 13, "-1", "x", "70000"])
async def test_announced_lengths(bench, meter, length):
    headers = {"Authorization": f"Bearer {await bench.token(meter)}", "Content-Type": "application/cbor"}
    answer = await bench.http.put("/v1/credentials", content=b"\x80", headers={**headers, "Content-Length": length})
    assert answer.status_code in (400, 413)


async def test_a_body_that_takes_too_long(benches, meter):
    bench = benches(body_seconds=0.1)
    token = await bench.token(meter)

    async def slow():
        yield b"\x81"
        await asyncio.sleep(5)
        yield b"\x40"

    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cbor"}
    answer = await bench.http.put("/v1/credentials", content=slow(), headers=headers)
    assert answer.status_code == 408


async def test_a_fault_of_ours_shows_nothing(bench, meter, monkeypatch, caplog):
    async def fault(*_):
        raise RuntimeError("a value that must not get out")

    await bench.token(meter)
    monkeypatch.setattr(bench.hub.directory, "newest", fault)
    with caplog.at_level(logging.ERROR, "sealway.hub"):
        answer = await bench.call(meter, "GET", f"/v1/bundles?name={meter.name}")
    assert (answer.status_code, answer.json()) == (500, {"error": "the hub made a mistake"})
    assert "RuntimeError" in caplog.text
    assert "get out" not in caplog.text


async def test_an_internal_refusal_that_is_no_transports_is_a_500(bench, meter, monkeypatch):
    async def refuse(*_):
        raise SealwayError("something else")

    await bench.token(meter)
    monkeypatch.setattr(bench.hub.directory, "newest", refuse)
    assert (await bench.call(meter, "GET", f"/v1/bundles?name={meter.name}")).status_code == 500


async def test_a_database_that_cannot_be_written(bench, meter, application, sealed):
    await bench.publish(application)
    await bench.token(meter)
    await bench.hub.mailboxes._store.write(lambda db: db.execute("PRAGMA query_only = 1"))
    answer = await bench.deposit(meter, application.mailbox, sealed())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    await bench.hub.sweep_once_and_log()
    assert (await bench.http.get("/health")).status_code == 200


def test_a_root_document_that_is_none(tmp_path, domain):
    store = Store(tmp_path)
    try:
        for document, error in ((b"nothing", Malformed), (domain.document[:-1] + b"\x00", NotTrusted)):
            with pytest.raises(error):
                create_app(HubConfig(tmp_path, document), store, lambda: domain.now)
        with pytest.raises(NotTrusted):
            create_app(HubConfig(tmp_path, domain.document), store, lambda: domain.now + 400 * 86_400)
    finally:
        store.close()


def test_a_rate_refills():
    seconds = [0.0]
    rate = Rate(60, "things", monotonic=lambda: seconds[0])
    rate.spend("a", 60)
    with pytest.raises(RateLimited):
        rate.spend("a")
    rate.spend("b")
    seconds[0] += 2
    rate.spend("a", 2)
    with pytest.raises(RateLimited):
        rate.spend("a")


def test_rates_forget_the_longest_idle(monkeypatch):
    monkeypatch.setattr("sealway.hub.limits._MOST_PARTIES", 2)
    rate = Rate(1, "things", monotonic=lambda: 0.0)
    for party in "abc":
        rate.spend(party)
    rate.spend("a")
    with pytest.raises(RateLimited):
        rate.spend("c")


def test_slots():
    slots = Slots(1, "things")
    slots.take("a")
    slots.take("b")
    with pytest.raises(RateLimited):
        slots.take("a")
    slots.release("a")
    slots.take("a")


def test_addresses():
    assert base_url("127.0.0.1", 8443) == "https://127.0.0.1:8443"
    assert base_url("::1", 8443) == "https://[::1]:8443"


def test_a_hub_without_a_key_or_with_a_wrong_one(tmp_path, domain, hub_member, meter):
    config = HubConfig(tmp_path / "state", domain.document, hub_member.credential.chain)
    with pytest.raises(LocalMisuse, match="TLS"):
        run_hub(config)
    with pytest.raises(LocalMisuse, match="TLS"):
        server_context(hub_member.credential.chain, Secret(b"no key"), tmp_path)
    assert not list(tmp_path.glob("tls*"))
    with pytest.raises(LocalMisuse, match="listen"):
        run_hub(replace(config, key_pem=Secret(b"no key"), host="192.0.2.1"))


async def test_the_short_way_and_the_declared_one_answer_alike(bench, meter, application, sealed):
    await bench.publish(application)
    one, other = sealed(), sealed()
    batch = Deposits(((application.mailbox, one), ("a" * 16, other))).encode()
    deposit = f"/v1/mailboxes/{application.mailbox}/envelopes"
    cbor, cose = "application/cbor", "application/cose"
    requests = [
        (deposit, b"nothing of ours", cose), (deposit, one, "text/plain"), ("/v1/deposits", batch, cbor),
        (deposit, one, cose), ("/v1/collect", b"\x80", cbor), ("/v1/acknowledge", b"", cbor),
    ]  # fmt: skip
    lane, answers = bench.app.lane, []
    for way in (lane, None, lane):
        bench.app.lane = way
        answers.append([await bench.call(meter, "POST", *request) for request in requests])
        answers[-1].append(await bench.http.post("/v1/deposits", content=batch))
    _, declared, short = ([(a.status_code, a.content, dict(a.headers)) for a in way] for way in answers)
    assert declared == short
    assert [status for status, _, _ in short] == [400, 415, 200, 200, 400, 400, 401]
