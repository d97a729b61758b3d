# SPDX-License-Identifier: Apache-2.0
"""An owner, a device, an application and a gateway in directories of their own, made by the public API alone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sealway import Application, Device, HopIdentity, Owner
from sealway.transports.memory import MemoryHub

SECRET = "correct horse battery staple"
DOMAIN = "building.example"
HUB = "https://hub.example"
METER, OTHER, OPS, GATE = (
    f"sealway://{DOMAIN}/{rest}" for rest in ("device/meter", "device/other", "application/ops", "gateway/gate")
)


def found(base: Path) -> None:
    """Make the domain. The device "meter" has one application, "other" has none."""
    with Owner.create(base / "owner", DOMAIN, passphrase=SECRET) as owner:
        join(owner, Device, base / "meter", METER, peers=[OPS])
        join(owner, Device, base / "other", OTHER)
        join(owner, Application, base / "ops", OPS, scopes=["valve:write"])
        join(owner, HopIdentity, base / "gate", GATE)


def join(
    owner: Owner, kind: Any, directory: Path, name: str, *, hub: str = HUB, suite: int | None = None, **wanted: Any
) -> None:
    """Make a member."""
    request = kind.prepare(directory, name, suite=suite, passphrase=SECRET)
    enrolment = owner.enroll(request, name, hub=hub, **wanted)
    accepted = kind.accept(directory, enrolment, fingerprint=owner.fingerprint, passphrase=SECRET)
    assert str(accepted) == name


@dataclass
class SmallTown:
    """A copy of the domain for one test, and a hub in memory."""

    base: Path
    hub: MemoryHub = field(default_factory=MemoryHub)

    @classmethod
    def copied(cls, original: Path, base: Path) -> SmallTown:
        shutil.copytree(original, base / "town")
        return cls(base / "town")

    def meter(self, label: str = "meter", **options: Any) -> AbstractAsyncContextManager[Device]:
        return Device.open(self.base / label, passphrase=SECRET, carrier=self.hub.carrier(), **options)

    def ops(self, **options: Any) -> AbstractAsyncContextManager[Application]:
        return Application.open(self.base / "ops", passphrase=SECRET, carrier=self.hub.carrier(), **options)


async def until(reached: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something comes true."""
    end = asyncio.get_running_loop().time() + seconds
    while not reached():
        assert asyncio.get_running_loop().time() < end, "it did not come true in time"
        await asyncio.sleep(0.005)
