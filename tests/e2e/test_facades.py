# SPDX-License-Identifier: Apache-2.0
"""A program that uses the public API alone, over a real hub: HTTPS and CoAP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealway import (
    Application,
    CoapListener,
    Device,
    Gateway,
    HopIdentity,
    HttpUplink,
    InUse,
    Message,
    Name,
    Owner,
    TransportFailed,
)
from sealway.cli.demo.ports import TCP, UDP, free_ports
from tests.cli.town import PASSPHRASE, Role

DOMAIN = "building.example"
HUB, CELLAR, METER, OFFICE = (
    Name.parse(f"sealway://{DOMAIN}/{rest}")
    for rest in ("hub/hub", "gateway/cellar", "device/meter", "application/office")
)
READINGS = 60


class Place:
    """A domain in a directory, with its hub running."""

    def __init__(self, base: Path) -> None:
        self.base = base
        hub_port, self.gateway_port = free_ports(TCP, UDP)
        url = f"https://127.0.0.1:{hub_port}"
        members: list[tuple[Any, Name, dict[str, Any]]] = [
            (HopIdentity, HUB, {}),
            (HopIdentity, CELLAR, {}),
            (Device, METER, {"gateway": (CELLAR, f"coap://127.0.0.1:{self.gateway_port}"), "peers": [OFFICE]}),
            (Application, OFFICE, {"peers": [METER]}),
        ]
        with Owner.create(base / "owner", DOMAIN, passphrase=PASSPHRASE) as owner:
            for kind, name, wanted in members:
                request = kind.prepare(base / name.label, name, passphrase=PASSPHRASE)
                enrolment = owner.enroll(request, name, hub=url, **wanted)
                kind.accept(base / name.label, enrolment, fingerprint=owner.fingerprint, passphrase=PASSPHRASE)
            grant = owner.grant(OFFICE, ["valve:write"], devices=[METER], lifetime=timedelta(hours=1))
        Application.add_grant(base / OFFICE.label, grant)
        self.hub = Role(base / "hub-process", "hub", "run", "--state", base / HUB.label)
        self.hub.wait_ready()

    def gateway(self) -> Gateway:
        directory = self.base / CELLAR.label
        uplink = HttpUplink(identity=HopIdentity.open(directory, passphrase=PASSPHRASE))
        return Gateway(CoapListener(f"127.0.0.1:{self.gateway_port}"), uplink=uplink, state=directory)

    def meter(self) -> AbstractAsyncContextManager[Device]:
        return Device.open(self.base / METER.label, passphrase=PASSPHRASE)

    def office(self) -> AbstractAsyncContextManager[Application]:
        return Application.open(self.base / OFFICE.label, passphrase=PASSPHRASE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place"))
    try:
        yield place
    finally:
        place.hub.kill()


@pytest.mark.processes
async def test_readings_up_and_commands_down_while_everything_is_opened_and_closed(place: Place) -> None:
    got: list[bytes] = []

    async def read(office: Application, most: int) -> None:
        async for reading in office.messages(sender=METER):
            if len(got) == most:
                return  # this one is not handled: the next loop gets it
            got.append(reading.payload)

    async with asyncio.timeout(120), place.meter() as meter:

        @meter.on("valve", scope="valve:write")
        async def set_valve(command: Message) -> bytes:
            return b"closed" if command.payload == b"close" else b"open"

        async with place.gateway(), place.office() as office:
            for number in range(READINGS):
                await meter.send(meter.application, "readings", b"%d L" % number)
            await read(office, READINGS // 3)
            reply = await office.request(METER, "valve", b"close", timeout=timedelta(seconds=60))
            assert reply.payload == b"closed"
        await meter.send(meter.application, "readings", b"no gateway is there")
        async with place.office() as office, place.gateway(), asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read(office, READINGS + 1))
            reply = await office.request(METER, "valve", b"open", timeout=timedelta(seconds=60))
            assert reply.payload == b"open"
            await meter.send(meter.application, "readings", b"the last one")
            await reading
    assert got == [*(b"%d L" % number for number in range(READINGS)), b"no gateway is there"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.processes
async def test_what_is_taken_and_who_is_away(place: Place) -> None:
    async with asyncio.timeout(60), place.gateway():
        with pytest.raises(InUse):
            HopIdentity.open(place.base / CELLAR.label, passphrase=PASSPHRASE)
        async with place.office():
            with pytest.raises(InUse):
                await place.office().__aenter__()
    async with place.office() as office:
        nobody = f"sealway://{DOMAIN}/device/nobody"
        with pytest.raises(TransportFailed, match="no session with"):
            await office.request(nobody, "valve", b"close", timeout=timedelta(seconds=1))
