# SPDX-License-Identifier: Apache-2.0
"""A whole domain in one process: a hub in memory, endpoints with real state directories, a clock that runs fast.

What a test does not turn by hand passes by itself: a second of real time is ``speed`` seconds of the endpoints' time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sealway.crypto.suites import SUITE_1, Suite
from sealway.errors import StateLost
from sealway.protocol.sentlog import Uptime
from sealway.sdk import Application, Device, Member, Received
from sealway.sdk.role import Role
from sealway.sdk.sessions import Held
from sealway.transports.memory import MemoryHub, Tamper
from sealway.wire.message import Message
from tests.system.domain import Domain

PATIENCE_S = 150.0
"""Real time after which a test gives up waiting: on a fast clock, several of the longest pauses between two offers."""


class FastClock:
    """A clock that runs ``speed`` times as fast as real time and can be turned on, or back."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self.boot = os.urandom(16)
        self._began = time.monotonic()
        self._base_ms = time.time_ns() // 1_000_000
        self._ahead_ms = 0
        self._wall_ms = 0

    def now_ms(self) -> int:
        return self._base_ms + self._wall_ms + self._passed_ms()

    def uptime(self) -> Uptime:
        return Uptime(self.boot, 1_000_000 + self._passed_ms())

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self._ahead_ms += int(seconds * 1_000)

    def set_back(self, seconds: float) -> None:
        """Change what the wall clock shows, and nothing else."""
        self._wall_ms -= int(seconds * 1_000)

    def reboot(self) -> None:
        self.boot = os.urandom(16)

    def _passed_ms(self) -> int:
        return self._ahead_ms + int((time.monotonic() - self._began) * 1_000 * self.speed)


async def until(condition: Callable[[], bool], what: str = "", seconds: float = PATIENCE_S) -> None:
    """Wait for something, a bounded time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what or condition
        await asyncio.sleep(0.005)


async def kill(role: Role) -> None:
    """End an endpoint as SIGKILL ends its process: what is not committed yet never will be."""
    endpoint = role.endpoint
    journal = endpoint.journal
    journal._broken = journal._broken or StateLost("killed")
    tasks = [*role._tasks, *endpoint._tasks, *([journal._flushing] if journal._flushing is not None else [])]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    endpoint.store.close()
    endpoint._lock.release()


def forget_sessions(role: Role) -> None:
    """Let an end open and seal nothing in the present sessions, as if its state were older."""
    sessions, engine = role.endpoint.sessions, role.endpoint.engine
    seal_if_due = engine.seal_if_due
    kids = {held.session.kid_in for held in sessions.all()}

    def by_kid(kid: bytes) -> Held | None:
        return None if kid in kids else sessions.by_kid(kid)

    def seal(held: Held, now_ms: int) -> None:
        if held.session.kid_in not in kids:
            seal_if_due(held, now_ms)

    engine.seal_if_due = seal  # type: ignore[method-assign]
    role.endpoint.intake._sessions = SimpleNamespace(by_kid=by_kid)  # type: ignore[assignment]


def counters(role: Role) -> Counter[str]:
    """The durable counters of an endpoint."""
    return Counter(
        dict(role.endpoint.store.read_now(lambda c: c.execute("SELECT name, value FROM counters").fetchall()))
    )


@dataclass
class KeyWatch:
    """Sees every encryption of this process. No key and nonce may serve two different messages."""

    used: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = field(default_factory=dict)

    def install(self, monkeypatch: Any) -> None:
        genuine = Suite.aead

        def aead(suite: Suite, key: bytes) -> Any:
            return _Watched(genuine(suite, key), key, self)

        monkeypatch.setattr(Suite, "aead", aead)

    def note(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> None:
        known = self.used.setdefault((key, nonce), (plaintext, aad))
        assert known == (plaintext, aad), "a key and nonce were used for two messages"


@dataclass
class _Watched:
    cipher: Any
    key: bytes
    watch: KeyWatch

    def encrypt(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        self.watch.note(self.key, nonce, plaintext, aad)
        return bytes(self.cipher.encrypt(nonce, plaintext, aad))

    def decrypt(self, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        return bytes(self.cipher.decrypt(nonce, ciphertext, aad))


class World:
    """An owner, a hub, and endpoints by label. ``executed`` and ``got`` outlive every restart: what really happened."""

    def __init__(self, path: Path, *, speed: float = 1.0) -> None:
        self.path = path
        self.domain = Domain()
        self.hub = MemoryHub(self.domain.root_document)
        self.clock = FastClock(speed)
        self.suite = SUITE_1
        self.members: dict[str, Member] = {}
        self.executed: Counter[bytes] = Counter()
        self.got: list[bytes] = []
        self.identities: Counter[tuple[str, bytes, int]] = Counter()

    def member(self, role: str, label: str) -> Member:
        if label not in self.members:
            self.members[label] = self.domain.member(role, label, suite=self.suite)
        return self.members[label]

    def device(
        self, label: str = "meter", *, tamper: Tamper | None = None, directory: str = "", **options: Any
    ) -> Device:
        member = self.member("device", label)
        options.setdefault("clock", self.clock)
        device = Device(self.path / (directory or label), member, self.hub.carrier(tamper), **options)

        @device.on("valve", scope="valve:write")
        async def valve(command: Message) -> bytes:
            self.executed[command.payload] += 1
            return b"did " + command.payload

        return device

    def application(
        self, label: str = "ops", *, tamper: Tamper | None = None, directory: str = "", **options: Any
    ) -> Application:
        member = self.member("application", label)
        options.setdefault("clock", self.clock)
        options.setdefault("grants", [self.domain.grant(member, "valve:write")])
        return Application(self.path / (directory or label), member, self.hub.carrier(tamper), **options)

    @property
    def meter(self) -> Any:
        return self.member("device", "meter").name

    @property
    def ops(self) -> Any:
        return self.member("application", "ops").name

    async def watch(self, application: Application) -> None:
        """Handle readings as they come: what was handled is in ``got``."""
        async for batch in application.batches():
            for received in batch:
                self.take(received)

    def take(self, received: Received) -> None:
        identity = received.identity
        self.identities[received.peer, identity.session, identity.number] += 1
        self.got.append(received.message.payload)

    @contextlib.asynccontextmanager
    async def watching(self, application: Application) -> AsyncIterator[None]:
        """Handle readings in the background."""
        task = asyncio.create_task(self.watch(application))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def ready(*roles: Role) -> None:
    """Wait until these are published."""
    for role in roles:
        await asyncio.wait_for(role.endpoint.publisher.published(), PATIENCE_S)
