# SPDX-License-Identifier: Apache-2.0
"""What an endpoint changes becomes durable in groups.

Invariant: all that is noted between two awaits lies in one transaction; a session is written with the state that it
has when its group is written, never earlier than a change that was noted with it. If a group cannot be written the
journal is broken for good: the state in memory is ahead of the disk, and the process has to open the directory anew.
What a group replaces or deletes is unreadable at the latest when a period has ended: after 5 seconds, 1 000 messages,
or at the close.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, Final

from sealway.errors import Closed, SealwayError, StateLost
from sealway.protocol.snapshot import snapshot
from sealway.sdk.held import Held
from sealway.sdk.schema import SESSION
from sealway.storage.store import Store
from sealway.vault.vault import Ending, Vault

PERIOD_MS: Final = 3_000
"""Whoever writes or looks this long after a period began ends it; an endpoint looks once a second (``tick``)."""
PERIOD_MESSAGES: Final = 1_000
"""At most, except that a group is written whole."""

Statements = tuple[str, list[tuple[Any, ...]]]
"""One statement, and the parameters of each time that it is executed, in a row."""

After = tuple[Callable[..., None], tuple[Any, ...]]
"""What is to be called once a group is durable, and with what."""

_SAVE_SESSION = "UPDATE sessions SET state = ?, opening = ?, sealed = ?, resumed = ? WHERE id = ? AND closed IS NULL"
_COUNT = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"


class Journal:
    """Gathers statements and dirty sessions; ``commit`` waits until all noted so far is on the disk.

    Args:
        vault: wraps what is secret. Who wraps something notes the statement that holds it before the next await.
        steady_ms: milliseconds of a clock that only goes forward.
    """

    def __init__(self, store: Store, vault: Vault, steady_ms: Callable[[], int]) -> None:
        self.vault = vault
        self._store = store
        self._steady_ms = steady_ms
        self._statements: list[Statements] = []
        self._dirty: dict[int, Held] = {}
        self._opening = 0
        self._before: Callable[[Held], None] = lambda _: None
        self._saved: Callable[[], None] = lambda: None
        self._ended_ms = steady_ms()
        self._messages = 0
        self._touched = 0
        self._is_closing = False
        self._counts: dict[str, int] = {}
        self._after: list[After] = []
        self._group: asyncio.Future[None] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._broken: SealwayError | None = None

    def note(self, sql: str, *parameters: Any) -> None:
        """Add one statement to the present group."""
        statements = self._statements
        if not statements or statements[-1][0] != sql:
            statements.append((sql, []))
        statements[-1][1].append(parameters)

    def saves(self, opening: int, before: Callable[[Held], None], after: Callable[[], None]) -> None:
        """Write sessions as of this opening of the directory.

        Args:
            before: called with each session that is about to be written; may note something.
            after: called once they are durable; those that have not changed since are no longer dirty.
        """
        self._opening, self._before, self._saved = opening, before, after

    def touch(self, held: Held) -> None:
        """Write the session's snapshot with the present group."""
        self._dirty[held.row] = held
        held.dirty = True
        self._touched += 1

    def leave_out(self, held: Held) -> None:
        """Write no snapshot of a session any more that is closed with the present group."""
        self._dirty.pop(held.row, None)

    def count(self, counter: str, by: int = 1) -> None:
        """Add to a durable counter with the present group."""
        self._counts[counter] = self._counts.get(counter, 0) + by

    def then(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call ``callback`` with these once the present group is durable; never if it cannot be written."""
        self._after.append((callback, arguments))

    def tell(self, listener: Callable[[list[Any]], None], item: Any) -> None:
        """Call ``listener`` once the present group is durable, with all items of the group in a row; as ``then``."""
        after = self._after
        if not after or after[-1][0] != listener:
            after.append((listener, ([],)))
        after[-1][1][0].append(item)

    async def commit(self) -> None:
        """Wait until all noted so far is durable. Raises StateLost if it cannot be written."""
        self.check()
        if not self._has_work():
            if self._flushing is not None:
                await asyncio.shield(self._flushing)
                self.check()
            return
        if self._group is None:
            self._group = asyncio.get_running_loop().create_future()
        group = self._group
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_all(), name="journal")
        await asyncio.shield(group)

    def check(self) -> None:
        """Raise StateLost if something could not be written."""
        if self._broken is not None:
            raise self._broken

    async def read(self, sql: str, *parameters: Any) -> list[Any]:
        """Return the rows of a query on what is durable. Raises TransportFailed if it cannot be read."""
        return await self._store.read(lambda connection: connection.execute(sql, parameters).fetchall())

    async def close(self) -> None:
        """Write what is noted and wait for it; nothing can be written after this. Raises StateLost."""
        self._is_closing = True
        while self._has_work() or self._flushing is not None:
            await self.commit()
        self._broken = Closed("the endpoint was closed", hint="what was under way goes on when it is opened again")

    def _has_work(self) -> bool:
        return bool(self._statements or self._dirty or self._counts or self._after) or self._is_period_over()

    def _is_period_over(self) -> bool:
        if self._is_closing:
            return self.vault.is_dirty or not self.vault.is_settled
        if not self.vault.is_dirty:
            return False
        # A group like this one more would be above the bound.
        many = self._messages + self._touched > PERIOD_MESSAGES
        return many or self._steady_ms() - self._ended_ms >= PERIOD_MS

    async def _flush_all(self) -> None:
        try:
            while self._group is not None:
                await self._flush(self._group)
        finally:
            self._flushing = None

    async def _flush(self, group: asyncio.Future[None]) -> None:
        await asyncio.sleep(0)  # let whoever is ready join this group
        self._group = None
        try:
            statements, after, saved = self._take()
            ending = self._ending()
            settle = ending.settle if ending is not None else None
            deleted = await self._store.write(
                lambda connection: _run(connection, self.vault, statements, ending), settle
            )
            self.vault.is_dirty |= deleted
            self._are_saved(saved)
            for callback, arguments in after:
                callback(*arguments)
        except (SealwayError, sqlite3.Error) as error:
            self._break(group, error)
        except BaseException as error:
            self._break(group, error)
            raise
        else:
            group.set_result(None)

    def _break(self, group: asyncio.Future[None], cause: BaseException) -> None:
        """Tell whoever waits, for this group or a later one, that nothing will be written any more."""
        self._broken = StateLost(
            f"the state could not be written: {cause}", hint="open the directory anew once it can be"
        )
        for waiting in (group, self._group):
            if waiting is not None and not waiting.done():
                waiting.set_exception(self._broken)
                waiting.exception()  # seen: no complaint if nobody waits any more
        self._group = None

    def _take(self) -> tuple[list[Statements], list[After], list[Held]]:
        saved = list(self._dirty.values())
        for held in saved:
            self._before(held)
        statements, self._statements = self._statements, []
        statements.append((_SAVE_SESSION, [self._saving(held) for held in saved]))
        statements.append((_COUNT, list(self._counts.items())))
        after, self._after = self._after, []
        self._dirty, self._counts = {}, {}
        return statements, after, saved

    def _saving(self, held: Held) -> tuple[Any, ...]:
        held.saved, held.opening = snapshot(held.session, named=False), self._opening
        state = self.vault.wrap(held.slot, SESSION, held.saved)
        return state, self._opening, held.sealed_ms // 1_000, held.resumed_at, held.row

    def _are_saved(self, saved: list[Held]) -> None:
        for held in saved:
            if held.row not in self._dirty:
                held.dirty = False
        self._saved()

    def _ending(self) -> Ending | None:
        """End the period with this group, if it is time."""
        self._messages += self._touched
        is_over, self._touched = self._is_period_over(), 0
        if not is_over:
            return None
        self._messages, self._ended_ms = 0, self._steady_ms()
        return self.vault.end_period(settled=self._is_closing)


def _run(connection: sqlite3.Connection, vault: Vault, statements: list[Statements], ending: Ending | None) -> bool:
    """Execute them; return whether some secret was deleted that is not forgotten yet. In the writer's thread."""
    for sql, rows in statements:
        connection.executemany(sql, rows)
    if ending is None:
        return vault.announce(connection)
    ending.write(connection)
    return False
