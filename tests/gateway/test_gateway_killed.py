# SPDX-License-Identifier: Apache-2.0
"""A gateway that is killed keeps every word it gave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sealway.errors import TransportFailed
from sealway.gateway.status import gateway_status
from sealway.transports.coap import CoapCarrier
from sealway.transports.ports import Deposit
from tests.gateway.gateway_bench import Bench

pytestmark = pytest.mark.processes
SCRIPT = Path(__file__).with_name("gateway_process.py")
MAILBOX = "a" * 16


class Process:
    """A gateway's process and the URI of its ready line."""

    def __init__(self, process: asyncio.subprocess.Process, uri: str) -> None:
        self._process = process
        self.uri = uri

    @property
    def port(self) -> int:
        return int(self.uri.rsplit(":", 1)[1])

    async def signal(self, number: signal.Signals) -> int | None:
        self._process.send_signal(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            return None
        return await asyncio.wait_for(self._process.wait(), 20)


@asynccontextmanager
async def process(state_dir: Path, port: int = 0) -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), str(state_dir), str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert started.stdout is not None
        line = (await asyncio.wait_for(started.stdout.readline(), 30)).decode()
        assert line.startswith("gateway ready coap://127.0.0.1:"), line
        yield Process(started, line.split()[-1])
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def deposit_until_killed(carrier: CoapCarrier, bench: Bench, promised: list[bytes]) -> None:
    """Deposit without end; remember what the gateway said it holds."""
    while True:
        envelopes = bench.envelopes(20)
        try:
            verdicts = await carrier.deposit([Deposit(MAILBOX, envelope) for envelope in envelopes])
        except TransportFailed:
            return
        promised += [e for e, verdict in zip(envelopes, verdicts, strict=True) if verdict.accepted]
        if not all(verdict.accepted for verdict in verdicts):
            return


async def test_what_was_acknowledged_survives_sigkill_again_and_again(bench: Bench) -> None:
    state_dir = bench.root / "gateway"
    promised: list[bytes] = []
    for round_number in range(4):
        async with process(state_dir) as gateway:
            carrier = await bench.carrier(gateway.uri)
            depositing = asyncio.create_task(deposit_until_killed(carrier, bench, promised))
            await asyncio.sleep(0.15 + 0.1 * round_number)
            assert await gateway.signal(signal.SIGKILL) == -signal.SIGKILL
            await asyncio.wait_for(depositing, 60)
        assert gateway_status(state_dir)["in_flight"] >= len(promised) > 0
    await bench.gateway("gateway", uplink=bench.hub.carrier())
    await bench.until(lambda: gateway_status(state_dir)["in_flight"] == 0)
    assert set(promised) <= set(bench.hub.waiting(MAILBOX))


async def test_status_of_a_stopped_gateway(bench: Bench) -> None:
    state_dir = bench.root / "gateway"
    assert gateway_status(state_dir)["in_flight"] == 0
    async with process(state_dir) as gateway:
        carrier = await bench.carrier(gateway.uri)
        assert all(v.accepted for v in await carrier.deposit([Deposit(MAILBOX, e) for e in bench.envelopes(25)]))
        await gateway.signal(signal.SIGSTOP)
        status = gateway_status(state_dir)
        assert (status["in_flight"], status["outbound"], status["inbound"]) == (25, 25, 0)
        await gateway.signal(signal.SIGCONT)
        assert await gateway.signal(signal.SIGTERM) == 0
    assert gateway_status(state_dir)["counters"]["deposits_taken"] == 25
    assert (bench.root / "gateway.address").read_text() == f"{gateway.uri}\n"
    lines = [json.loads(line) for line in (bench.root / "gateway.log").read_text().splitlines()]
    assert {line["logger"] for line in lines} == {"sealway.gateway.uplink"}  # the hub is away; nothing else to say


async def test_a_restart_is_noticed_within_two_seconds(bench: Bench) -> None:
    state_dir = bench.root / "gateway"
    async with process(state_dir) as gateway:
        carrier = await bench.carrier(gateway.uri)
        assert all(v.accepted for v in await carrier.deposit([Deposit(MAILBOX, bench.envelope())]))
        await gateway.signal(signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(TransportFailed) as failed:
        await carrier.deposit([Deposit(MAILBOX, envelope) for envelope in bench.envelopes(100)])
    assert time.monotonic() - start < 2  # a refused connection is known at once
    assert failed.value.hint
    async with process(state_dir, gateway.port):
        start = time.monotonic()
        assert all(v.accepted for v in await carrier.deposit([Deposit(MAILBOX, bench.envelope())]))
        assert time.monotonic() - start < 2


async def test_a_silent_gateway_is_noticed_in_time(bench: Bench) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        uri = f"coap://127.0.0.1:{deaf.getsockname()[1]}"
        carrier = await bench.carrier(uri, timeout=1.5)
        start = time.monotonic()
        with pytest.raises(TransportFailed, match="no answer in time"):
            await carrier.deposit([Deposit(MAILBOX, envelope) for envelope in bench.envelopes(100)])
        assert time.monotonic() - start < 3  # not once for each of them
        with pytest.raises(TransportFailed):
            await carrier.collect([MAILBOX], wait=5)


async def test_a_paused_gateway_answers_when_it_goes_on(bench: Bench) -> None:
    async with process(bench.root / "gateway") as gateway:
        carrier = await bench.carrier(gateway.uri)
        await carrier.deposit([Deposit(MAILBOX, bench.envelope())])
        await gateway.signal(signal.SIGSTOP)
        waiting = asyncio.create_task(carrier.deposit([Deposit(MAILBOX, e) for e in bench.envelopes(30)]))
        await asyncio.sleep(2)
        assert not waiting.done()
        await gateway.signal(signal.SIGCONT)
        start = time.monotonic()
        assert all(v.accepted for v in await waiting)
        assert time.monotonic() - start < 2


async def test_two_processes_do_not_share_a_directory(bench: Bench) -> None:
    async with process(bench.root / "gateway"):
        second = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            str(bench.root / "gateway"),
            "0",
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        _, errors = await asyncio.wait_for(second.communicate(), 30)
        assert second.returncode != 0
        assert b"another gateway uses" in errors
