# SPDX-License-Identifier: Apache-2.0
"""The same bytes are held once: within a batch, from memory, from the index, after a start, a rollback, a migration."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from sealway.errors import RateLimited
from sealway.hub import digests, mailbox_rows
from sealway.hub.config import Limits
from sealway.hub.intake import ALREADY_HELD, CREATED, Intake, Verdict
from sealway.hub.parcels import unpacked
from sealway.hub.schema import SCRIPTS
from sealway.storage.store import connect, migrate
from sealway.wire.envelope import Envelope

BOX, OTHER = "a" * 16, "b" * 16
NOW = 1_800_000_000
NUMBERS = count()


def fresh(size: int = 40) -> bytes:
    return Envelope(b"k", next(NUMBERS), bytes(size)).encode()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "hub.sqlite")) as connection:
        migrate(connection, SCRIPTS, "hub")
        for mailbox in (BOX, OTHER):
            mailbox_rows.make_mailbox(connection, mailbox, "name")
        yield connection


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MOST_IN_MEMORY", 8)


def put(intake: Intake, db: sqlite3.Connection, *envelopes: bytes, now: int = NOW, box: str = BOX) -> list[Verdict]:
    return intake.hold(db, intake.examined([(box, envelope) for envelope in envelopes], now), now)


def held(db: sqlite3.Connection) -> list[tuple[int, int]]:
    """The counts of the mailboxes, which have to be what a count of the rows gives."""
    counted = db.execute("SELECT held, bytes FROM mailboxes ORDER BY number").fetchall()
    rows = db.execute("SELECT number, sizes, content FROM mailboxes LEFT JOIN parcels ON mailbox = number")
    sums: dict[int, tuple[int, int]] = {}
    for number, sizes, content in rows:
        envelopes = [] if sizes is None else [envelope for envelope in unpacked(sizes, content) if envelope]
        before = sums.get(number, (0, 0))
        sums[number] = before[0] + len(envelopes), before[1] + sum(map(len, envelopes))
    assert counted == [sums[number] for number in sorted(sums)]
    return counted


def test_in_one_batch_and_in_two_mailboxes(db):
    intake, one = Intake(Limits()), fresh()
    assert put(intake, db, one, one) == [CREATED, ALREADY_HELD]
    assert put(intake, db, one, box=OTHER) == [CREATED]
    assert [count for count, _ in held(db)] == [1, 1]


@pytest.mark.usefixtures("little_memory")
def test_in_memory_in_the_index_and_after_a_start(db):
    envelopes = [fresh() for _ in range(30)]
    intake = Intake(Limits())
    for at in range(0, 30, 3):
        assert put(intake, db, *envelopes[at : at + 3]) == [CREATED] * 3
    assert 0 < db.execute("SELECT count(*) FROM digests").fetchone()[0] < 30
    for knowing in (intake, Intake(Limits())):
        assert put(knowing, db, *envelopes) == [ALREADY_HELD] * 30
        assert put(knowing, db, envelopes[0]) == [ALREADY_HELD]
    assert put(intake, db, *(fresh() for _ in range(250))) == [CREATED] * 250  # more than one query asks for
    assert held(db)[0][0] == 280


@pytest.mark.usefixtures("little_memory")
def test_what_has_gone_may_come_again_and_leaves_the_index(db):
    intake, envelopes = Intake(Limits()), [fresh() for _ in range(10)]
    put(intake, db, *envelopes)
    mailbox_rows.forget(db, BOX, range(1, 11))
    assert put(intake, db, *envelopes) == [CREATED] * 10
    for _ in range(12):
        mailbox_rows.forget(db, BOX, range(1, mailbox_rows.last_number(db) + 1))
        put(intake, db, *(fresh() for _ in range(10)))
    assert db.execute("SELECT count(*) FROM digests").fetchone()[0] <= 2 * 10 + 8 + 10


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("batch", [3, 12])
def test_after_a_rollback(db, batch):
    intake, before, undone = Intake(Limits()), fresh(), [fresh() for _ in range(batch)]
    put(intake, db, before)
    db.execute("BEGIN")
    mailbox_rows.forget(db, BOX, [1])
    assert put(intake, db, before, *undone) == [CREATED] * (batch + 1)
    db.execute("ROLLBACK")
    assert put(intake, db, before, *undone) == [ALREADY_HELD] + [CREATED] * batch
    assert held(db)[0][0] == batch + 1


@pytest.mark.usefixtures("little_memory")
def test_two_that_share_what_is_indexed_are_told_apart(db, monkeypatch):
    monkeypatch.setattr(digests, "digest_of", lambda _mailbox, _envelope: 5)
    envelopes = [fresh() for _ in range(20)]
    intake = Intake(Limits())
    assert put(intake, db, *envelopes) == [CREATED] * 20
    assert put(Intake(Limits()), db, *envelopes) == [ALREADY_HELD] * 20


def test_an_expired_copy_does_not_count(db):
    intake, one = Intake(Limits(held_for=10)), fresh()
    put(intake, db, one)
    assert put(intake, db, one, now=NOW + 9) == [ALREADY_HELD]
    assert put(intake, db, one, now=NOW + 10) == [CREATED]
    assert held(db)[0][0] == 1


def test_quotas_hold_inside_a_batch(db):
    size = len(fresh())
    intake = Intake(Limits(envelopes_per_mailbox=3, bytes_per_mailbox=2 * size))
    verdicts = put(intake, db, fresh(), fresh(), fresh())
    assert verdicts[:2] == [CREATED, CREATED] and isinstance(verdicts[2], RateLimited)
    assert held(db)[0] == (2, 2 * size)


def test_what_expires_is_forgotten_whatever_the_clock_and_the_limit_did(db):
    put(Intake(Limits(held_for=1000)), db, *(fresh() for _ in range(3)))
    put(Intake(Limits(held_for=10)), db, *(fresh() for _ in range(2)))  # a lower limit since the last start
    put(Intake(Limits(held_for=1000)), db, fresh(), now=NOW - 500)  # the clock was put back
    assert (mailbox_rows.forget_early(db, NOW + 10), mailbox_rows.forget_oldest(db, NOW + 10)) == (2, 0)
    assert (mailbox_rows.forget_early(db, NOW + 600), mailbox_rows.forget_oldest(db, NOW + 1000)) == (1, 3)
    assert held(db)[0] == (0, 0)


def test_a_database_of_the_first_version_is_taken_over(tmp_path):
    old, gone = [fresh() for _ in range(20)], fresh()
    with closing(connect(tmp_path / "old.sqlite")) as db:
        migrate(db, SCRIPTS[:1], "hub")
        db.execute("INSERT INTO mailboxes (id, name) VALUES (?, 'name')", (BOX,))
        rows = [(BOX, hashlib.sha256(envelope).digest(), envelope, NOW + 100) for envelope in [*old, gone]]
        db.executemany("INSERT INTO envelopes (mailbox, digest, envelope, expires) VALUES (?, ?, ?, ?)", rows)
        db.execute("DELETE FROM envelopes WHERE sequence = 21")
        migrate(db, SCRIPTS, "hub")
        assert [row[1:] for row in mailbox_rows.waiting(db, BOX, NOW, 100, 1 << 20)] == list(enumerate(old, 1))
        intake = Intake(Limits())
        assert put(intake, db, *old, gone) == [ALREADY_HELD] * 20 + [CREATED]
        assert mailbox_rows.last_number(db) == 22  # 21 was given once
        assert held(db)[0][0] == 21
