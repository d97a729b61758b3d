# SPDX-License-Identifier: Apache-2.0
"""libcoap's client against our gateway: another implementation of CoAP, Observe and blockwise."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from sealway.gateway.limits import Limits
from sealway.transports.ports import Deposit
from sealway.wire import carriage
from sealway.wire.compact import from_compact, to_compact
from sealway.wire.envelope import Envelope
from tests.gateway.gateway_bench import Bench

pytestmark = pytest.mark.processes
PROGRAMS = ("coap-client-notls", "coap-client-openssl", "coap-client")


@pytest.fixture
def client() -> str:
    """libcoap's command-line client."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.skip("libcoap's client is not installed (Debian: libcoap3-bin)")
    return found


async def run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, (output, errors)
    return output + errors


@pytest.mark.parametrize("size", [80, 10_240])
async def test_libcoap_deposits_an_envelope(bench: Bench, client: str, tmp_path: Path, size: int) -> None:
    gateway = await bench.gateway()
    envelope = bench.envelope(size)
    (tmp_path / "envelope").write_bytes(envelope)
    target = f"{gateway.uri}/m/{bench.mailbox()}"
    output = await run(client, "-m", "post", "-t", "16", "-f", str(tmp_path / "envelope"), "-B", "10", target)
    assert output.strip() == b"", output
    await bench.until(lambda: bench.hub.waiting(bench.mailbox()) == [envelope])


async def test_libcoap_is_refused_in_words(bench: Bench, client: str, tmp_path: Path) -> None:
    gateway = await bench.gateway()
    (tmp_path / "nonsense").write_bytes(b"not an envelope")
    target = f"{gateway.uri}/m/{bench.mailbox()}"
    output = await run(client, "-m", "post", "-t", "16", "-f", str(tmp_path / "nonsense"), "-B", "10", target)
    assert output.startswith(b"4.00")


@pytest.mark.parametrize("size", [80, 10_240])
async def test_libcoap_fetches_what_waits(bench: Bench, client: str, tmp_path: Path, size: int) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())
    envelope = bench.envelope(size)
    bench.hub.take(Deposit(bench.mailbox(), envelope))
    await bench.until(lambda: bench.hub.held == 0)
    target = f"{gateway.uri}/m/{bench.mailbox()}"
    await run(client, "-m", "get", "-o", str(tmp_path / "waiting"), "-B", "10", target)
    (item,) = carriage.Collected.decode((tmp_path / "waiting").read_bytes()).items
    assert (item[0], item[2]) == (bench.mailbox(), envelope)


async def test_libcoap_observes_a_mailbox(bench: Bench, client: str) -> None:
    gateway = await bench.gateway()
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())
    target = f"{gateway.uri}/m/{bench.mailbox()}"
    observing = asyncio.create_task(run(client, "-v", "7", "-m", "get", "-s", "3", "-B", "4", target))
    await asyncio.sleep(1.5)
    envelope = bench.envelope()
    bench.hub.take(Deposit(bench.mailbox(), envelope))
    output = await observing
    assert output.count(b"Observe:") >= 2, output  # the answer and a notification
    assert envelope.hex().encode() in output.replace(b" ", b"").replace(b"\n", b"") or envelope[10:40] in output


async def test_libcoap_deposits_a_compact_envelope(bench: Bench, client: str, tmp_path: Path) -> None:
    gateway = await bench.gateway()
    envelope = bench.envelope()
    compact = to_compact(Envelope.decode(envelope))
    (tmp_path / "compact").write_bytes(compact)
    target = f"{gateway.uri}/m/{bench.mailbox()}"
    output = await run(client, "-m", "post", "-t", "65000", "-f", str(tmp_path / "compact"), "-B", "10", target)
    assert output.strip() == b"", output
    await bench.until(lambda: bench.hub.waiting(bench.mailbox()) == [envelope])


@pytest.mark.parametrize("bearer", [64, 1024])
async def test_libcoap_asks_for_compact_forms(bench: Bench, client: str, tmp_path: Path, bearer: int) -> None:
    gateway = await bench.gateway(limits=Limits(bearer_bytes=bearer))
    carrier = await bench.carrier(gateway.uri)
    await carrier.publish_consent(bench.consent())
    sent = bench.envelopes(2, 40)
    for envelope in sent:
        bench.hub.take(Deposit(bench.mailbox(), envelope))
    await bench.until(lambda: bench.hub.held == 0)
    target = f"{gateway.uri}/m/{bench.mailbox()}"
    await run(client, "-m", "get", "-A", "65001", "-o", str(tmp_path / "waiting"), "-B", "10", target)
    rows = carriage.Handed.decode((tmp_path / "waiting").read_bytes()).items
    assert [from_compact(form).encode() if compact else form for _, compact, form in rows] == sent[: len(rows)]
    assert [compact for _, compact, _ in rows] == ([True] if bearer == 64 else [False, False])


async def test_libcoap_takes_the_smaller_blocks_of_a_narrow_bearer(bench: Bench, client: str, tmp_path: Path) -> None:
    gateway = await bench.gateway(limits=Limits(bearer_bytes=64))
    envelope = bench.envelope(3000)
    (tmp_path / "envelope").write_bytes(envelope)
    target = f"{gateway.uri}/m/{bench.mailbox()}"
    output = await run(client, "-m", "post", "-t", "16", "-f", str(tmp_path / "envelope"), "-B", "10", target)
    assert output.strip() == b"", output
    await bench.until(lambda: bench.hub.waiting(bench.mailbox()) == [envelope])
