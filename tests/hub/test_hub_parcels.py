# SPDX-License-Identifier: Apache-2.0
"""Mailboxes kept in parcels hold exactly what a plain list of envelopes would hold."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sealway.errors import RateLimited
from sealway.hub import digests, mailbox_rows, parcels
from sealway.hub.config import Limits
from sealway.hub.intake import ALREADY_HELD, CREATED, Intake
from sealway.hub.schema import SCRIPTS
from sealway.storage.store import connect, migrate
from sealway.wire.envelope import Envelope
from sealway.wire.header import Claims

BOXES = ("a" * 16, "b" * 16)
BEGIN = 1_000
LIMITS = Limits(held_for=100, envelopes_per_mailbox=12, bytes_per_mailbox=2_000)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=50))
def test_a_parcel_gives_back_what_was_packed(envelopes: list[bytes]) -> None:
    sizes, content = parcels.packed(envelopes)
    assert parcels.unpacked(sizes, content) == envelopes
    numbers = range(101 - len(envelopes), 101)
    assert list(parcels.numbered(100, envelopes)) == [
        (number, envelope) for number, envelope in zip(numbers, envelopes, strict=True) if envelope
    ]


@given(st.lists(st.integers(1, parcels.PARCEL_BYTES + 10), min_size=1, max_size=20))
def test_no_portion_is_larger_than_it_may_be(sizes: list[int]) -> None:
    envelopes = [bytes(size) for size in sizes]
    portions = [list(portion) for portion in parcels.portions(envelopes)]
    assert [envelope for portion in portions for envelope in portion] == envelopes
    assert all(len(portion) == 1 or sum(map(len, portion)) <= parcels.PARCEL_BYTES for portion in portions)


def _envelope(number: int, size: int, expires: int | None) -> bytes:
    claims = None if expires is None else Claims(expires=expires)
    return Envelope(b"k", number, bytes(size), claims=claims).encode()


ENVELOPES = st.builds(
    _envelope, st.integers(0, 30), st.sampled_from([30, 200]), st.sampled_from([None, None, None, 1_050, 1_500])
)
DEPOSITS = st.lists(st.tuples(st.sampled_from(BOXES), ENVELOPES), min_size=1, max_size=9)


class Mailboxes(RuleBasedStateMachine):
    """A hub's database beside a list of (number, mailbox, envelope, when it expires)."""

    @initialize()
    def open(self) -> None:
        self.folder = TemporaryDirectory(prefix="sealway-parcels-")
        self.db = connect(Path(self.folder.name) / "hub.sqlite")
        self.db.execute("PRAGMA synchronous = OFF")
        migrate(self.db, SCRIPTS, "hub")
        for mailbox in BOXES:
            mailbox_rows.make_mailbox(self.db, mailbox, "name")
        self.intake, self.now = Intake(LIMITS), BEGIN
        self.model: list[tuple[int, str, bytes, int]] = []
        self.last = 0

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            self.folder.cleanup()

    @rule(deposits=DEPOSITS, kept=st.booleans())
    def deposit(self, deposits: list[tuple[str, bytes]], kept: bool) -> None:
        self.db.execute("BEGIN")
        verdicts = self.intake.hold(self.db, self.intake.examined(deposits, self.now), self.now)
        if not kept:
            self.db.execute("ROLLBACK")
            return
        self.db.execute("COMMIT")
        expected, taken = list[object](), list[tuple[str, bytes]]()
        for mailbox, envelope in deposits:
            expires = Envelope.decode(envelope).claims
            until = self.now + LIMITS.held_for
            until = until if expires is None or expires.expires is None else min(until, expires.expires)
            waiting = [row for row in self.model if row[1] == mailbox]
            coming = [one for box, one in taken if box == mailbox]
            size = sum(len(row[2]) for row in waiting) + sum(map(len, coming)) + len(envelope)
            if until <= self.now:
                expected.append("stale")
            elif any(row[2] == envelope and row[3] > self.now for row in waiting) or envelope in coming:
                expected.append(ALREADY_HELD)
            elif len(waiting) + len(coming) >= LIMITS.envelopes_per_mailbox or size > LIMITS.bytes_per_mailbox:
                expected.append("full")
            else:
                expected.append(CREATED)
                taken.append((mailbox, envelope))
        for verdict, wanted in zip(verdicts, expected, strict=True):
            if wanted == "full":  # a copy that had expired is forgotten on the way, and leaves its room
                assert isinstance(verdict, RateLimited) or verdict is CREATED
            else:
                assert verdict == wanted or (wanted == "stale" and isinstance(verdict, Exception))
        self._follow([deposit for deposit, verdict in zip(deposits, verdicts, strict=True) if verdict is CREATED])

    def _follow(self, created: list[tuple[str, bytes]]) -> None:
        """Take what was accepted into the model; its numbers are new, and grow within each mailbox."""
        for mailbox in BOXES:
            rows = _all(self.db, mailbox)
            mine = [row for row in self.model if row[1] == mailbox]
            new = [row for row in rows if row[0] > self.last]
            assert [row[1] for row in new] == [envelope for box, envelope in created if box == mailbox]
            kept = {row[0] for row in rows}
            gone = [row for row in mine if row[0] not in kept]
            assert all(row[3] <= self.now for row in gone)  # only a copy that had expired
            self.model = [row for row in self.model if row not in gone]
            self.model += [(number, mailbox, envelope, expires) for number, envelope, expires in new]
        self.last = mailbox_rows.last_number(self.db)

    @rule(mailbox=st.sampled_from(BOXES), numbers=st.sets(st.integers(0, 80), min_size=1))
    def acknowledge(self, mailbox: str, numbers: set[int]) -> None:
        gone = [row for row in self.model if row[0] in numbers and row[1] == mailbox]
        assert mailbox_rows.forget(self.db, mailbox, numbers) == len(gone)
        self.model = [row for row in self.model if row not in gone]

    @rule(seconds=st.integers(0, 40), swept=st.booleans())
    def wait(self, seconds: int, swept: bool) -> None:
        self.now += seconds
        if swept:
            gone = [row for row in self.model if row[3] <= self.now]
            assert mailbox_rows.forget_early(self.db, self.now) + mailbox_rows.forget_oldest(self.db, self.now) == len(
                gone
            )
            self.model = [row for row in self.model if row not in gone]

    @rule()
    def start_anew(self) -> None:
        self.intake = Intake(LIMITS)

    @rule(mailbox=st.sampled_from(BOXES), most=st.integers(1, 10), most_bytes=st.integers(1, 800))
    def collect(self, mailbox: str, most: int, most_bytes: int) -> None:
        waiting = [(row[1], row[0], row[2]) for row in sorted(self.model) if row[1] == mailbox and row[3] > self.now]
        expected, size = [], 0
        for row in waiting[:most]:
            if size >= most_bytes:
                break
            expected.append(row)
            size += len(row[2])
        assert mailbox_rows.waiting(self.db, mailbox, self.now, most, most_bytes) == expected

    @invariant()
    def loads_are_right(self) -> None:
        if not hasattr(self, "db"):
            return
        for mailbox in BOXES:
            mine = [row[2] for row in self.model if row[1] == mailbox]
            load = mailbox_rows.load_of(self.db, mailbox)
            assert load is not None
            assert load[1:] == (len(mine), sum(map(len, mine)))
            assert sorted((row[0], row[2]) for row in self.model if row[1] == mailbox) == [
                (number, envelope) for number, envelope, _ in _all(self.db, mailbox)
            ]


def _all(db: sqlite3.Connection, mailbox: str) -> list[tuple[int, bytes, int]]:
    rows = db.execute(
        "SELECT last, sizes, content, expires FROM parcels JOIN mailboxes ON number = mailbox"
        " WHERE id = ? ORDER BY last",
        (mailbox,),
    )
    return [
        (number, envelope, expires)
        for last, sizes, content, expires in rows
        for number, envelope in parcels.numbered(last, parcels.unpacked(sizes, content))
    ]


def test_mailboxes_hold_what_a_list_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "PARCEL_BYTES", 300)
    monkeypatch.setattr(digests, "MOST_IN_MEMORY", 8)
    run_state_machine_as_test(
        Mailboxes,
        settings=settings(
            max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_parcel_of_the_second_version_is_an_envelope(tmp_path: Path) -> None:
    envelope = _envelope(1, 40, None)
    with closing(connect(tmp_path / "hub.sqlite")) as db:
        migrate(db, SCRIPTS[:2], "hub")
        mailbox_rows.make_mailbox(db, BOXES[0], "name")
        db.execute("INSERT INTO envelopes VALUES (7, 1, 5, ?, 2000, 0)", (envelope,))
        db.execute("UPDATE mailboxes SET held = 1, bytes = ?", (len(envelope),))
        migrate(db, SCRIPTS, "hub")
        assert mailbox_rows.waiting(db, BOXES[0], BEGIN, 9, 999) == [(BOXES[0], 7, envelope)]
        assert mailbox_rows.last_number(db) == 7
        assert mailbox_rows.forget(db, BOXES[0], [7]) == 1
        assert mailbox_rows.load_of(db, BOXES[0]) == (1, 0, 0)
