# SPDX-License-Identifier: Apache-2.0
"""Endpoints of each suite, made and run by the public API: a reading, a command under a grant, and who cannot talk."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from sealway import Application, Device, HopIdentity, LocalMisuse, Message, NoCommonSuite, Owner
from tests.sdk.small_town import DOMAIN, GATE, METER, OPS, SECRET, SmallTown, join


def founded(base: Path, meter: int | None, ops: int | None) -> SmallTown:
    with Owner.create(base / "owner", DOMAIN, passphrase=SECRET) as owner:
        join(owner, Device, base / "meter", METER, peers=[OPS], suite=meter)
        join(owner, Application, base / "ops", OPS, scopes=["valve:write"], suite=ops)
    return SmallTown(base)


@pytest.mark.parametrize(("meter", "ops"), [(2, 2), (3, 3), (None, 2)])
async def test_a_reading_and_a_command(tmp_path: Path, meter: int | None, ops: int | None) -> None:
    town = founded(tmp_path, meter, ops)
    async with town.ops() as building, town.meter() as device, asyncio.timeout(60):

        @device.on("valve", scope="valve:write")
        async def set_valve(command: Message) -> bytes:
            return b"did " + command.payload

        await device.send(device.application, "readings", b"42.7 L")
        serving = asyncio.create_task(device.serve())
        reply = await building.request(METER, "valve", b"close", timeout=timedelta(seconds=30))
        assert reply.payload == b"did close"
        async for reading in building.messages():
            assert reading.payload == b"42.7 L"
            break
        serving.cancel()


async def test_who_has_keys_on_another_curve_is_told(tmp_path: Path) -> None:
    town = founded(tmp_path, 3, 1)
    async with town.ops(), town.meter() as device, asyncio.timeout(60):
        with pytest.raises(NoCommonSuite, match="suite 1 and 2, and this endpoint in suite 3"):
            await device.send(OPS, "readings", b"x", within=timedelta(seconds=20))


def test_a_directory_keeps_its_suite(tmp_path: Path) -> None:
    request = Device.prepare(tmp_path / "meter", METER, suite=3, passphrase=SECRET)
    assert Device.prepare(tmp_path / "meter", METER, passphrase=SECRET) == request  # nothing said: as it is
    with pytest.raises(LocalMisuse, match="are for suite 3"):
        Device.prepare(tmp_path / "meter", METER, suite=2, passphrase=SECRET)
    with pytest.raises(LocalMisuse, match="no suite 4"):
        Device.prepare(tmp_path / "other", METER, suite=4, passphrase=SECRET)
    with pytest.raises(LocalMisuse, match="TLS"):
        HopIdentity.prepare(tmp_path / "gate", GATE, suite=3, passphrase=SECRET)
