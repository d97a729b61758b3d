# SPDX-License-Identifier: Apache-2.0
"""The gateway, as programs use it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealway import CoapListener, Gateway, InUse, Limits, LocalMisuse, TransportFailed
from sealway.transports.coap import CoapCarrier
from sealway.transports.memory import MemoryCarrier, MemoryHub
from sealway.transports.ports import Deposit
from sealway.wire.envelope import Envelope
from tests.wire.wire_samples import STEADY

MAILBOX = "abcdefghijklmnop"
ANY_PORT = CoapListener("127.0.0.1:0")


@dataclass
class MemoryUplink:
    """An uplink to a hub in memory."""

    hub: MemoryHub
    url: str | None = None

    def open(self) -> MemoryCarrier:
        return self.hub.carrier()


def gateway(state: Path, hub: MemoryHub, listener: CoapListener = ANY_PORT, **options: Any) -> Gateway:
    return Gateway(listener, uplink=MemoryUplink(hub, **options), state=state, limits=Limits(held_for=timedelta(1)))


async def deposit(address: str, envelope: Envelope = STEADY) -> None:
    carrier = CoapCarrier(address)
    try:
        (verdict,) = await carrier.deposit([Deposit(MAILBOX, envelope.encode())])
        assert verdict.accepted
    finally:
        await carrier.close()


async def waiting(hub: MemoryHub) -> None:
    async with asyncio.timeout(60):
        while not hub.waiting(MAILBOX):  # noqa: ASYNC110 - a memory hub tells nobody
            await asyncio.sleep(0.01)


async def test_it_carries_in_the_background_and_can_be_used_again(tmp_path: Path) -> None:
    hub = MemoryHub()
    carries = gateway(tmp_path, hub)
    with pytest.raises(LocalMisuse, match="does not serve yet"):
        _ = carries.address
    hub.away = True
    async with carries:
        assert carries.address.startswith("coap://127.0.0.1:")
        await deposit(carries.address)
        with pytest.raises(LocalMisuse, match="serves already"):
            await carries.__aenter__()
    with pytest.raises(LocalMisuse, match="does not serve yet"):
        _ = carries.address
    hub.away = False
    async with carries:  # what it accepted goes on from there
        await waiting(hub)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_run_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    hub = MemoryHub()
    carries = gateway(tmp_path, hub)
    running = asyncio.create_task(carries.run())
    async with asyncio.timeout(60):
        while not running.done():
            try:
                await deposit(carries.address)
                break
            except LocalMisuse:
                await asyncio.sleep(0.01)
    await waiting(hub)
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    async with gateway(tmp_path, hub):  # port and lock are free
        pass
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("turns", range(0, 24, 3))
async def test_beginning_can_be_cancelled(tmp_path: Path, turns: int) -> None:
    carries = gateway(tmp_path, MemoryHub())
    beginning = asyncio.create_task(carries.__aenter__())
    for _ in range(turns):
        await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.wait({beginning})
    if not beginning.cancelled():  # it was faster
        await carries.__aexit__(None, None, None)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with carries:
        pass


async def test_what_stops_it_is_raised(tmp_path: Path) -> None:
    hub = MemoryHub()
    async with gateway(tmp_path / "one", hub) as first:
        taken = CoapListener(first.address.removeprefix("coap://"))
        for carries, error in (
            (gateway(tmp_path / "one", hub), InUse),
            (gateway(tmp_path / "two", hub, taken), TransportFailed),
            (gateway(tmp_path / "three", hub, CoapListener("10.0.0.1:5683")), LocalMisuse),
        ):
            with pytest.raises(error):
                await carries.run()
            with pytest.raises(error):
                await carries.__aenter__()


async def test_a_fault_while_it_serves_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sealway.gateway.gateway import Works

    async def fault(_: Works) -> None:
        raise ZeroDivisionError

    async with gateway(tmp_path, MemoryHub()):  # which has the directory made
        pass
    monkeypatch.setattr(Works, "_keep_house", fault)
    with pytest.raises(ZeroDivisionError):
        await gateway(tmp_path, MemoryHub()).run()
    with pytest.raises(ZeroDivisionError):
        async with gateway(tmp_path, MemoryHub()) as carries:
            await carries.served()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:5683", "127.0.0.1", 5683), ("[::1]:0", "::1", 0), ("localhost:1", "localhost", 1)],
)
def test_where_it_listens(text: str, host: str, port: int) -> None:
    assert (CoapListener(text).host, CoapListener(text).port) == (host, port)


@pytest.mark.parametrize("text", ["", "127.0.0.1", ":5683", "::1:5683", "127.0.0.1:99999", "coap://[::1]:1", "x:1"])
def test_where_it_cannot_listen(text: str) -> None:
    with pytest.raises(LocalMisuse, match="is not HOST:PORT"):
        CoapListener(text)
