# SPDX-License-Identifier: Apache-2.0
"""What must hold of a story (tests/system/killed_process.py), however often its processes died or the power failed.

Nothing acknowledged lost, no replay accepted, no command executed twice, no key and nonce for two messages.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sealway.sdk.schema import DATABASE
from tests.system.killed_process import lines

ALARMS = ("state_lost", "refused_StateLost", "refused_PeerForked", "event_ForkSuspected", "refused_NotAuthentic")


def check(directory: Path, *, readings: int, commands: int, deaths: int) -> None:
    """Check a story that has come to its end. Raises AssertionError."""
    check_handed_out(lines(directory / "got"), readings)
    executed = Counter(lines(directory / "executed"))
    assert set(executed.values()) == {1}, "a command was executed twice"
    answers = dict(line.split(maxsplit=1) for line in lines(directory / "answered"))
    assert len(answers) == commands, "an answer was lost"
    assert all(executed[n] == 1 for n, answer in answers.items() if answer == f"did {n}")
    assert all(answer in (f"did {n}", "interrupted") for n, answer in answers.items())
    assert sum(answer == "interrupted" for answer in answers.values()) <= deaths
    sealed: dict[str, str] = {}
    for line in lines(directory / "keys"):
        key, message = line.split()
        assert sealed.setdefault(key, message) == message, "a key and nonce sealed two messages"
    for end in ("meter", "ops"):
        check_state(directory / end)


def check_handed_out(got: Sequence[str], readings: int) -> None:
    """Each reading under one identity, and again only what was in hand when a process died."""
    identity: dict[str, str] = {}
    batch_of: dict[str, str] = {}
    last_of: dict[str, str] = {}  # the last batch of each process
    for line in got:
        payload, session, number, batch = line.split()
        assert identity.setdefault(payload, f"{session} {number}") == f"{session} {number}", "twice, as two messages"
        process, before = batch.split(":")[0], batch_of.get(payload)
        if before is not None:
            assert before.split(":")[0] != process, "a replay was accepted"
            assert before == last_of[before.split(":")[0]], "a message that had been handled came again"
        batch_of[payload] = last_of[process] = batch
    assert sorted(identity, key=int) == [str(n) for n in range(readings)], "a reading was lost"
    assert len(set(identity.values())) == readings, "one message came with two contents"


def check_state(directory: Path) -> None:
    """The state is whole, and its owner has noticed nothing that did not happen."""
    with closing(sqlite3.connect(directory / DATABASE)) as database:
        counters = dict(database.execute("SELECT name, value FROM counters"))
        assert not {name: counters[name] for name in ALARMS if name in counters}
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
