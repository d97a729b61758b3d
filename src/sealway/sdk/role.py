# SPDX-License-Identifier: Apache-2.0
"""What devices and applications have in common: an endpoint, requests asked and answered, and other messages handed
out."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from sealway.crypto.ports import Random
from sealway.errors import Closed, RateLimited, SealwayError, TokenFailed, TransportFailed
from sealway.home.carriers import consents as consents_of
from sealway.home.home import Enrolled
from sealway.home.membership import Membership, name_of
from sealway.home.unlocking import Passphrase
from sealway.protocol.events import Event
from sealway.protocol.policy import DEFAULT_POLICY, Policy, PostQuantum
from sealway.sdk import endpoint as endpoints
from sealway.sdk.asker import Asker
from sealway.sdk.clock import Clock
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.executor import Executor
from sealway.sdk.grants import GrantBook
from sealway.sdk.inbox import Inbox, Received
from sealway.sdk.member import Member
from sealway.sdk.patience import in_time
from sealway.sdk.place import Moved, has_moved, place_of
from sealway.sdk.reading import Readers
from sealway.sdk.schema import DATABASE
from sealway.sdk.sealedfiles import OpenedFile, SealedFile, introduce, open_file, seal_file
from sealway.sdk.sessions import IN_MEMORY
from sealway.sdk.streams import Stream
from sealway.storage.closing import to_the_end
from sealway.transports.ports import Carrier
from sealway.wire.address import Name

log = logging.getLogger(__name__)

FIRST_PUT_OFF_MS = 2_000
LONGEST_PUT_OFF_MS = 300_000
MOST_PUT_OFF = 1_024
MOST_PUT_OFF_OF_ONE = 256


class Role(Membership):
    """An endpoint with its dispatcher. An async context manager: entering starts it, leaving closes it.

    Args:
        directory: the state directory.
        member: who this endpoint is.
        carrier: its next hop.
        grants: encoded grants of the owner that this endpoint holds.
        consents: encoded consents to publish (a device's, for its gateway).
        max_silence: see ``Endpoint``.
        peers: whom the owner named as its peers.
        sessions_in_memory: see ``Endpoint``.
    """

    def __init__(
        self, directory: Path, member: Member, carrier: Carrier, *, grants: Sequence[bytes] = (), consents:
        Sequence[bytes] = (), clock: Clock | None = None, random: Random = os.urandom, policy: Policy = DEFAULT_POLICY,
        max_silence: timedelta | None = None, peers: Sequence[Name] = (), sessions_in_memory: int = IN_MEMORY,
    ) -> None:  # fmt: skip
        self.peers = tuple(peers)
        self._database = directory / DATABASE
        self.endpoint = Endpoint(
            directory, member, carrier, consents=consents, clock=clock, random=random, policy=policy,
            max_silence=max_silence, sessions_in_memory=sessions_in_memory,
        )  # fmt: skip
        endpoint = self.endpoint
        endpoint.on_failure = self._fail
        self._grants = GrantBook(member.root, endpoint.journal, endpoint.clock)
        self._executor = Executor(endpoint, self._grants)
        self._asker = Asker(endpoint, self._grants, random)
        self._offered = grants
        self._events = Inbox(endpoint.store, events_only=True)
        self._readers = Readers(endpoint.store, endpoint.journal)
        self._put_off: dict[int, tuple[int, int, Received]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

    @classmethod
    @asynccontextmanager
    async def _opened(
        cls, directory: Path, enrolled: Enrolled, carrier: Carrier, max_silence: timedelta | None,
        post_quantum: PostQuantum, sessions_in_memory: int = IN_MEMORY,
    ) -> AsyncIterator[Self]:  # fmt: skip
        try:
            role = cls(
                directory, Member.of(enrolled), carrier, grants=enrolled.grants, consents=consents_of(enrolled),
                max_silence=max_silence, peers=enrolled.claims.peers,
                policy=replace(DEFAULT_POLICY, post_quantum=post_quantum), sessions_in_memory=sessions_in_memory,
            )  # fmt: skip
        except BaseException:
            await to_the_end(carrier.close())
            raise
        async with role:
            yield role

    @classmethod
    async def _unlocked(
        cls, directory: str | Path, passphrase: Passphrase | None, key_file: str | Path | None
    ) -> Enrolled:  # fmt: skip
        """Open the keys beside the event loop; cancelled, no thread is left behind that looks at the lock."""
        return await to_the_end(asyncio.to_thread(cls._enrolled, directory, passphrase, key_file))

    @property
    def name(self) -> Name:
        """The certified name."""
        return self.endpoint.member.name

    async def __aenter__(self) -> Self:
        try:
            self.endpoint.store.read_now(self._load)
            self._tell_if_moved()
            self._learn_grants()
            await self.endpoint.start()
        except BaseException:
            await self.endpoint.close()
            raise
        self._tasks = [
            asyncio.create_task(self._watched(work), name=work.__name__) for work in (self._dispatch, self._wait)
        ]
        return self

    def _learn_grants(self) -> None:
        for encoded in self._offered:
            try:
                self._grants.learn(encoded)
            except SealwayError as error:  # an old one must not keep this endpoint from starting
                log.warning("a grant is of no use: %s", error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        await self.close()

    async def close(self) -> None:
        """Stop, make durable what is noted, and give the directory free.

        Loops over messages and events end, and whoever waits for an answer gets Closed. What was sealed is offered, and
        what was asked is waited for, when the directory is opened again. A command that is being executed is cancelled;
        its sender is told Interrupted, unless its handler is idempotent. Cancelled itself, it finishes first.
        """
        await to_the_end(self._close())

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.endpoint.close()

    def _load(self, connection: sqlite3.Connection) -> None:
        self._grants.load(connection)
        self._asker.load(connection, self.endpoint.clock.now_ms())

    def _tell_if_moved(self) -> None:
        place = place_of(self._database)
        if self.endpoint.store.read_now(lambda connection: has_moved(connection, self.endpoint.journal, place)):
            log.info("this state was moved, copied or restored; if it is a backup: sealway state repair --restored")
            self.endpoint.happened(Moved(str(self.endpoint.member.name), b""))

    async def _watched(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if error is not self._failure:
                log.exception("endpoint stopped")
                self.endpoint.fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._events.fail(error)
        self._readers.fail(error)
        self._asker.fail(error)

    async def _dispatch(self) -> None:
        """Hand each opened message to whom it is for, in the order of opening."""
        inbox = self.endpoint.inbox
        while True:
            received = inbox.at_hand() or await inbox.next()
            message = received.message
            if message.code >= 0x40:
                self._asker.answered(received)
                await self.endpoint.journal.commit()
            elif message.request_id is not None:
                await self._execute(received)
            else:
                self._events.offer(received)
                self._readers.offer(received)

    async def _execute(self, received: Received) -> None:
        try:
            await self._executor.execute(received)
            self._put_off.pop(received.row, None)
        except SealwayError as error:
            self.endpoint.check_alive()
            await self.endpoint.journal.commit()  # the outcome, so that it is not executed again
            log.info("a request of %s cannot be answered yet: %s", received.peer, error)
            await self._put_it_off(received)

    async def _put_it_off(self, received: Received) -> None:
        """Take the request up again later; above a bound not at all: it would stay on the disk, and who asks is told
        by nobody what came of it, as after its timeout. Who has most gives room to others."""
        _, pause, _ = self._put_off.get(received.row, (0, FIRST_PUT_OFF_MS // 2, received))
        pause = min(pause * 2, LONGEST_PUT_OFF_MS)
        dropped = None if received.row in self._put_off else self._one_too_many(received)
        if dropped is not received:
            self._put_off[received.row] = (self.endpoint.clock.uptime().ms + pause, pause, received)
        if dropped is not None:
            self._put_off.pop(dropped.row, None)
            self.endpoint.note_handled(dropped)
            self.endpoint.journal.count("requests_dropped")
            await self.endpoint.journal.commit()

    def _one_too_many(self, received: Received) -> Received | None:
        """Return what has to go if this is to be put off too: itself, or the newest of the peer that has most."""
        waiting = Counter(other.peer for _, _, other in self._put_off.values())
        if waiting[received.peer] >= MOST_PUT_OFF_OF_ONE:
            return received
        if len(self._put_off) < MOST_PUT_OFF:
            return None
        peer, most = waiting.most_common(1)[0]
        if waiting[received.peer] >= most:
            return received
        newest = max(row for row, (_, _, other) in self._put_off.items() if other.peer == peer)
        return self._put_off[newest][2]

    async def _wait(self) -> None:
        """Give up on answers that did not come in time; take up again what was put off."""
        while True:
            self._asker.expire(self.endpoint.clock.now_ms())
            now_ms = self.endpoint.clock.uptime().ms
            for row, (due_ms, pause, received) in list(self._put_off.items()):
                if due_ms <= now_ms:
                    self._put_off[row] = (now_ms + LONGEST_PUT_OFF_MS, pause, received)
                    self.endpoint.inbox.again(received)
            await asyncio.sleep(endpoints.TICK_S)

    async def next_event(self) -> Received:
        """Return the next message that is neither request nor response. Raises what stopped this endpoint."""
        return await self._events.next()

    async def next_events(self, most: int) -> list[Received]:
        """Return at least one message and at most ``most``, without waiting for more than the first."""
        return [await self._events.next(), *self._events.take(most - 1)]

    async def happenings(self) -> Event:
        """Return the next event: Missing, Silent, Unacknowledged, ForkSuspected, WithoutOneTimeKey, Unread, Moved."""
        return await self.endpoint.events.next()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens besides messages: Missing, Silent, Unacknowledged, ForkSuspected, WithoutOneTimeKey,
        Unread, Moved.

        The newest 1024 are kept for whoever looks late. Ends when this endpoint is closed; raises what stopped it
        otherwise.
        """
        while True:
            try:
                event = await self.happenings()
            except Closed:
                return
            yield event

    async def seal_file(
        self, to: Name | str, source: Stream, target: Stream, *, introduction: bytes | None = None,
        replace: bool = False,
    ) -> SealedFile:  # fmt: skip
        """Seal a file or a pipe for one recipient, who opens it with ``open_file``, without any hop if need be.

        Args:
            source: a path, or an open binary file such as a pipe; read to its end, in bounded memory.
            target: a path, where the file appears in one step once it is whole; or an open binary file.
            introduction: what the recipient's ``introduce`` returned, if there is no session and no network.
            replace: a file that exists.

        Raises:
            TransportFailed: nothing is known of the recipient, and no directory can be asked.
            NotTrusted, NotAuthentic, Malformed: the introduction is not the recipient's.
            LocalMisuse: a file cannot be used.
        """
        return await seal_file(
            self.endpoint, name_of(to), source, target, introduction=introduction, replace=replace
        )  # fmt: skip

    async def open_file(
        self, source: Stream, target: Stream, *, sender: Name | str | None = None, replace: bool = False
    ) -> OpenedFile:  # fmt: skip
        """Open a sealed file, once, and return who sealed it. A path gets the content in one step, once all is proven;
        an open binary file gets each part as soon as it is, so that it is to be used only if this returns.

        Args:
            sender: refuse what anyone else has sealed.
            replace: a file that exists.

        Raises:
            Replayed: it was opened before.
            NotTrusted, NotAuthentic, PrekeyGone, Malformed: it is not what it claims to be, or not for this end.
            LocalMisuse: a file cannot be used.
        """
        only = None if sender is None else name_of(sender)
        return await open_file(self.endpoint, source, target, sender=only, replace=replace)

    async def introduce(self) -> bytes:
        """Return what others of the domain need to seal files for this end without a directory. Nothing of it is
        secret; it is good for 14 days at least."""
        return await introduce(self.endpoint)

    async def _reach(self, to: Name, within: timedelta) -> None:
        """Return once there is a session with ``to``, begun perhaps. Raises as ``Links.with_peer``, if not in time."""
        self.endpoint.check_alive()
        if self.endpoint.sessions.sending_to(str(to)) is None:
            begin = partial(self.endpoint.links.with_peer, to)
            await in_time(begin, "sealed", to, within.total_seconds(), (TransportFailed, RateLimited, TokenFailed))
