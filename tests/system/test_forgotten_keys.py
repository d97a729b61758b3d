# SPDX-License-Identifier: Apache-2.0
"""Forgotten keys are gone from the disk: after 5 seconds, 1 000 messages, or the close. docs/adr/0016."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealway.protocol.sealed_file import new_file_key
from sealway.protocol.session import Session
from sealway.protocol.snapshot import snapshot
from sealway.sdk import engine, journal
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.role import Role
from sealway.sdk.schema import ONE_TIME, SIGNED_PREKEY
from sealway.vault.vault import Vault
from sealway.wire.message import CODE_POST, FileKey, Message
from tests.system.world import KeyWatch, World, kill, ready, until
from tests.vault.thief import Thief, raw_bytes, stored_secrets

NEVER = 1 << 60
Ends = tuple[Path, Path]


def secrets_of(session: Session) -> Iterator[bytes]:
    """Yield every secret of a session that a later message or epoch replaces."""
    yield session.root
    sending = session.send.epoch
    if sending is not None:
        yield from (sending.x_secret.reveal(), sending.reseed_root, sending.chain or b"")
    for epoch in session.receive.epochs:
        yield from (epoch.reseed_root, *epoch.skipped_roots.values())
        for chain in epoch.chains:
            yield from (chain.key or b"", *chain.skipped.values())


class Witness:
    """Remembers every secret that was in a state when it was written, and every message key."""

    def __init__(self, keys: KeyWatch) -> None:
        self._keys = keys
        self._seen: dict[bytes, None] = {}
        self.file_keys: list[bytes] = []

    def listen(self, monkeypatch: Any) -> None:
        wrap = Vault.wrap

        def watched(session: Session, **options: Any) -> bytes:
            self._seen |= dict.fromkeys(secrets_of(session))
            return snapshot(session, **options)

        def wrapped(vault: Vault, slot: int, kind: bytes, value: bytes) -> bytes:
            if kind in (SIGNED_PREKEY, ONE_TIME):  # perhaps with the seed of an ML-KEM key behind it
                self._seen |= dict.fromkeys((value[:32], value[32:]))
            return wrap(vault, slot, kind, value)

        def drawn(*arguments: Any) -> FileKey:
            key = new_file_key(*arguments)
            self.file_keys.append(key.key)
            return key

        monkeypatch.setattr(journal, "snapshot", watched)
        monkeypatch.setattr(engine, "new_file_key", drawn)
        monkeypatch.setattr(Vault, "wrap", wrapped)

    def seen(self) -> set[bytes]:
        """Return every secret until now; none is too short to be looked for."""
        message_keys = {key for key, _ in self._keys.used}
        return {secret for secret in {*self._seen, *self.file_keys, *message_keys} if secret}

    def forgotten(self, *directories: Path) -> set[bytes]:
        """Return those that no row of these states holds any more."""
        present = b"\0".join(secret for directory in directories for secret in stored_secrets(directory))
        return {secret for secret in self.seen() if secret not in present}


@pytest.fixture
def thief(monkeypatch: pytest.MonkeyPatch) -> Thief:
    thief = Thief()
    thief.listen(monkeypatch)
    return thief


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch, keys: KeyWatch, thief: Thief) -> Witness:
    witness = Witness(keys)
    witness.listen(monkeypatch)
    return witness


@pytest.fixture
def ends(fast: World) -> Ends:
    return fast.path / "meter", fast.path / "ops"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Where a thief takes what he copies."""
    path = tmp_path / "copies"
    path.mkdir()
    return path


def found(thief: Thief, directory: Path, secrets: set[bytes], copies: Path) -> set[bytes]:
    """Return which of these secrets a thief gets out of a copy of the directory that is made now."""
    copy = copies / f"copy-{len(list(copies.iterdir()))}"
    shutil.copytree(directory, copy)
    raw, opened = raw_bytes(copy), b"\0".join(thief.reads(copy))
    return {secret for secret in secrets if secret in raw or secret in opened}


async def talk(world: World, meter: Role, ops: Role, *, readings: int = 200) -> None:
    """Readings one way and replies the other, so that both ends step; a file, with a key of its own."""
    await ready(meter, ops)
    for n in range(readings):
        await meter.endpoint.send(world.ops, Message(CODE_POST, ("readings",), payload=b"%d" % n))
        if n % 5 == 0:
            await ops.endpoint.send(world.meter, Message(CODE_POST, ("words",), payload=b"%d" % n))
    sealed, opened = io.BytesIO(), io.BytesIO()
    await meter.seal_file(world.ops, io.BytesIO(b"content"), sealed)
    await ops.open_file(io.BytesIO(sealed.getvalue()), opened)
    assert opened.getvalue() == b"content"
    await until(lambda: not meter.endpoint.outbox and not ops.endpoint.outbox, "all is acknowledged")
    for role in (meter, ops):
        await role.endpoint.journal.commit()


async def look(*endpoints: Endpoint) -> None:
    """What an endpoint does once a second."""
    for endpoint in endpoints:
        await endpoint.tick()


async def test_five_seconds_later_no_forgotten_key_is_in_a_copy(
    fast: World, ends: Ends, copies: Path, monkeypatch: pytest.MonkeyPatch, witness: Witness, thief: Thief
) -> None:
    """Steps, skipped keys, a file key, spent one-time keys; the control finds them before."""
    monkeypatch.setattr(journal, "PERIOD_MESSAGES", NEVER)
    usual = journal.PERIOD_MS
    monkeypatch.setattr(journal, "PERIOD_MS", NEVER)
    async with fast.device() as meter, fast.application() as ops:
        await talk(fast, meter, ops)
        forgotten = witness.forgotten(*ends)
        assert len(forgotten) > 200 and set(witness.file_keys) < forgotten
        for label in ("meter", "ops"):
            before = found(thief, fast.path / label, forgotten, copies)
            assert len(before) > 50, "the search finds what was not forgotten yet"
            assert set(witness.file_keys) <= before
        monkeypatch.setattr(journal, "PERIOD_MS", usual)
        fast.clock.turn(5)
        await look(meter.endpoint, ops.endpoint)
        for role, label in ((meter, "meter"), (ops, "ops")):
            assert not found(thief, fast.path / label, forgotten, copies)
            kept = {own.signed_prekey.reveal() for own in role.endpoint.prekeys._bundles.values()}
            assert kept <= {secret[:32] for secret in stored_secrets(fast.path / label)}, "what is needed is there"


async def test_a_thousand_messages_later_no_forgotten_key_is_in_a_copy(
    fast: World, ends: Ends, copies: Path, monkeypatch: pytest.MonkeyPatch, witness: Witness, thief: Thief
) -> None:
    monkeypatch.setattr(journal, "PERIOD_MS", NEVER)
    async with fast.device() as meter, fast.application() as ops:
        await talk(fast, meter, ops, readings=100)
        forgotten = witness.forgotten(*ends)
        assert len(found(thief, fast.path / "meter", forgotten, copies)) > 50
        for _ in range(20):
            group = [Message(CODE_POST, ("readings",), payload=b"x") for _ in range(50)]
            await meter.endpoint.send_all(fast.ops, group)
        await until(lambda: not meter.endpoint.outbox)
        for label in ("meter", "ops"):
            assert not found(thief, fast.path / label, forgotten, copies)


async def test_closed_no_forgotten_key_is_in_a_copy(
    fast: World, ends: Ends, copies: Path, monkeypatch: pytest.MonkeyPatch, witness: Witness, thief: Thief
) -> None:
    """After each close, over several openings with their reseeds."""
    monkeypatch.setattr(journal, "PERIOD_MESSAGES", NEVER)
    monkeypatch.setattr(journal, "PERIOD_MS", NEVER)
    for _ in range(3):
        async with fast.device() as meter, fast.application() as ops:
            await talk(fast, meter, ops, readings=20)
        for label in ("meter", "ops"):
            assert not found(thief, fast.path / label, witness.forgotten(*ends), copies)


async def test_closed_sessions_and_discarded_prekeys_are_gone(
    fast: World, ends: Ends, copies: Path, witness: Witness, thief: Thief
) -> None:
    async with fast.device() as meter, fast.application() as ops:
        await talk(fast, meter, ops, readings=5)
    held_before = {secret for secret in witness.seen() if any(secret in value for value in stored_secrets(ends[0]))}
    meter = fast.device()  # not started: nothing else happens in it
    endpoint = meter.endpoint
    for held in list(endpoint.sessions.all()):
        endpoint.sessions.close(held, fast.clock.now_ms())
    endpoint.prekeys.discard_all()
    await meter.close()
    assert list(stored_secrets(ends[0])) == []
    assert len(held_before) > 60 and not found(thief, ends[0], held_before, copies)


async def test_a_killed_process_forgets_when_the_directory_is_opened(
    fast: World, ends: Ends, copies: Path, monkeypatch: pytest.MonkeyPatch, witness: Witness, thief: Thief
) -> None:
    monkeypatch.setattr(journal, "PERIOD_MESSAGES", NEVER)
    monkeypatch.setattr(journal, "PERIOD_MS", NEVER)
    async with fast.application() as ops:
        meter = await fast.device().__aenter__()
        await talk(fast, meter, ops, readings=50)
        await kill(meter)
        assert len(found(thief, fast.path / "meter", witness.forgotten(*ends), copies)) > 20
        again = fast.device()  # what was not committed never was
        assert not found(thief, fast.path / "meter", witness.forgotten(*ends), copies)
        async with again:
            await talk(fast, again, ops, readings=5)


async def test_without_the_end_of_periods_the_search_finds_everything(
    fast: World, ends: Ends, copies: Path, monkeypatch: pytest.MonkeyPatch, witness: Witness, thief: Thief
) -> None:
    """The control: the keys that protect the stored values stay in place."""
    monkeypatch.setattr(journal.Journal, "_is_period_over", lambda self: False)
    async with fast.device() as meter, fast.application() as ops:
        await talk(fast, meter, ops)
        fast.clock.turn(60)
        await look(meter.endpoint, ops.endpoint)
    assert len(found(thief, fast.path / "meter", witness.forgotten(*ends), copies)) > 100
