# SPDX-License-Identifier: Apache-2.0
"""Many sessions at one endpoint: few in memory, none lost, none used twice. docs/adr/0017."""

from __future__ import annotations

import gc
import hashlib
import logging
from pathlib import Path

import pytest

from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.sentlog import SentLog, Uptime
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore, snapshot
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.sessions import Held
from sealway.transports.memory import MemoryHub
from sealway.transports.ports import Collected
from sealway.wire.header import StartHeader
from sealway.wire.message import CODE_POST, Message
from tests.protocol.session_pair import START_MS, talking
from tests.system.domain import Domain

COUNT = 40
PEER = "sealway://building.example/device/meter-{:06}"


@pytest.fixture(autouse=True)
def _keep_no_errors(caplog: pytest.LogCaptureFixture) -> None:
    """A log record that is kept keeps an error, that its traceback, and that the session in which it came up."""
    caplog.set_level(logging.ERROR, "sealway")


class Many:
    """An endpoint with many sessions, and the other end of each."""

    def __init__(self, path: Path, in_memory: int) -> None:
        self._domain = Domain()
        self._member = self._domain.member("application", "ops")
        self._path, self._in_memory = path, in_memory
        sender, self._receiver = talking()
        self._random, self._state = sender.random, snapshot(sender.session)
        self._senders: dict[int, Session] = {}
        self._collected = 0
        self.endpoint = self._opened()

    def _opened(self) -> Endpoint:
        carrier = MemoryHub(self._domain.root_document).carrier()
        return Endpoint(self._path, self._member, carrier, sessions_in_memory=self._in_memory)

    async def reopen(self) -> None:
        """Begin anew from the disk."""
        await self.endpoint.close()
        self.endpoint = self._opened()

    async def fill(self, *indexes: int) -> None:
        """Add sessions in the middle of their lives; as many as usual, if none are named."""
        for index in indexes or range(COUNT):
            session = restore(snapshot(self._receiver.session), SentLog(), DEFAULT_POLICY, reopened=False)
            session.hash = hashlib.sha256(b"%d" % index).digest()
            session.peer, session.kid_in = PEER.format(index), self.kid(index)
            held = Held(session, "", b"", bytes(32))
            self.endpoint.sessions.add(held)
            self.endpoint.sessions.send_on(held)
            await self.endpoint.journal.commit()

    @staticmethod
    def kid(index: int) -> bytes:
        """What a session is found by."""
        return b"k%02d" % index

    def sealed(self, index: int) -> Collected:
        """What the other end of a session seals next."""
        if index not in self._senders:
            self._senders[index] = restore(self._state, SentLog(), DEFAULT_POLICY, reopened=False)
            self._senders[index].kid_out = self.kid(index)
        message = Message(CODE_POST, ("readings",), payload=b"%d" % index, sent_at=START_MS)
        sealed = self._senders[index].seal(
            message, now_ms=START_MS, uptime=Uptime(bytes(16), 0), random=self._random
        )  # fmt: skip
        self._collected += 1
        return Collected("ops", self._collected, sealed.envelope)

    @property
    def opened(self) -> int:
        """How many messages were opened."""
        query = "SELECT value FROM counters WHERE name = 'opened'"
        return int(self.endpoint.store.ask(query)[0][0])

    def alive(self) -> int:
        """How many of its sessions are in memory as objects."""
        gc.collect()
        names = {PEER.format(index) for index in range(COUNT)}
        return sum(isinstance(each, Session) and each.peer in names for each in gc.get_objects())


async def many(path: Path, in_memory: int) -> Many:
    made = Many(path, in_memory)
    await made.fill()
    return made


@pytest.mark.parametrize("in_memory", [1, 2, 10, 1_000])
async def test_every_session_opens_what_comes_however_few_are_in_memory(tmp_path: Path, in_memory: int) -> None:
    at = await many(tmp_path, in_memory)
    for _ in range(3):
        batch = [at.sealed(index) for index in range(COUNT)]
        assert len(await at.endpoint.take_in(batch)) == COUNT
        assert len(await at.endpoint.take_in(batch)) == COUNT  # replays
        assert at.alive() <= max(in_memory, 1)
        await at.reopen()
    assert at.opened == 3 * COUNT
    assert at.endpoint.store.ask("SELECT value FROM counters WHERE name = 'refused_Replayed'") == [(3 * COUNT,)]
    await at.endpoint.close()


async def test_of_a_session_that_somebody_holds_there_is_no_second_object(tmp_path: Path) -> None:
    at = await many(tmp_path, 1)
    sessions = at.endpoint.sessions
    first = sessions.by_kid(at.kid(0))
    assert first is not None
    for index in range(1, COUNT):
        sessions.by_kid(at.kid(index))
    assert sessions.by_kid(at.kid(0)) is first and sessions.by_hash(first.session.hash) is first
    await at.endpoint.close()


async def test_what_is_not_durable_yet_stays_in_memory(tmp_path: Path) -> None:
    at = await many(tmp_path, 1)
    batch = [at.sealed(index) for index in range(COUNT)]
    await at.endpoint.intake.open_all(batch)  # and no commit
    assert at.endpoint.sessions.cache.ready == COUNT
    await at.endpoint.journal.commit()
    assert at.endpoint.sessions.cache.ready == 1 and at.alive() == 1
    await at.endpoint.close()


@pytest.mark.parametrize("in_memory", [1, COUNT])
async def test_a_session_reseeds_once_after_an_opening_and_not_again_when_it_comes_back(
    tmp_path: Path, in_memory: int
) -> None:
    at = await many(tmp_path, in_memory)
    await at.reopen()
    reseeds: list[int] = []
    firsts: dict[int, int] = {}
    for _ in range(3):
        for index in range(3):
            held = at.endpoint.sessions.by_kid(at.kid(index))
            assert held is not None
            firsts.setdefault(index, held.session.send.next_number)
            at.endpoint.engine.seal(held, Message(CODE_POST, ("x",)))
            await at.endpoint.journal.commit()
            epoch = held.session.send.epoch
            assert epoch is not None and not held.session.send.must_reseed
            reseeds.append(epoch.j)
            assert held.resumed_at == firsts[index]
        del held
    assert len(set(reseeds)) == 1
    await at.endpoint.close()


async def test_what_is_due_is_found_without_making_the_others(tmp_path: Path) -> None:
    at = await many(tmp_path, 1)
    await at.endpoint.tick()
    await at.endpoint.take_in([at.sealed(7)])
    held = at.endpoint.sessions.by_kid(at.kid(7))
    assert held is not None
    held.session.clock.due_ms = 1  # a receipt
    at.endpoint.sessions.touch(held)
    await at.endpoint.journal.commit()
    sealed = held.session.send.next_number
    del held
    before = at.endpoint.sessions.cache.thawed
    for _ in range(5):
        await at.endpoint.tick()
    assert at.endpoint.sessions.cache.thawed - before <= 2
    held = at.endpoint.sessions.by_kid(at.kid(7))
    assert held is not None and held.session.send.next_number == sealed + 1
    await at.endpoint.close()


async def test_a_peer_whose_stopped_session_was_forgotten_is_not_sent_to_on_another_peer_s(tmp_path: Path) -> None:
    """What is left of the first peer, and of its start, names a row that is gone: no later session may take its
    place."""
    at = Many(tmp_path, 10)
    await at.fill(0, 1)
    stopped = at.endpoint.sessions.by_kid(at.kid(1))
    assert stopped is not None
    header = StartHeader(bytes(32), bytes(32), b"k", bytes(32), None)
    at.endpoint.sessions.record_start(header, stopped, b"bundle")
    stopped.session.stopped = "its state was forked"
    at.endpoint.sessions.close(stopped, START_MS)
    await at.endpoint.journal.commit()
    at.endpoint.sessions.forget(START_MS + 1)
    await at.reopen()
    await at.fill(2)
    sessions = at.endpoint.sessions
    assert sessions.sending_to(PEER.format(1)) is None
    assert sessions.started_by(header) == (True, None)
    other = sessions.sending_to(PEER.format(2))
    assert other is not None and other.session.peer == PEER.format(2)
    await at.endpoint.close()


async def test_what_waits_to_be_handled_is_in_memory_once(tmp_path: Path) -> None:
    at = Many(tmp_path, 10)
    await at.fill(0)
    await at.endpoint.take_in([at.sealed(0)])
    for _ in range(2):  # as it came, and read from the disk
        waiting = await at.endpoint.inbox.next()
        message, said = waiting.message, vars(waiting.message)
        assert message.payload == b"0"
        assert not any(isinstance(v, bytes) and v is not message.payload and b"readings" in v for v in said.values())
        assert message.encode_once() in said.values()  # where it would have been
        await at.reopen()
    await at.endpoint.close()


async def test_who_still_holds_a_closed_session_writes_and_revives_nothing(tmp_path: Path) -> None:
    """As who moves its messages may, who was waiting for something when time closed it."""
    at = Many(tmp_path, 10)
    await at.fill(0, 1)
    sessions, journal = at.endpoint.sessions, at.endpoint.journal
    closed = sessions.by_kid(at.kid(1))
    assert closed is not None
    sessions.close(closed, START_MS)
    for _ in range(2):  # in the group that closes it, and in a later one
        sessions.left(closed)
        assert not journal._dirty
        await journal.commit()
        assert sessions.by_kid(at.kid(1)) is None
    await at.endpoint.close()


async def test_a_session_does_not_show_its_keys(tmp_path: Path) -> None:
    at = await many(tmp_path, 10)
    held = at.endpoint.sessions.by_kid(at.kid(0))
    assert held is not None and held.saved
    assert "saved" not in repr(held) and repr(held.session.root)[2:-1] not in repr(held)
    await at.endpoint.close()
