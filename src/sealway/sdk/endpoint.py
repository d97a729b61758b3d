# SPDX-License-Identifier: Apache-2.0
"""An endpoint at work: offers what is sealed, collects and opens what waits, keeps bundles published and receipts flowing.

Invariant: a carrier is told that an envelope arrived only after what it brought is durable; an envelope leaves only after it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sealway.crypto.ports import Random
from sealway.errors import (
    GapTooLarge,
    LocalMisuse,
    NotFound,
    RateLimited,
    SealwayError,
    TransportFailed,
)
from sealway.protocol.events import Event, Unacknowledged
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from sealway.sdk.clock import Clock, SystemClock
from sealway.sdk.directory import Directory
from sealway.sdk.engine import Engine, Received
from sealway.sdk.journal import Journal
from sealway.sdk.kidpool import KidPool
from sealway.sdk.links import Links
from sealway.sdk.member import Member
from sealway.sdk.outbox import Key, Outbox
from sealway.sdk.prekeystore import PrekeyStore
from sealway.sdk.publisher import Publisher
from sealway.sdk.schema import DATABASE, SCRIPTS
from sealway.sdk.sessions import Sessions
from sealway.storage.directory import DirectoryLock
from sealway.storage.store import Store
from sealway.transports.ports import Carrier, Collected, Deposit
from sealway.wire.address import Name
from sealway.wire.envelope import Envelope
from sealway.wire.header import Claims
from sealway.wire.message import FirstIdentity, Message

log = logging.getLogger(__name__)

POLL_S = 25.0
TICK_S = 1.0
PAUSE_S = 1.0
OUTBOX_ENVELOPES = 4_096
OUTBOX_BYTES = 16 << 20


class Endpoint:
    """One end of every sealed message: a device or an application.

    Args:
        directory: the state directory; locked for this process until ``close``.
        member: who this endpoint is.
        carrier: its next hop.
    """

    def __init__(
        self, directory: Path, member: Member, carrier: Carrier, *, consents: Sequence[bytes] = (),
        clock: Clock | None = None, random: Random = os.urandom, policy: Policy = DEFAULT_POLICY,
    ) -> None:  # fmt: skip
        self.member = member
        self.carrier = carrier
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.policy = policy
        self._lock = DirectoryLock(directory, "endpoint")
        try:
            self.store = Store(directory / DATABASE, SCRIPTS, "endpoint")
        except BaseException:
            self._lock.release()
            raise
        kids = KidPool()
        self.journal = Journal(self.store)
        self.outbox = Outbox()
        self.sessions = Sessions(self.journal, kids, policy)
        self.directory = Directory(carrier, member.root, self.journal, self.clock)
        self.engine = Engine(
            self.sessions, self.outbox, self.journal, self.clock, random, policy, self._delivered, self._happened
        )
        self.prekeys = PrekeyStore(member, self.journal, kids)
        self.links = Links(
            member, self.directory, self.prekeys, self.sessions, self.engine,
            self.journal, kids, self.clock, random, policy,
        )  # fmt: skip
        self.publisher = Publisher(member, carrier, self.prekeys, self.journal, self.clock, random, consents)
        self.inbox: deque[Received] = deque()
        self.arrived = asyncio.Event()
        self.events: asyncio.Queue[Event] = asyncio.Queue(1_024)
        self.on_event: Callable[[Event], None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: BaseException | None = None
        self.store.read_now(self._load)

    def _load(self, connection: sqlite3.Connection) -> None:
        now_ms = self.clock.now_ms()
        self.prekeys.load(connection, now_ms // 1_000)
        self.sessions.load(connection)
        self.directory.load(connection)
        self.inbox.extend(self.engine.load(connection, now_ms))

    # life ------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin to publish, offer, collect and look after time."""
        for work in (self._offer_forever, self._collect_forever, self._tick_forever):
            task = asyncio.create_task(self._watched(work), name=work.__name__)
            self._tasks.append(task)

    async def _watched(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.error("endpoint stopped: %s", error)
            self._failed = error
            self.arrived.set()

    async def close(self) -> None:
        """Stop, make durable what is noted, and give the directory free."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(SealwayError):
            await self.journal.commit()
        await self.carrier.close()
        self.store.close()
        self._lock.release()

    def check_alive(self) -> None:
        """Raise what stopped this endpoint, if anything did."""
        if self._failed is not None:
            raise self._failed

    # sending ---------------------------------------------------------------------------------------------------
    async def send(
        self, to: Name, message: Message, *, claims: Claims | None = None, mark: tuple[str, int] | None = None
    ) -> FirstIdentity:
        """Seal a message to a peer and make it durable; it is offered until a sealed receipt covers it.

        Args:
            to: the peer's name.
            claims: what to disclose to hops, authenticated.
            mark: a name and a number to store with the message, e.g. how far an input was read.

        Raises:
            TransportFailed: there is no session and none can be begun now.
            NotTrusted: what the directory serves is not that peer's.
            StateLost: the state could not be written.
        """
        await self._room()
        held = await self.links.with_peer(to)
        identity = self.engine.seal(held, self._stamped(message), claims=claims)
        if mark is not None:
            self.note_mark(*mark)
        await self.journal.commit()
        return identity

    async def reply(self, received: Received, answer: Message) -> None:
        """Seal an answer in the session of its request, or in a newer one, and note the request as handled."""
        held = self.sessions.by_hash(received.via)
        if held is None or held.session.stopped is not None:
            held = await self.links.with_peer(Name.parse(received.peer))
        self.engine.seal(held, self._stamped(answer))
        self.note_handled(received)
        await self.journal.commit()

    def note_mark(self, name: str, value: int) -> None:
        """Store a number under a name with the present group."""
        self.journal.note("INSERT OR REPLACE INTO marks VALUES (?, ?)", name, value)

    async def mark(self, name: str, default: int = 0) -> int:
        """Return a number that was stored with a message."""
        row = await self.store.read(lambda c: c.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone())
        return int(row[0]) if row is not None else default

    def _stamped(self, message: Message) -> Message:
        return replace(message, sent_at=self.clock.now_ms()) if message.sent_at is None else message

    async def _room(self) -> None:
        """Wait until the outbox has room: the sender is slowed to the pace of the hops."""
        while len(self.outbox) >= OUTBOX_ENVELOPES or self.outbox.size >= OUTBOX_BYTES:
            self.check_alive()
            await asyncio.sleep(0.05)

    async def _offer_forever(self) -> None:
        while True:
            now_ms = self.clock.now_ms()
            batch = self.outbox.due(now_ms)
            if not batch:
                await self._wait_for_due(now_ms)
                continue
            await self._offer(batch)

    async def _wait_for_due(self, now_ms: int) -> None:
        self.outbox.wake.clear()
        due = self.outbox.next_due_ms()
        seconds = POLL_S if due is None else max(0.0, (due - now_ms) / 1_000)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.outbox.wake.wait(), seconds)

    async def _offer(self, batch: list[tuple[Key, Deposit]]) -> None:
        keys = [key for key, _ in batch]
        try:
            verdicts = await self.carrier.deposit([deposit for _, deposit in batch])
        except SealwayError as error:
            self._refused(keys, error)
            return
        now_ms = self.clock.now_ms()
        for key, verdict in zip(keys, verdicts, strict=True):
            if verdict.accepted:
                self.outbox.accepted(key, now_ms)
            else:
                self.journal.count(f"deposit_refused_{verdict.status}")
                self.outbox.failed(key, now_ms)
                if verdict.status == 404:
                    self.publisher.check_soon()

    def _refused(self, keys: list[Key], error: SealwayError) -> None:
        log.warning("the hop did not take %d envelopes: %s", len(keys), error)
        self.journal.count("deposits_failed")
        if isinstance(error, NotFound):
            self.publisher.check_soon()
        for key in keys:
            self.outbox.failed(key, self.clock.now_ms())

    # receiving -------------------------------------------------------------------------------------------------
    async def _collect_forever(self) -> None:
        mailbox = self.member.mailbox.mailbox
        while True:
            try:
                await self.publisher.published()
                collected = await self.carrier.collect([mailbox], wait=POLL_S)
            except SealwayError as error:
                log.warning("nothing could be collected: %s", error)
                if isinstance(error, NotFound):
                    self.publisher.check_soon()
                await asyncio.sleep(PAUSE_S)
                continue
            await self._receive(collected)

    async def _receive(self, collected: list[Collected]) -> None:
        settled: list[Collected] = []
        for item in collected:
            if await self._receive_one(item):
                settled.append(item)
        await self.journal.commit()
        if len(settled) < len(collected):
            await asyncio.sleep(PAUSE_S)  # the others come again
        if settled:
            try:
                await self.carrier.acknowledge(settled)
            except SealwayError as error:
                log.warning("the hop was not told what arrived: %s", error)  # it brings it again: Replayed

    async def _receive_one(self, item: Collected) -> bool:
        """Open one envelope; return whether the hop may forget it."""
        try:
            envelope = Envelope.decode(item.envelope)
            await self._open(envelope)
        except (GapTooLarge, RateLimited, TransportFailed) as error:
            self._count_refusal(error)
            return False
        except SealwayError as error:
            self._count_refusal(error)
            log.info("an envelope was refused: %s", error)
            return True
        await self._move_gone()
        return True

    async def _open(self, envelope: Envelope) -> None:
        if envelope.start is not None:
            await self.links.open_start(envelope, envelope.start)
            return
        held = self.sessions.by_kid(envelope.kid)
        if held is None:
            self.journal.count("refused_unknown_kid")
            raise LocalMisuse("an envelope for a session that is not known here")
        self.engine.open(held, envelope)

    def _count_refusal(self, error: SealwayError) -> None:
        self.journal.count(f"refused_{type(error).__name__}")

    def _delivered(self, received: Received) -> None:
        self.inbox.append(received)
        self.arrived.set()

    async def next_received(self) -> Received:
        """Return the next message that was opened and not handled yet, in the order of opening."""
        while not self.inbox:
            self.check_alive()
            self.arrived.clear()
            await self.arrived.wait()
        self.check_alive()
        return self.inbox.popleft()

    def note_handled(self, received: Received) -> None:
        """Note that a message need not be offered to its handler again."""
        self.journal.note("UPDATE inbox SET message = NULL WHERE id = ?", received.row)

    # time ------------------------------------------------------------------------------------------------------
    async def _tick_forever(self) -> None:
        while True:
            now_ms = self.clock.now_ms()
            self.engine.seal_due_receipts(now_ms)
            self.engine.look(now_ms)
            self._report_unacknowledged(now_ms)
            self._close_idle(now_ms)
            await self._leave_stopped()
            await self.journal.commit()
            await self.publisher.look()
            await asyncio.sleep(TICK_S)

    def _report_unacknowledged(self, now_ms: int) -> None:
        for held in self.sessions.all():
            late = held.session.unacknowledged(now_ms)
            if late and late[0][0] not in held.reported:
                held.reported.add(late[0][0])
                self._happened(Unacknowledged(held.session.peer, held.session.hash, late))

    def _close_idle(self, now_ms: int) -> None:
        for held in self.sessions.all():
            session = held.session
            current = self.sessions.sending_to(session.peer)
            idle = now_ms - max(session.heard_ms, session.created_ms, session.stepped_ms) > self.policy.held_for_ms
            if idle and current is not held:
                self.sessions.close(held, now_ms)

    async def _leave_stopped(self) -> None:
        """Take the unacknowledged messages of a stopped session along into a new one."""
        for held in self.sessions.all():
            session = held.session
            if session.stopped is None or held.left:
                continue
            self.outbox.drop_session(session.hash)
            rows = await self._unacknowledged_rows(session.hash, 0, session.send.next_number)
            try:
                target = await self.links.with_peer(Name.parse(session.peer)) if rows else None
            except SealwayError as error:
                log.warning("no new session with %s yet: %s", session.peer, error)
                continue
            if target is not None:
                self.engine.move(held, target, rows)
            held.left = True

    async def _move_gone(self) -> None:
        while self.engine.gone:
            held, ranges = self.engine.gone.pop()
            await self.journal.commit()
            for first, last in ranges:
                rows = await self._unacknowledged_rows(held.session.hash, first, last)
                self.engine.move(held, held, rows)

    async def _unacknowledged_rows(
        self, digest: bytes, first: int, last: int
    ) -> list[tuple[int, bytes, bytes | None, int | None]]:
        query = (
            "SELECT number, message, first_session, first_number FROM sent"
            " WHERE session = ? AND number BETWEEN ? AND ? AND message IS NOT NULL ORDER BY number"
        )
        return await self.store.read(lambda c: c.execute(query, (digest, first, last)).fetchall())

    def _happened(self, event: Event) -> None:
        self.journal.count(f"event_{type(event).__name__}")
        if self.on_event is not None:
            self.on_event(event)
        if self.events.full():
            self.events.get_nowait()
        self.events.put_nowait(event)
