# SPDX-License-Identifier: Apache-2.0
"""An endpoint at work: offers what is sealed, collects and opens what waits, keeps bundles published and receipts
flowing.

Invariant: a carrier is told that an envelope arrived only after what it brought is durable; an envelope leaves only
after it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

from sealway.crypto.ports import Random
from sealway.errors import (
    Closed,
    HopRefused,
    NotFound,
    NotTrusted,
    PeerMisbehaved,
    SealwayError,
    StateLost,
)
from sealway.protocol.events import Event
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from sealway.sdk.backlog import Backlog, Unread
from sealway.sdk.clock import Clock, SystemClock
from sealway.sdk.directory import Directory
from sealway.sdk.engine import Engine
from sealway.sdk.evidence import Evidence, Listener
from sealway.sdk.happenings import Happenings
from sealway.sdk.inbox import Inbox, Received
from sealway.sdk.intake import Intake
from sealway.sdk.journal import Journal
from sealway.sdk.kidpool import KidPool
from sealway.sdk.links import Links
from sealway.sdk.member import Member
from sealway.sdk.mover import Mover
from sealway.sdk.opening import open_state
from sealway.sdk.outbox import Key, Outbox
from sealway.sdk.prekeystore import PrekeyStore
from sealway.sdk.publisher import Publisher
from sealway.sdk.sessions import IN_MEMORY, Leaving, Sessions
from sealway.sdk.upkeep import Upkeep
from sealway.storage.closing import to_the_end
from sealway.storage.directory import DirectoryLock
from sealway.transports.ports import Carrier, Collected, Deposit
from sealway.wire.address import Name
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
        max_silence: declared to peers, who report Silent when nothing came for longer; this end sends a sign of life
        in time.
        sessions_in_memory: how many sessions are kept in memory while nothing is done with them; the others are on the
        disk only.

    Raises:
        LocalMisuse, NotAuthorized: another process uses the directory; a device was reset or stopped meanwhile.
        StateLost: the state cannot be opened or is damaged.
    """

    def __init__(
        self, directory: Path, member: Member, carrier: Carrier, *, consents: Sequence[bytes] = (),
        clock: Clock | None = None, random: Random = os.urandom, policy: Policy = DEFAULT_POLICY,
        max_silence: timedelta | None = None, sessions_in_memory: int = IN_MEMORY,
    ) -> None:  # fmt: skip
        self.member = member
        self.carrier = carrier
        self.clock: Clock = clock if clock is not None else SystemClock()
        self._lock = DirectoryLock(directory, "endpoint")
        with contextlib.ExitStack() as opened:
            opened.callback(self._lock.release)
            member.demand_still()  # a reset takes this lock too: it was before, and is seen, or comes after the close
            self.store, self._vault = open_state(directory, random)
            opened.callback(self.store.close)
            self._assemble(consents, random, policy, max_silence, sessions_in_memory)
            self.store.read_now(self._load)
            opened.pop_all()

    def _assemble(
        self, consents: Sequence[bytes], random: Random, policy: Policy, max_silence: timedelta | None,
        sessions_in_memory: int,
    ) -> None:  # fmt: skip
        kids, member, carrier, clock = KidPool(), self.member, self.carrier, self.clock
        silence = max(1, int(max_silence.total_seconds())) if max_silence is not None else None
        self.journal = Journal(self.store, self._vault, lambda: clock.uptime().ms)
        self.evidence = Evidence()
        self.outbox = Outbox(policy)
        self.sessions = Sessions(self.journal, kids, policy, self.store.ask, random, in_memory=sessions_in_memory)
        self.directory = Directory(carrier, member.root, self.journal, clock, self.evidence, self.store.ask)
        self.inbox = Inbox(self.store)
        self.engine = Engine(
            self.sessions, self.outbox, self.journal, clock, random, policy, self.evidence, self.inbox.offer_all,
            self.happened, silence,
        )  # fmt: skip
        self.prekeys = PrekeyStore(member, self.journal, kids, policy)
        self.links = Links(
            member, self.directory, self.prekeys, self.sessions, self.engine, self.journal, kids, clock, random, policy
        )
        self.mover = Mover(self.sessions, self.links, self.engine, clock, policy)
        self.publisher = Publisher(member, carrier, self.prekeys, self.journal, clock, random, consents, self.evidence)
        self.publisher.on_lost = lambda: self.sessions.stop_all("this state is a copy, or was restored")
        self.publisher.on_forgotten = self.sessions.leave_unanswered
        self.intake = Intake(self.sessions, self.links, self.engine, self.journal, self.evidence)
        self.upkeep = Upkeep(self.sessions, self.prekeys, self.engine, clock, policy)
        self.events = Happenings()
        self.backlog = Backlog(self.store, self._unread)
        self.on_event: Callable[[Event], None] | None = None
        self.on_failure: Callable[[BaseException], None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: BaseException | None = None
        self._hop_failed = False
        self._closing: asyncio.Task[None] | None = None

    def _load(self, connection: sqlite3.Connection) -> None:
        try:
            self.prekeys.load(connection, self.clock.now_ms() // 1_000)
            self.sessions.load(connection, self.engine.max_silence_s)
            self.directory.load(connection)
            self.engine.load(connection)
            self.publisher.load(connection)
        except (PeerMisbehaved, NotTrusted, ValueError, TypeError) as damage:
            raise StateLost(
                f"the state is damaged: {damage}", hint="move the directory away and begin anew"
            ) from damage

    @property
    def on_refused(self) -> Listener | None:
        """Called with the digest (first 16 hex of SHA-256) of each envelope, or answer of the directory, that was
        refused, and the typed error. Set it before ``start``."""
        return self.evidence.listener

    @on_refused.setter
    def on_refused(self, listener: Listener | None) -> None:
        self.evidence.listener = listener

    # life ------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin to publish, offer, collect and look after time."""
        for work in (self._offer_forever, self._collect_forever, self._tick_forever, self._keep_forever):
            task = asyncio.create_task(self._watched(work), name=work.__name__)
            self._tasks.append(task)

    async def _watched(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.exception("endpoint stopped")
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Stop working: from now on every call here raises ``error``."""
        self._failed = error
        self.inbox.fail(error)
        self.events.fail(error)
        if self.on_failure is not None:
            self.on_failure(error)

    async def close(self) -> None:
        """Stop, make durable what is noted, and give the directory free; whoever waits here gets Closed.

        A cancellation is raised after that. Calls after the first only wait for it.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="close")
        await to_the_end(self._closing)

    async def _close(self) -> None:
        if self._failed is None:
            self.fail(Closed("this endpoint was closed", hint="what was under way goes on when it is opened again"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            with contextlib.suppress(SealwayError):
                await self.journal.close()
            await self.carrier.close()
        finally:
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
            TooLarge: no envelope holds it.
            Closed: this endpoint was closed.

        Cancelled, the message was either not sealed at all, or it is on its way as if nothing had been cancelled.
        """
        return (await self.send_all(to, (message,), claims=claims, mark=mark))[0]

    async def send_all(
        self, to: Name, messages: Sequence[Message], *, claims: Claims | None = None,
        mark: tuple[str, int] | None = None,
    ) -> list[FirstIdentity]:  # fmt: skip
        """Seal messages, in this order, and make them durable in one commit; as ``send``. If one cannot be sealed,
        those before it go all the same."""
        await self.room()
        held = await self.links.with_peer(to)
        self.check_alive()
        identities = [self.engine.seal(held, self._stamped(message), claims=claims) for message in messages]
        if mark is not None:
            self.note_mark(*mark)
        await self.journal.commit()
        return identities

    async def reply(self, received: Received, answer: Message) -> None:
        """Seal an answer in the session of its request, or in a newer one, and note the request as handled.

        Raises:
            RateLimited: too much is unacknowledged; to be tried again later.
            TransportFailed, NotTrusted: there is no session, and none can be begun now.
        """
        theirs = lambda: (held.session.hash for held in self.sessions.with_peer(received.peer))  # noqa: E731
        self.outbox.demand_room(theirs, OUTBOX_ENVELOPES, OUTBOX_BYTES)
        held = self.sessions.by_hash(received.via)
        if held is None or held.session.stopped is not None or held.leaving is not Leaving.NO:
            held = await self.links.with_peer(Name.parse(received.peer))
        self.engine.seal(held, self._stamped(answer))
        self.note_handled(received)
        await self.journal.commit()

    def note_handled(self, received: Received) -> None:
        """Note that a message need not be offered to its handler again."""
        self.journal.note("UPDATE inbox SET message = NULL WHERE id = ?", received.row)

    def note_mark(self, name: str, value: int) -> None:
        """Store a number under a name with the present group."""
        self.journal.note("INSERT OR REPLACE INTO marks VALUES (?, ?)", name, value)

    async def mark(self, name: str, default: int = 0) -> int:
        """Return a number that was stored with a message."""
        row = await self.store.read(lambda c: c.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone())
        return int(row[0]) if row is not None else default

    def _stamped(self, message: Message) -> Message:
        return message.sent(self.clock.now_ms()) if message.sent_at is None else message

    async def room(self) -> None:
        """Wait until the outbox has room: the sender is slowed to the pace of the hops. Raises what stopped this
        endpoint."""
        self.check_alive()
        while len(self.outbox) >= OUTBOX_ENVELOPES or self.outbox.size >= OUTBOX_BYTES:
            await asyncio.sleep(0.05)
            self.check_alive()

    async def _offer_forever(self) -> None:
        while True:
            now_ms = self.clock.uptime().ms
            batch = self.outbox.due(now_ms)
            if batch:
                await self._offer(batch)
            else:
                await self._wait_for_due(now_ms)

    async def _wait_for_due(self, now_ms: int) -> None:
        self.outbox.wake.clear()
        due = self.outbox.next_due_ms()
        seconds = POLL_S if due is None else min(TICK_S, max(0.0, (due - now_ms) / 1_000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for of Python 3.11 may swallow a cancellation
                await self.outbox.wake.wait()

    async def _offer(self, batch: list[tuple[Key, Deposit]]) -> None:
        keys = [key for key, _ in batch]
        try:
            verdicts = await self.carrier.deposit([deposit for _, deposit in batch])
        except SealwayError as error:
            self._refused(keys, error)
            return
        self._hop_answers()
        now_ms = self.clock.uptime().ms
        for key, verdict in zip(keys, verdicts, strict=True):
            if verdict.accepted:
                self.outbox.accepted(key, now_ms)
                self.sessions.offered(key[0], self.clock.now_ms())
            else:
                self.journal.count(f"deposit_refused_{verdict.status}")
                self.outbox.failed(key, now_ms)
                if verdict.status == 404:
                    self.publisher.check_soon()

    def _refused(self, keys: list[Key], error: SealwayError) -> None:
        log.warning("the hop did not take %d envelopes: %s", len(keys), error)
        self._hop_failed = True
        self.journal.count("deposits_failed")
        if isinstance(error, NotFound | HopRefused):
            self.publisher.check_soon()
        for key in keys:
            self.outbox.failed(key, self.clock.uptime().ms)

    def _hop_answers(self) -> None:
        if self._hop_failed:
            self._hop_failed = False
            self.outbox.hop_is_back(self.clock.uptime().ms)

    # receiving -------------------------------------------------------------------------------------------------
    async def _collect_forever(self) -> None:
        mailbox, came = self.member.mailbox.mailbox, 0
        while True:
            try:
                await self.publisher.published()
                await self.backlog.room(came)
                collected = await self.carrier.collect([mailbox], wait=POLL_S)
            except SealwayError as error:
                log.warning("nothing could be collected: %s", error)
                if isinstance(error, NotFound | HopRefused):
                    self.publisher.check_soon()
                await asyncio.sleep(PAUSE_S)
                continue
            self._hop_answers()
            came = len(collected)
            settled = await self.take_in(collected)
            if len(settled) < len(collected):
                await asyncio.sleep(PAUSE_S)  # the others come again
            if settled:
                try:
                    await self.carrier.acknowledge(settled)
                except SealwayError as error:
                    log.warning("the hop was not told what arrived: %s", error)  # it brings it again: Replayed
                await self.tick()  # a start is answered now: until then, each message has all of it

    async def take_in(self, collected: Sequence[Collected]) -> list[Collected]:
        """Open what a hop handed over and make it durable; return what the hop may forget. Raises StateLost."""
        settled = await self.intake.open_all(collected)
        await self.mover.move_gone()
        await self.journal.commit()
        return settled

    # time ------------------------------------------------------------------------------------------------------
    async def _tick_forever(self) -> None:
        while True:
            await self.tick()
            await asyncio.sleep(TICK_S)

    async def tick(self) -> None:
        """Do what is due by time and needs no hop: receipts, signs of life, events, forgetting."""
        now_ms = self.clock.now_ms()
        self.upkeep.look(now_ms)
        await self.journal.commit()

    async def _keep_forever(self) -> None:
        while True:
            await self.publisher.look()
            await self.mover.look()
            await asyncio.sleep(TICK_S)

    def _unread(self, messages: int, size: int) -> None:
        log.warning("%d messages are unread here: nothing is collected until they are", messages)
        self.happened(Unread(str(self.member.name), b"", messages, size))

    def happened(self, event: Event) -> None:
        """Count and report an event."""
        self.journal.count(f"event_{type(event).__name__}")
        if self.on_event is not None:
            self.on_event(event)
        self.events.put(event)
