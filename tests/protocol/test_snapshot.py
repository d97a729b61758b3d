# SPDX-License-Identifier: Apache-2.0
"""Sessions as bytes and back: spec/session.md, "State"."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealway.errors import StateLost
from sealway.protocol.policy import DAY_MS, DEFAULT_POLICY
from sealway.protocol.sentlog import SentLog, SentRecord, Uptime
from sealway.protocol.snapshot import CHECK_BYTES, restore, snapshot
from sealway.wire import cbor
from tests.protocol.session_pair import End, ends, talking


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
    fields = cbor.decode(snapshot(a.session)[:-CHECK_BYTES], limit=1 << 20)
    fields[0] = 99
    with pytest.raises(StateLost, match="damaged"):
        restore(checked(fields), SentLog(), DEFAULT_POLICY)


def checked(fields: list[Any]) -> bytes:
    """A snapshot of these fields, whose check value fits."""
    encoded = cbor.encode(fields)
    return encoded + zlib.crc32(encoded).to_bytes(CHECK_BYTES)


SNAPSHOT = snapshot(eventful()[1].session)
JUNK: list[Any] = [None, 7, b"", b"\x01" * 40, "text", [], [1], {}, {1: 2}, True, [[[]]], [None, None]]


@given(st.integers(0, len(SNAPSHOT) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_lost_state(position: int, bit: int) -> None:
    data = bytearray(SNAPSHOT)
    data[position] ^= 1 << bit
    with pytest.raises(StateLost, match="damaged"):
        restore(bytes(data), SentLog(), DEFAULT_POLICY)


@given(st.integers(0, len(SNAPSHOT) - 1))
def test_cut_snapshots_are_lost_state(length: int) -> None:
    with pytest.raises(StateLost):
        restore(SNAPSHOT[:length], SentLog(), DEFAULT_POLICY)


@settings(suppress_health_check=list(HealthCheck))
@given(st.data())
def test_wrong_types_anywhere_give_a_session_or_lost_state(data: st.DataObject) -> None:
    value = cbor.decode(SNAPSHOT[:-CHECK_BYTES], limit=1 << 20)
    place = value
    for _ in range(data.draw(st.integers(0, 4))):
        lists = [item for item in place if isinstance(item, list) and item]
        if not lists:
            break
        place = data.draw(st.sampled_from(lists))
    place[data.draw(st.integers(0, len(place) - 1))] = data.draw(st.sampled_from(JUNK))
    restored_or_lost(checked(value))


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
