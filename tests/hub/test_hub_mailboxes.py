# SPDX-License-Identifier: Apache-2.0
"""Mailboxes: what is held, for whom, how long, how much; and every refusal with its status and its count."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from sealway.wire.carriage import Acknowledgement, Collected, CollectRequest, Deposits, Verdicts
from sealway.wire.header import Claims


async def collect(bench: Any, member: Any, *mailboxes: str, wait: int = 0, most: int = 100) -> httpx.Response:
    body = CollectRequest(mailboxes or (member.mailbox,), wait, most).encode()
    answer: httpx.Response = await bench.call(member, "POST", "/v1/collect", body)
    return answer


def items(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return Collected.decode(answer.content).items


async def batch(bench: Any, member: Any, *deposits: tuple[str, bytes]) -> list[int]:
    answer = await bench.call(member, "POST", "/v1/deposits", Deposits(deposits).encode())
    assert answer.status_code == 200, answer.text
    return [status for status, _ in Verdicts.decode(answer.content).items]


async def test_an_envelope_waits_until_it_is_acknowledged(bench, meter, application, sealed):
    await bench.publish(application)
    first, second = sealed(), sealed(300)
    assert (await bench.deposit(meter, application.mailbox, first)).status_code == 201
    assert (await bench.deposit(meter, application.mailbox, second)).status_code == 201
    waiting = items(await collect(bench, application))
    assert [item[2] for item in waiting] == [first, second]
    assert waiting[0][1] < waiting[1][1]
    assert items(await collect(bench, application)) == waiting
    body = Acknowledgement(((application.mailbox, (waiting[0][1],)),)).encode()
    for _ in range(2):
        assert (await bench.call(application, "POST", "/v1/acknowledge", body)).status_code == 204
    assert items(await collect(bench, application)) == waiting[1:]
    assert bench.hub.metrics.value("sealway_hub_acknowledged_total") == 1


async def test_sequence_numbers_are_never_given_twice(bench, meter, application, sealed):
    await bench.publish(application)
    seen = []
    for _ in range(3):
        await bench.deposit(meter, application.mailbox, sealed())
        ((_, number, _),) = items(await collect(bench, application))
        seen.append(number)
        await bench.call(
            application, "POST", "/v1/acknowledge", Acknowledgement(((application.mailbox, (number,)),)).encode()
        )
    assert seen == sorted(set(seen))


async def test_the_same_bytes_are_held_once_while_held(bench, meter, lock, application, sealed):
    await bench.publish(application, lock)
    same = sealed()
    assert (await bench.deposit(meter, application.mailbox, same)).status_code == 201
    assert (await bench.deposit(lock, application.mailbox, same)).status_code == 200
    assert await batch(bench, meter, (application.mailbox, same), (lock.mailbox, same), (lock.mailbox, same)) == [
        200,
        201,
        200,
    ]
    assert len(items(await collect(bench, application))) == 1


async def test_a_batch_has_a_verdict_for_each(benches, meter, application, sealed):
    bench = benches(envelope_bytes=1000)
    await bench.publish(application)
    good, box = sealed(), application.mailbox
    expired = sealed(claims=Claims(expires=bench.clock.now))
    verdicts = await batch(
        bench,
        meter,
        (box, good),
        (box, b"nothing"),
        ("a" * 16, sealed()),
        (box, sealed(1001)),
        (box, expired),
        (box, good),
    )
    assert verdicts == [201, 400, 404, 413, 412, 200]
    reasons = ["Malformed", "NotFound", "TooLarge", "Stale"]
    assert [bench.refusals("deposits", reason) for reason in reasons] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"\x00" * 40, 400), (b"plain text of nobody", 400), (bytes(262_145), 413)],
)
async def test_what_is_no_envelope_is_refused(bench, meter, application, body, status):
    await bench.publish(application)
    answer = await bench.deposit(meter, application.mailbox, body)
    assert answer.status_code == status
    assert answer.json()["error"]


async def test_no_such_mailbox(bench, meter, application, sealed):
    assert (await bench.deposit(meter, application.mailbox, sealed())).status_code == 404
    assert (await bench.deposit(meter, "x%2F..%2Fy", sealed())).status_code == 404
    assert (await collect(bench, application)).status_code == 404
    assert bench.refusals("collect", "NotFound") == 1


async def test_a_gateway_or_a_hub_has_no_mailbox(bench, meter, gateway, sealed):
    await bench.publish(gateway)
    assert (await bench.deposit(meter, gateway.mailbox, sealed())).status_code == 404


async def test_an_endpoint_reaches_its_own_mailbox_only(bench, meter, lock, application, sealed):
    await bench.publish(meter, application)
    await bench.deposit(meter, application.mailbox, sealed())
    assert (await collect(bench, lock, application.mailbox)).status_code == 403
    body = Acknowledgement(((application.mailbox, (1,)),)).encode()
    assert (await bench.call(lock, "POST", "/v1/acknowledge", body)).status_code == 403
    mixed = await collect(bench, meter, meter.mailbox, application.mailbox)
    assert items(mixed) == ()
    assert mixed.headers["Sealway-Refused"] == application.mailbox
    assert len(items(await collect(bench, application))) == 1


async def test_a_carrier_collects_under_a_consent_only(bench, meter, lock, gateway, application, sealed):
    await bench.publish(meter, lock)
    for device in (meter, lock):
        await bench.deposit(application, device.mailbox, sealed())
    assert (await collect(bench, gateway, meter.mailbox)).status_code == 403
    consent = meter.consent(gateway, bench.clock.now, seconds=600)
    assert (await bench.call(gateway, "PUT", "/v1/consents", consent, "application/cose")).status_code == 204
    answer = await collect(bench, gateway, meter.mailbox, lock.mailbox)
    ((mailbox, number, _),) = items(answer)
    assert mailbox == meter.mailbox
    assert answer.headers["Sealway-Refused"] == lock.mailbox
    body = Acknowledgement(((meter.mailbox, (number,)), (lock.mailbox, (1, 2, 3)))).encode()
    assert (await bench.call(gateway, "POST", "/v1/acknowledge", body)).status_code == 204
    assert len(items(await collect(bench, lock))) == 1
    bench.clock.now += 600
    assert (await collect(bench, gateway, meter.mailbox)).status_code == 403


async def test_a_consent_ends_during_a_long_poll(bench, meter, gateway, application, sealed):
    await bench.publish(meter)
    consent = meter.consent(gateway, bench.clock.now, seconds=60)
    await bench.call(gateway, "PUT", "/v1/consents", consent, "application/cose")
    polling = asyncio.create_task(collect(bench, gateway, meter.mailbox, wait=20))
    await until(lambda: bench.hub.mailboxes.waiters.count == 1)
    bench.clock.now += 60
    await bench.deposit(application, meter.mailbox, sealed())
    assert (await polling).status_code == 403


async def test_another_gateways_consent_is_none(bench, domain, meter, gateway):
    await bench.publish(meter)
    await bench.call(meter, "PUT", "/v1/consents", meter.consent(gateway, bench.clock.now), "application/cose")
    other = domain.member("gateway", "cellar")
    assert (await collect(bench, other, meter.mailbox)).status_code == 403


async def test_a_long_poll_ends_when_something_arrives(bench, meter, application, sealed):
    await bench.publish(application)
    polling = asyncio.create_task(collect(bench, application, wait=30))
    await until(lambda: bench.hub.mailboxes.waiters.count == 1)
    one = sealed()
    await bench.deposit(meter, application.mailbox, one)
    async with asyncio.timeout(60):
        assert [item[2] for item in items(await polling)] == [one]
    assert bench.hub.mailboxes.waiters.count == 0


async def test_a_long_poll_ends_in_time_and_at_the_end_of_the_hub(benches, application):
    bench = benches(collect_seconds=0.2)
    await bench.publish(application)
    async with asyncio.timeout(60):
        assert items(await collect(bench, application, wait=60)) == ()
    bench.hub.mailboxes.waiters.close()
    async with asyncio.timeout(60):
        assert items(await collect(bench, application, wait=60)) == ()


async def test_a_long_poll_ends_when_its_client_has_gone(bench, application):
    await bench.publish(application)
    caller = await bench.hub.admission.caller(f"Bearer {await bench.token(application)}")
    looks = 0

    async def gone() -> bool:
        nonlocal looks
        looks += 1
        return looks > 1

    async with asyncio.timeout(60):
        found = await bench.hub.mailboxes.collect(caller, [application.mailbox], wait=60, most=1, gone=gone)
    assert found.held == []


async def test_long_polls_are_counted(benches, application):
    bench = benches(collects_per_caller=2)
    await bench.publish(application)
    polling = [asyncio.create_task(collect(bench, application, wait=30)) for _ in range(2)]
    await until(lambda: bench.hub.mailboxes.waiters.count == 2)
    answer = await collect(bench, application)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    bench.hub.mailboxes.waiters.close()
    await asyncio.gather(*polling)
    assert (await collect(bench, application)).status_code == 200


async def test_quotas_of_envelopes_and_bytes(benches, meter, application, sealed):
    bench = benches(envelopes_per_mailbox=2, bytes_per_mailbox=1000)
    await bench.publish(application, meter)
    box = application.mailbox
    assert await batch(bench, meter, *((box, sealed()) for _ in range(3))) == [201, 201, 429]
    assert await batch(bench, meter, (meter.mailbox, sealed(600)), (meter.mailbox, sealed(600))) == [201, 429]
    assert bench.refusals("deposits", "RateLimited") == 2
    numbers = tuple(item[1] for item in items(await collect(bench, application)))
    await bench.call(application, "POST", "/v1/acknowledge", Acknowledgement(((box, numbers),)).encode())
    assert await batch(bench, meter, (box, sealed())) == [201]


async def test_deposits_a_minute(benches, meter, application, sealed):
    bench = benches(deposits_per_minute=3)
    await bench.publish(application)
    assert await batch(bench, meter, *((application.mailbox, sealed()) for _ in range(3))) == [201, 201, 201]
    assert (await bench.deposit(meter, application.mailbox, sealed())).status_code == 429


async def test_requests_a_minute(benches, meter):
    bench = benches(requests_per_minute=2)
    statuses = [(await bench.call(meter, "GET", f"/v1/bundles?name={meter.name}")).status_code for _ in range(3)]
    assert statuses == [404, 404, 429]


async def test_what_nobody_collects_expires(benches, meter, application, sealed):
    bench = benches(held_for=100)
    await bench.publish(application)
    soon = sealed(claims=Claims(expires=bench.clock.now + 10))
    late = sealed(claims=Claims(expires=bench.clock.now + 10_000))
    assert await batch(bench, meter, (application.mailbox, soon), (application.mailbox, late)) == [201, 201]
    bench.clock.now += 10
    assert [item[2] for item in items(await collect(bench, application))] == [late]
    bench.clock.now += 90
    assert items(await collect(bench, application)) == ()
    assert (await bench.deposit(meter, application.mailbox, late)).status_code == 201  # the expired copy does not count
    await bench.hub.sweep()
    assert (await bench.hub.mailboxes.gauges())["sealway_hub_held"] == 1
    assert bench.hub.metrics.value("sealway_hub_expired_total") == 1


async def test_an_answer_is_bounded_and_shared(benches, meter, lock, gateway, application, sealed):
    bench = benches(body_bytes=4000)
    await bench.publish(meter, lock)
    for device in (meter, lock):
        await bench.call(device, "PUT", "/v1/consents", device.consent(gateway, bench.clock.now), "application/cose")
        for _ in range(4):
            assert (await bench.deposit(application, device.mailbox, sealed(1500))).status_code == 201
    found = items(await collect(bench, gateway, meter.mailbox, lock.mailbox))
    assert {item[0] for item in found} == {meter.mailbox, lock.mailbox}
    assert sum(len(item[2]) for item in found) <= 4000
    assert len(items(await collect(bench, gateway, meter.mailbox, lock.mailbox, most=1))) == 1
    alone = benches("alone", body_bytes=2000)
    await alone.publish(meter)
    await alone.deposit(application, meter.mailbox, sealed(1900))
    assert len(items(await collect(alone, meter))) == 1


async def test_too_many_mailboxes(benches, meter, lock):
    bench = benches(mailboxes_per_collect=1)
    await bench.publish(meter)
    assert (await collect(bench, meter, meter.mailbox, lock.mailbox)).status_code == 413


@pytest.mark.parametrize(
    ("limit", "status"), [("0", 508), ("1", 201), ("255", 201), ("256", 400), ("-1", 400), ("x", 400)]
)
async def test_hop_limit(bench, meter, application, sealed, limit, status):
    await bench.publish(application)
    answer = await bench.call(
        meter,
        "POST",
        f"/v1/mailboxes/{application.mailbox}/envelopes",
        sealed(),
        "application/cose",
        **{"Sealway-Hop-Limit": limit},
    )
    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/v1/deposits", "/v1/collect", "/v1/acknowledge"])
@pytest.mark.parametrize("body", [b"", b"\xff", b"\x80", b"\x9f\xff", b"\x81" * 30, b"\x81\x00"])
async def test_malformed_bodies(bench, meter, path, body):
    answer = await bench.call(meter, "POST", path, body)
    assert answer.status_code == 400
    assert bench.refusals(path.rpartition("/")[2], "Malformed") == 1


async def until(holds: Any) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
