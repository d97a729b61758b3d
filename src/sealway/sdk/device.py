# SPDX-License-Identifier: Apache-2.0
"""A device: sends readings, executes commands that the owner has granted.

async with Device.open("/var/lib/meter") as meter:
    @meter.on("valve", scope="valve:write")
    async def set_valve(command: Message) -> bytes: ...
    await meter.send(meter.application, "readings", b"42.7 L")
    await meter.serve()
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Final, Self

from sealway.errors import Closed, LocalMisuse
from sealway.home.carriers import next_hop
from sealway.home.membership import name_of
from sealway.home.unlocking import Passphrase
from sealway.protocol.policy import PostQuantum
from sealway.sdk.executor import DEFAULT_MAX_AGE, Command, Handler
from sealway.sdk.role import Role
from sealway.sdk.saying import message_of
from sealway.transports.ports import Carrier
from sealway.wire.address import Name
from sealway.wire.header import Claims
from sealway.wire.message import FirstIdentity

PATIENCE: Final = timedelta(seconds=30)
"""How long a message waits for the first session with its recipient."""


class Device(Role):
    """One device: an asynchronous context, made by ``open``."""

    _command: ClassVar[str] = "device"

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: str | Path, *, passphrase: Passphrase | None = None, key_file: str | Path | None = None,
        gateway: str | None = None, carrier: Carrier | None = None, max_silence: timedelta | None = None,
        post_quantum: PostQuantum = PostQuantum.PREFERRED,
    ) -> AsyncIterator[Self]:  # fmt: skip
        """Open the state directory of an enrolled device and begin to work: publish, offer, collect.

        Leaving the context stops it, makes its state durable and gives the directory free, also when it is cancelled.

        Args:
            directory: belongs to one process at a time.
            passphrase: of its keys; else ``key_file``, a file of mode 0600, else SEALWAY_PASSPHRASE.
            gateway: another address of its gateway than its enrolment says, coap://HOST:PORT.
            carrier: another way to its next hop altogether; closed with the device.
            max_silence: peers are told that they may report this device as Silent after so long; it sends a sign of
                life in time.
            post_quantum: whether sessions begin with ML-KEM: never without, if the other end has a key, or never.

        Raises:
            InUse: another process uses the directory.
            LocalMisuse: not enrolled, or a wrong passphrase.
            NotTrusted: its certificate, or the owner's root document, has expired.
            NotAuthorized: it was reset or stopped by presence.
            StateLost: something in the directory is damaged.
        """
        enrolled = await cls._unlocked(directory, passphrase, key_file)
        hop = carrier if carrier is not None else next_hop(enrolled, gateway=gateway)
        async with cls._opened(cls._home(directory).path, enrolled, hop, max_silence, post_quantum) as device:
            yield device

    @property
    def applications(self) -> tuple[Name, ...]:
        """The applications that the owner named as this device's peers."""
        return tuple(peer for peer in self.peers if peer.role == "application")

    @property
    def application(self) -> Name:
        """The one application that this device works for. Raises LocalMisuse if the owner named none, or several."""
        if len(self.applications) != 1:
            found = ", ".join(map(str, self.applications)) or "none"
            hint = "name one with --peer when it is enrolled, or choose one of applications"
            raise LocalMisuse(f"the enrolment of {self.name} does not name one application: {found}", hint=hint)
        return self.applications[0]

    def on(
        self, path: str, *, scope: str, idempotent: bool = False, max_age: timedelta = DEFAULT_MAX_AGE
    ) -> Callable[[Command], Command]:
        """Register what executes commands to ``path``. There is no handler without a scope.

        Args:
            scope: what a grant must include, as "valve:write".
            idempotent: may be called again for the same command after a crash.
            max_age: how old the device's own message may be that a command is fresh against.

        Raises:
            LocalMisuse: the path has a handler already.
        """

        def register(call: Command) -> Command:
            self._executor.add(path, Handler(call, scope, idempotent, max_age))
            return call

        return register

    async def send(
        self, to: Name | str, path: str, payload: bytes, *, query: tuple[str, ...] = (), claims: Claims | None = None,
        mark: tuple[str, int] | None = None, within: timedelta = PATIENCE,
    ) -> FirstIdentity:  # fmt: skip
        """Seal an event to an application; return once it is durable: from then on it is offered until it is
        acknowledged.

        Waits while too much is unacknowledged (4096 envelopes or 16 MiB): a sender goes at the pace of the hops.

        Args:
            path: what it is about, as readings or valve/inlet.
            claims: what to disclose to hops, authenticated.
            mark: a name and a number to store with the message, as how far an input was read.
            within: how long to try to begin the first session with ``to``. With a session it does not matter whether
                any hop can be reached.

        Raises:
            TransportFailed: no session could be begun in that time; nothing was sealed.
            NotTrusted: what the directory serves is not that application's.
            TooLarge: no envelope holds it.
            LocalMisuse: not a name, not a path, or a payload that is not bytes.
            StateLost: the state could not be written.

        Cancelled, the message was either not sealed at all, or it is on its way as if nothing had been cancelled.
        """
        message = message_of(path, payload, query=query)
        name = name_of(to)
        if within:
            await self._reach(name, within)
        return await self.endpoint.send(name, message, claims=claims, mark=mark)

    async def serve(self) -> None:
        """Execute commands until cancelled, or until this device is closed. Raises what stopped it otherwise.

        Events that nobody handles here are dropped and counted.
        """
        while True:
            try:
                received = await self.next_event()
            except Closed:
                return
            self.endpoint.journal.count("events_without_handler")
            self.endpoint.note_handled(received)
            await self.endpoint.journal.commit()
