# SPDX-License-Identifier: Apache-2.0
"""A device: sends readings, executes commands that the owner has granted.

async with Device(directory, member, carrier) as meter:
    @meter.on("valve", scope="valve:write")
    async def set_valve(command): ...
    await meter.send(application, "readings", b"42.7 L")
    await meter.serve()
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sealway.sdk.executor import DEFAULT_MAX_AGE, Command, Handler
from sealway.sdk.role import Role
from sealway.wire.address import Name
from sealway.wire.header import Claims
from sealway.wire.message import CODE_POST, FirstIdentity, Message


class Device(Role):
    """One device; see ``Role`` for how it is made."""

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
        self, to: Name, path: str, payload: bytes, *, query: tuple[str, ...] = (), claims: Claims | None = None,
        mark: tuple[str, int] | None = None,
    ) -> FirstIdentity:  # fmt: skip
        """Seal an event to an application; return once it is durable. See ``Endpoint.send`` for ``mark`` and what is
        raised."""
        message = Message(CODE_POST, tuple(path.strip("/").split("/")), query, payload=payload)
        return await self.endpoint.send(to, message, claims=claims, mark=mark)

    async def serve(self) -> None:
        """Execute commands until cancelled; events that nobody handles here are dropped and counted."""
        while True:
            received = await self.next_event()
            self.endpoint.journal.count("events_without_handler")
            self.endpoint.note_handled(received)
            await self.endpoint.journal.commit()
