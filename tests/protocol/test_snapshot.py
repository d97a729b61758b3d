# SPDX-License-Identifier: Apache-2.0
"""Sessions as bytes and back: spec/session.md, "State"."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import StateLost
from sealway.protocol.policy import DAY_MS, DEFAULT_POLICY
from sealway.protocol.sentlog import SentLog, SentRecord, Uptime
from sealway.protocol.snapshot import CHECK_BYTES, VERSION, refuse_damaged, restore, snapshot
from tests.protocol.session_pair import End, ends, talking

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus" / "snapshot"


def eventful() -> tuple[End, End]:
    """Ends with everything a snapshot can hold: epochs, reseeds, skipped keys and roots, gone, void, timers."""
    a, b = talking(skipped=4, step_after_messages=4)
    for round_ in range(5):
        a.restart()
        sealed = [a.seal() for _ in range(4)]
        b.open(sealed[round_ % 4])
        a.open(b.seal())
        a.open(b.receipt()) if round_ % 2 else b.receipt()
    b.now_ms += DAY_MS
    b.session.look(b.now_ms)
    return a, b


@pytest.mark.parametrize("make", [ends, talking, eventful])
def test_a_session_comes_back_as_it_was(make: type) -> None:
    for end in make():
        data = snapshot(end.session)
        again = restore(data, end.session.log, end.session.policy)
        assert again.send.epoch is None or again.send.must_reseed
        again.send.must_reseed = end.session.send.must_reseed
        assert snapshot(again) == data


def test_ends_that_live_from_snapshots_only_go_on_talking() -> None:
    a, b = ends(step_after_messages=3)
    for round_ in range(12):
        for one, other in ((a, b), (b, a)):
            sealed = one.seal()
            if round_ % 3:
                other.open(sealed)
            one.restart()
            other.restart()


def test_a_session_without_a_sending_chain_has_nothing_to_reseed() -> None:
    _, b = ends()
    b.restart()
    assert not b.session.send.must_reseed


def test_an_unknown_version_is_lost_state() -> None:
    a, _ = talking()
    data = bytes((99,)) + snapshot(a.session)[1:-CHECK_BYTES]
    with pytest.raises(StateLost, match="damaged"):
        restore(checked(data), SentLog(), DEFAULT_POLICY)
    with pytest.raises(StateLost, match="damaged"):
        refuse_damaged(checked(data))


def test_what_this_version_wrote_some_time_ago_is_still_read_and_written_alike() -> None:
    """If this fails the format has changed: VERSION rises, and what is kept in the corpus is written anew."""
    kept = [data for path in CORPUS.iterdir() if (data := path.read_bytes())[:1] == bytes((VERSION,))]
    again = [snapshot(restore(checked(data), SentLog(), DEFAULT_POLICY, reopened=False)) for data in kept]
    assert sum(map(bytes.__eq__, again, map(checked, kept))) >= 3  # one more is not as this program writes it


def test_what_this_process_has_written_comes_back_without_a_reseed() -> None:
    for end in eventful():
        data = snapshot(end.session)
        again = restore(data, end.session.log, end.session.policy, reopened=False)
        assert snapshot(again) == data


def test_a_session_that_has_to_reseed_has_to_after_another_way_through_bytes() -> None:
    a, _ = talking()
    reopened = restore(snapshot(a.session), a.session.log, DEFAULT_POLICY)
    again = restore(snapshot(reopened), a.session.log, DEFAULT_POLICY, reopened=False)
    assert again.send.must_reseed


def checked(fields: bytes) -> bytes:
    """A snapshot of these bytes, whose check value fits."""
    return fields + zlib.crc32(fields).to_bytes(CHECK_BYTES)


SNAPSHOT = snapshot(eventful()[1].session)


@given(st.integers(0, len(SNAPSHOT) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_lost_state(position: int, bit: int) -> None:
    data = bytearray(SNAPSHOT)
    data[position] ^= 1 << bit
    with pytest.raises(StateLost, match="damaged"):
        restore(bytes(data), SentLog(), DEFAULT_POLICY)
    with pytest.raises(StateLost, match="damaged"):
        refuse_damaged(bytes(data))


@given(st.integers(0, len(SNAPSHOT) - 1))
def test_cut_snapshots_are_lost_state(length: int) -> None:
    with pytest.raises(StateLost):
        restore(SNAPSHOT[:length], SentLog(), DEFAULT_POLICY)


@given(st.integers(0, len(SNAPSHOT) - CHECK_BYTES - 1), st.binary(max_size=9), st.integers(0, 9))
def test_other_bytes_anywhere_give_a_session_or_lost_state(position: int, put: bytes, instead_of: int) -> None:
    fields = SNAPSHOT[:-CHECK_BYTES]
    restored_or_lost(checked(fields[:position] + put + fields[position + instead_of :]))


@given(st.binary(min_size=14, max_size=26))
def test_another_head_gives_a_session_or_lost_state(head: bytes) -> None:
    restored_or_lost(checked(SNAPSHOT[:1] + head + SNAPSHOT[1 + len(head) : -CHECK_BYTES]))


@pytest.mark.parametrize("make", [ends, talking, eventful])
def test_a_session_whose_names_are_stored_beside_it(make: type) -> None:
    for end in make():
        session, names = end.session, (end.session.hash, end.session.peer, end.session.kid_in)
        data = snapshot(session, named=False)
        refuse_damaged(data, names)
        again = restore(data, session.log, session.policy, reopened=False, names=names)
        assert snapshot(again) == snapshot(session) and session.hash not in data
        for wrong in ((bytes(32), *names[1:]), (names[0], "x", names[2]), (*names[:2], b""), None, (b"", None, b"")):
            with pytest.raises(StateLost):
                restore(data, session.log, session.policy, names=wrong)  # type: ignore[arg-type]
            with pytest.raises(StateLost):
                refuse_damaged(data, wrong)  # type: ignore[arg-type]
        with pytest.raises(StateLost):
            restore(checked(data[:-CHECK_BYTES]), session.log, session.policy)


@pytest.mark.parametrize(
    ("name", "value"),
    [("created_ms", 0), ("heard_ms", 1), ("heard_ms", 2**47), ("stepped_ms", -1), ("failed_opens", 70_000)],
)
def test_times_before_the_session_and_long_numbers(name: str, value: int) -> None:
    for end in talking():
        session = end.session
        setattr(session, name, session.created_ms + value if value < 0 else value)
        again = restore(snapshot(session), session.log, session.policy, reopened=False)
        assert getattr(again, name) == getattr(session, name) and snapshot(again) == snapshot(session)


@pytest.mark.parametrize("missing", [40, 60, 85, 115, 120, 125, 128, 200, 255, 256, 257, 300, 1_000])
def test_however_many_skipped_keys_and_gaps(missing: int) -> None:
    """Each is a number and a string, and what there is of them is counted in one byte while it can be."""
    a, b = talking()
    sealed = [a.seal() for _ in range(2 * missing + 1)]
    for one in sealed[::2]:
        b.open(one)
    for session in (a.session, b.session):
        again = restore(snapshot(session), session.log, session.policy, reopened=False)
        assert snapshot(again) == snapshot(session)
    b.restart()
    assert b.open(sealed[1]).message is not None


@pytest.mark.parametrize("number", [2**16, 2**32 - 1, 2**32])
def test_high_message_numbers(number: int) -> None:
    for end in talking():
        end.session.send.next_number = number
        again = restore(snapshot(end.session), end.session.log, end.session.policy, reopened=False)
        assert again.send.next_number == number and snapshot(again) == snapshot(end.session)


def restored_or_lost(data: bytes) -> None:
    try:
        restore(data, SentLog(), DEFAULT_POLICY)
    except StateLost:
        return


def test_the_log_forgets_acknowledged_messages_only() -> None:
    a, b = talking()
    first, second, third = a.seal(), a.seal(), a.seal()
    b.open(first)
    b.open(third)
    a.open(b.receipt())
    log, acked = a.session.log, a.session.send.acked
    assert log.prune(acked, below=second.number) == [*range(first.number + 1)]
    assert log.prune(acked, below=1_000) == [third.number]
    assert log.find(second.number) is not None
    assert log.find(first.number) is None
    assert log.tag_of(first.number) is None


def test_the_log_is_in_order_however_it_was_stored() -> None:
    record = SentRecord(b"tagg", Uptime(bytes(16), 0), 50)
    log = SentLog([(2, record._replace(sealed_ms=90)), (1, record)])
    assert list(log.older_than(60, ends()[0].session.send.acked)) == [(1, 1)]
