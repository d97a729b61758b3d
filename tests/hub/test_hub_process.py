# SPDX-License-Identifier: Apache-2.0
"""The hub as a process: what it answered for survives kill -9 and a restart; a wiped disk does not stop it."""

from __future__ import annotations

import asyncio
import copy
import shutil
import signal
import ssl
import time

import httpx
import pytest

from sealway.errors import HopRefused, NotFound, TransportFailed
from sealway.hub.status import hub_status
from sealway.transports.ports import Deposit
from sealway.wire.bundle import Offer

pytestmark = pytest.mark.processes


async def published(process, *members):
    carriers = [process.carrier(member) for member in members]
    for carrier, member in zip(carriers, members, strict=True):
        await carrier.publish_credential(member.credential.chain)
    return carriers


async def close(*carriers):
    for carrier in carriers:
        await carrier.close()


async def everything(carrier, mailbox):
    """Collect and acknowledge until nothing is left."""
    found = []
    while waiting := await carrier.collect([mailbox], wait=0):
        found += [item.envelope for item in waiting]
        await carrier.acknowledge(waiting)
    return found


async def until(holds):
    """Wait for a condition; fail when it does not come true in time."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


async def test_deposits_that_were_accepted_survive_a_kill(process, meter, application, sealed):
    process.start()
    sender, receiver = await published(process, meter, application)
    accepted: list[bytes] = []

    async def deposit_until_it_dies():
        while True:
            batch = [sealed() for _ in range(10)]
            try:
                verdicts = await sender.deposit([Deposit(application.mailbox, one) for one in batch])
            except TransportFailed:
                return
            accepted.extend(one for one, verdict in zip(batch, verdicts, strict=True) if verdict.status == 201)

    for _ in range(3):
        tasks = [asyncio.create_task(deposit_until_it_dies()) for _ in range(4)]
        before = len(accepted)
        await until(lambda: len(accepted) >= before + 200)  # noqa: B023 - awaited within the turn
        process.kill()
        await asyncio.gather(*tasks)
        assert hub_status(process.state_dir)["in_flight"] >= len(accepted)
        process.start()
    held = await everything(receiver, application.mailbox)
    assert set(accepted) <= set(held)
    assert len(held) == len(set(held))
    assert hub_status(process.state_dir)["in_flight"] == 0
    await close(sender, receiver)


async def test_one_time_keys_go_out_once_across_a_kill(process, meter, application, gateway):
    process.limits = {"claims_per_minute": 10_000}
    process.start()
    device, *claimers = await published(process, meter, application, gateway)
    await device.publish_bundle(meter.publication(int(time.time()), keys=64))
    handed_out = []

    async def claim_until_it_dies(carrier):
        while True:
            try:
                offer = Offer.decode(await carrier.claim_bundle(str(meter.name)))
            except TransportFailed:
                return
            if offer.one_time is None:
                return
            handed_out.append(offer.one_time.index)

    for enough in (15, 30, 65):
        tasks = [asyncio.create_task(claim_until_it_dies(carrier)) for carrier in claimers * 4]
        await until(lambda: len(handed_out) >= enough or all(task.done() for task in tasks))  # noqa: B023 - as above
        process.kill()
        await asyncio.gather(*tasks)
        process.start()
    assert len(handed_out) == len(set(handed_out)) >= 30
    assert hub_status(process.state_dir)["one_time_keys"] == 0
    await close(device, *claimers)


async def test_a_wiped_disk_begins_anew(process, domain, meter, application, sealed):
    process.start()
    device, receiver = await published(process, meter, application)
    assert (await device.deposit([Deposit(application.mailbox, sealed())]))[0].accepted
    process.kill()
    shutil.rmtree(process.state_dir)
    process.start()
    assert await device.root_document() == domain.document
    with pytest.raises(NotFound):
        await receiver.collect([application.mailbox], wait=0)
    assert (await device.deposit([Deposit(application.mailbox, sealed())]))[0].status == 404
    await receiver.publish_credential(application.credential.chain)
    again = sealed()
    assert (await device.deposit([Deposit(application.mailbox, again)]))[0].status == 201
    assert [item.envelope for item in await receiver.collect([application.mailbox], wait=5)] == [again]
    await close(device, receiver)


async def test_sigterm_ends_long_polls_and_the_process(process, meter, application):
    process.start()
    assert (process.here / "address").read_text() == f"{process.url}\n"
    (receiver,) = await published(process, application)
    polling = asyncio.create_task(receiver.collect([application.mailbox], wait=50))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    process.running.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await polling == []
        assert await asyncio.to_thread(process.ended) == 0
    assert time.monotonic() - began < 8
    with pytest.raises(TransportFailed):
        await receiver.collect([application.mailbox], wait=0)
    process.start()
    assert await receiver.collect([application.mailbox], wait=0) == []
    await close(receiver)


async def test_status_of_a_stopped_process(process, meter, application, sealed):
    process.start()
    sender, _ = carriers = await published(process, meter, application)
    await sender.deposit([Deposit(application.mailbox, sealed()) for _ in range(7)])
    process.running.send_signal(signal.SIGSTOP)
    try:
        status = hub_status(process.state_dir)
    finally:
        process.running.send_signal(signal.SIGCONT)
    assert (status["in_flight"], status["mailboxes"], status["credentials"]) == (7, 2, 2)
    await close(*carriers)


async def test_neither_log_nor_directory_tell_secrets(process, meter, application, sealed):
    process.start()
    sender, receiver = await published(process, meter, application)
    one = sealed()
    await sender.deposit([Deposit(application.mailbox, one), Deposit(application.mailbox, one[:-1])])
    token = sender._exchange._token.text
    await close(sender, receiver)
    log = (process.here / "log").read_text()
    assert "Started server process" in log
    key = (process.here / "key").read_bytes()
    for secret in (token, one.hex(), key.decode().splitlines()[1]):
        assert secret not in log
    for path in process.state_dir.iterdir():
        assert token.encode() not in path.read_bytes()
        assert key not in path.read_bytes()
    assert sorted(path.name for path in process.state_dir.iterdir()) == [
        "hub.sqlite",
        "hub.sqlite-shm",
        "hub.sqlite-wal",
        "lock",
    ]


async def test_tls_is_1_3_and_verified(process, domain, meter):
    process.start()
    old = process.tls()
    old.maximum_version, old.minimum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    async with httpx.AsyncClient(verify=old, trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{process.url}/health")
    stranger = httpx.AsyncClient(verify=ssl.create_default_context(), trust_env=False)
    with pytest.raises(httpx.ConnectError):
        await stranger.get(f"{process.url}/health")
    await stranger.aclose()
    async with httpx.AsyncClient(verify=process.tls(), trust_env=False) as client:
        for host in ("127.0.0.1", "localhost"):
            answer = await client.get(f"https://{host}:{process.port}/health")
            assert answer.json() == {"status": "ok"}


async def test_the_audience_localhost_is_this_hubs_as_well(process, meter):
    process.start()
    answer = await _token(process, meter.assertion(f"https://localhost:{process.port}/v1/token", int(time.time())))
    assert answer.status_code == 200
    answer = await _token(process, meter.assertion("https://elsewhere.example/v1/token", int(time.time())))
    assert answer.status_code == 401


async def _token(process, assertion):
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    async with httpx.AsyncClient(verify=process.tls(), trust_env=False) as client:
        return await client.post(f"{process.url}/v1/token", data=form)


async def _raw(process):
    return await asyncio.open_connection("127.0.0.1", process.port, ssl=process.tls(), server_hostname="127.0.0.1")


@pytest.mark.parametrize(
    "flood",
    [b"GET /health HTTP/1.1\r\nX: " + b"x" * 60_000, b"GET /" + b"x" * 60_000, b"\r\n" * 30_000],
    ids=["header", "target", "nothing"],
)
async def test_a_head_that_is_too_large_ends_the_connection(process, flood):
    process.start()
    reader, writer = await _raw(process)
    async with asyncio.timeout(60):
        try:
            for at in range(0, len(flood), 4096):
                writer.write(flood[at : at + 4096])
                await writer.drain()
            assert b"200 OK" not in await reader.read()
        except ConnectionError:
            pass
    writer.close()


@pytest.mark.parametrize("beginning", [b"", b"\r\n", b"GET /health HTT"], ids=["silent", "newline", "half"])
async def test_a_head_that_is_too_slow_ends_the_connection(process, beginning):
    process.start()
    reader, writer = await _raw(process)
    writer.write(beginning)
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    writer.close()


async def test_kept_connections_and_requests_in_a_row(process):
    process.start()
    reader, writer = await _raw(process)
    request = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(request * 2)  # pipelined
    await asyncio.sleep(3)  # longer than a head may take: an idle connection is none
    writer.write(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(60):
        answers = await reader.read()
    assert answers.count(b"200 OK") == 3
    writer.close()


async def test_a_second_hub_on_the_same_directory(process):
    process.start()
    other = copy.copy(process)
    other.port = 0
    with pytest.raises(AssertionError):
        other.start()
    assert other.ended() == 1


async def test_an_unserved_role_is_refused_in_words(process, hub_member):
    process.start()
    carrier = process.carrier(hub_member)
    with pytest.raises(HopRefused, match="unauthorized_client") as caught:
        await carrier.root_document()
    assert caught.value.status == 400
    await carrier.close()
