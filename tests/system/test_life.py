# SPDX-License-Identifier: Apache-2.0
"""The tables of requests and of leaving are what endpoints really do: watched through scenarios that together take
every step of them, and none beside."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from sealway.protocol.life import Machine
from sealway.sdk.executor import EXECUTION, Request
from sealway.sdk.held import LEAVING, Held, Leaving
from sealway.sdk.journal import Journal
from sealway.sdk.sessions import Sessions
from sealway.storage.store import Store
from tests.system import test_copied_state as copied
from tests.system import test_requests as requests
from tests.system import test_starts as starts
from tests.system.world import KeyWatch, World, counters, ready

Steps = set[tuple[Enum | None, Enum | None]]


def _steps(machine: Machine) -> Steps:
    return {(step.before, step.after) for step in machine.steps}


class Watched:
    """Sees what is noted of requests and of sessions that are left."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.requests: Steps = {(None, Request.NEW)}
        self.leaving: Steps = set()
        self._states: dict[object, Request] = {}
        note, mark, add = Journal.note, Sessions._mark, Sessions.add

        def noted(journal: Journal, sql: str, *parameters: Any) -> None:
            self._noted(journal._store, sql, parameters)
            note(journal, sql, *parameters)

        def marked(sessions: Sessions, held: Held, leaving: Leaving) -> None:
            self.leaving.add((held.leaving, leaving))
            mark(sessions, held, leaving)

        def added(sessions: Sessions, held: Held) -> None:
            self.leaving.add((None, held.leaving))
            add(sessions, held)

        patch.setattr(Journal, "note", noted)
        patch.setattr(Sessions, "_mark", marked)
        patch.setattr(Sessions, "add", added)

    def _noted(self, store: Store, sql: str, parameters: tuple[Any, ...]) -> None:
        if "INTO executed" in sql:
            peer, request, _ = parameters
            self._now((peer, request), Request.BEGUN)
        elif sql.startswith("UPDATE executed"):
            _, peer, request = parameters
            self._now((peer, request), Request.ANSWERED)
        elif sql.startswith("DELETE FROM executed WHERE peer"):
            self._now(parameters, Request.NEW)

    def _now(self, key: object, after: Request) -> None:
        before = self._states.get(key, Request.NEW)
        self._states[key] = after
        self.requests.add((before, after))

    def forget(self) -> None:
        """The next scenario is another world."""
        self._states.clear()


async def test_every_step_of_the_tables_is_taken_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: KeyWatch
) -> None:
    watched = Watched(monkeypatch)
    for number, (scenario, speed) in enumerate(
        (
            (requests.test_a_command_that_grows_too_old_while_the_disk_is_slow_is_not_executed, 1.0),
            (requests.test_begun_and_killed_is_interrupted, 1.0),
            (requests.test_an_idempotent_handler_is_called_again, 1.0),
            (starts.test_a_start_to_a_prekey_that_is_gone_has_no_reply, 200.0),
            (copied.test_a_device_restored_from_a_backup, 200.0),
        )
    ):
        (tmp_path / str(number)).mkdir()
        await scenario(World(tmp_path / str(number), speed=speed))
        watched.forget()
    assert watched.leaving == _steps(LEAVING)
    # Asked again, or refused, nothing is noted; what is forgotten, by its age alone: the next two tests.
    quiet = {(Request.NEW, Request.NEW), (Request.ANSWERED, Request.ANSWERED), (Request.ANSWERED, None)}
    assert watched.requests == _steps(EXECUTION) - quiet


async def test_asked_again_or_refused_nothing_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: KeyWatch
) -> None:
    watched = Watched(monkeypatch)
    (tmp_path / "again").mkdir()
    await requests.test_the_same_request_id_is_executed_once(World(tmp_path / "again"))
    assert watched.requests == {(None, Request.NEW), (Request.NEW, Request.BEGUN), (Request.BEGUN, Request.ANSWERED)}


async def test_a_request_is_forgotten_with_time(fast: World) -> None:
    async with fast.device() as meter, fast.application() as ops:
        await ready(meter, ops)
        await ops.request(fast.meter, "valve", b"x", timeout=requests.LONG, request_id=requests.ID)
        fast.clock.turn(8 * 86_400)
        meter.endpoint.upkeep.look(fast.clock.now_ms())
        await meter.endpoint.journal.commit()
        rows = meter.endpoint.store.read_now(lambda c: c.execute("SELECT count(*) FROM executed").fetchone())
        assert rows == (0,) and counters(meter)["requests_executed"] == 1
