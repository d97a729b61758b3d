# SPDX-License-Identifier: Apache-2.0
"""One test for each rule of spec/session.md, "Receipts": what is acknowledged, when, and what is reported."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import LocalMisuse, PeerForked, Replayed, StateLost
from sealway.protocol.events import Missing, Silent
from sealway.protocol.outcome import Opened, Sealed
from sealway.protocol.policy import DAY_MS, DEFAULT_POLICY, HOUR_MS
from sealway.protocol.ranges import RangeSet
from sealway.protocol.receiving import Receiving
from sealway.protocol.snapshot import snapshot
from sealway.wire.message import CODE_CHANGED, CODE_EMPTY, CODE_POST, Message, Receipt
from tests.protocol.session_pair import START_MS, End, ends, header, talking

T_ACK = DEFAULT_POLICY.ack_delay_ms
SOON = DEFAULT_POLICY.ack_soon_ms


def receipt_of(opened: Opened) -> Receipt | None:
    assert opened.message is not None
    return opened.message.receipt


def answer(b: End, a: End) -> Opened:
    """Have b's receipt opened by a."""
    return a.open(b.receipt())


# what a receipt says -------------------------------------------------------------------------------------------------
def test_a_receipt_names_the_highest_number_its_tag_and_the_gaps() -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(6)]
    for i in (0, 3, 5):
        b.open(sealed[i])
    n = sealed[0].number
    assert b.session.receive.receipt() == Receipt(n + 5, sealed[5].tag, ((n + 1, n + 2), (n + 4, n + 4)))


def test_a_receipt_stops_below_the_ninth_gap() -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(40)]
    for one in sealed[::2]:
        b.open(one)
    receipt = b.session.receive.receipt()
    assert receipt is not None
    assert len(receipt.missing) == 8
    assert receipt.number == sealed[16].number
    assert receipt.tag == sealed[16].tag


def test_the_number_of_receipts_never_falls_when_a_gap_is_split() -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(60)]
    for i in (*range(0, 14, 2), 59):
        b.open(sealed[i])
    first = b.session.receive.receipt()
    assert first is not None
    assert first.number == sealed[59].number
    for i in (20, 30, 33, 50):  # late ones split the last gap
        b.open(sealed[i])
    second = b.session.receive.receipt()
    assert second is not None
    assert second.number == first.number
    assert second.tag == first.tag
    assert len(second.missing) == 8
    told = {n for low, high in second.missing for n in range(low, high + 1)}
    missing = {s.number for s in sealed} - {s.number for s in sealed if b.session.receive.was_opened(s.number)}
    assert missing <= told  # merged gaps tell more as missing, never less


def test_merged_gaps_are_offered_again_and_everything_arrives() -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(60)]
    for i in (*range(0, 14, 2), 59):
        b.open(sealed[i])
    answer(b, a)
    for i in (20, 30, 33, 50):
        b.open(sealed[i])
    news = answer(b, a).acknowledgement
    assert news is not None
    for first, last in news.missing:
        for number in range(first, last + 1):
            if not b.session.receive.was_opened(number):
                b.open(sealed[number - sealed[0].number])
    answer(b, a)
    assert not a.session.send.acked.gaps(a.session.send.next_number - 1)


def test_a_receipt_that_splits_missing_and_gone_fits_even_before_the_first_opened_number() -> None:
    receive = Receiving(
        closed=RangeSet([(40, 40)]), marks={40: b"tagg"}, gone=RangeSet((n, n) for n in range(0, 38, 4))
    )
    receipt = receive.receipt()
    assert receipt is not None
    assert receipt.number == 40
    assert len(receipt.missing) + len(receipt.gone) <= 8
    assert min(first for first, _ in receipt.missing + receipt.gone) == 0


numbers = st.lists(st.integers(0, 120), min_size=1, max_size=60, unique=True)


@given(numbers, st.sets(st.integers(0, 120)))
def test_receipts_never_fall_and_never_claim_what_was_not_opened(arriving: list[int], gone: set[int]) -> None:
    receive, highest = Receiving(), -1
    for at, number in enumerate(arriving):
        receive.closed.add(number)
        receive._note(number, number.to_bytes(4))
        receive.gone.remove(number, number)
        for lost in gone:
            if lost not in receive.closed and lost < receive.highest:
                receive.gone.add(lost)
        receipt = receive.receipt()
        assert receipt is not None
        assert receipt.number >= highest
        highest = receipt.number
        assert receipt.tag == highest.to_bytes(4)
        listed = RangeSet(receipt.missing + receipt.gone)
        claimed = {n for first, last in listed.gaps(highest + 1) for n in range(first, last + 1)}
        assert claimed <= set(arriving[: at + 1])
        assert all(n not in receive.closed for first, last in receipt.gone for n in range(first, last + 1))


# what a receipt does at the sender -----------------------------------------------------------------------------------
def test_an_acknowledgement_covers_what_was_opened_and_wants_what_was_not() -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(5)]
    for i in (0, 1, 4):
        b.open(sealed[i])
    n = sealed[0].number
    news = answer(b, a).acknowledgement
    assert news is not None
    assert news.covered == ((n, n + 1), (n + 4, n + 4))
    assert news.missing == ((n + 2, n + 3),)
    assert news.gone == ()


def test_what_is_gone_is_wanted_anew() -> None:
    a, b = talking(skipped=2)
    sealed = [a.seal() for _ in range(6)]
    b.open(sealed[5])
    n = sealed[0].number
    news = answer(b, a).acknowledgement
    assert news is not None
    assert news.gone == ((n, n + 2),)
    assert news.missing == ((n + 3, n + 4),)


def test_a_receipt_that_comes_late_covers_but_wants_nothing() -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(4)]
    b.open(sealed[0])
    b.open(sealed[3])
    early = b.receipt()
    b.open(sealed[1])
    b.open(sealed[2])
    answer(b, a)
    news = a.open(early).acknowledgement
    assert news is not None
    assert news.missing == ()
    assert a.session.send.highest_acked == sealed[3].number


def with_receipt(b: End, receipt: Receipt, monkeypatch: pytest.MonkeyPatch) -> Sealed:
    with monkeypatch.context() as patch:
        patch.setattr(Receiving, "receipt", lambda self: receipt)
        return b.receipt()


def test_an_acknowledged_number_that_was_never_sealed_is_lost_state(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = talking()
    lie = with_receipt(b, Receipt(a.session.send.next_number, b"tagg"), monkeypatch)
    with pytest.raises(StateLost, match="never sealed"):
        a.open(lie)
    assert a.session.stopped is not None


def test_a_restored_end_learns_from_a_receipt_that_its_state_is_lost() -> None:
    a, b = talking()
    backup = snapshot(a.session)
    for _ in range(5):
        b.open(a.seal())
    a.restart(backup)
    with pytest.raises(StateLost):
        answer(b, a)


def test_another_tag_under_an_acknowledged_number_is_lost_state() -> None:
    a, b = talking()
    clone = a.copy()
    b.open(clone.seal())
    a.seal()
    with pytest.raises(StateLost, match="another message"):
        answer(b, a)


def test_a_tag_that_is_no_longer_remembered_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = talking()
    b.open(a.seal())
    answer(b, a)
    assert a.session.log.prune(a.session.send.acked, below=a.session.send.next_number)
    a.open(with_receipt(b, Receipt(a.session.send.next_number - 1, b"????"), monkeypatch))


@pytest.mark.parametrize("late", [False, True])
def test_acknowledgements_that_fall_prove_a_fork_in_whichever_order_they_come(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(2)]
    receipts = [with_receipt(b, Receipt(s.number, s.tag), monkeypatch) for s in reversed(sealed)]
    if late:
        receipts.reverse()
    a.open(receipts[0])
    with pytest.raises(PeerForked, match="less"):
        a.open(receipts[1])


# when receipts go ----------------------------------------------------------------------------------------------------
def test_a_start_makes_a_receipt_due_at_once_and_an_opener_soon() -> None:
    a, b = ends()
    assert b.session.receipt_at() is None
    b.open(a.seal())
    assert b.session.receipt_at() == START_MS
    a.open(b.receipt())
    a.now_ms = b.now_ms = START_MS + T_ACK
    a.restart()
    b.open(a.seal())  # with the opener of a reseed
    assert b.session.receipt_at() == START_MS + T_ACK + SOON <= START_MS + 2 * T_ACK


def test_receipts_by_themselves_go_at_most_once_within_t_ack() -> None:
    a, b = ends()
    b.open(a.seal())
    b.now_ms += SOON
    b.receipt()
    b.open(a.seal())  # still with its start header: the receipt has not come
    assert b.session.receipt_at() == START_MS + SOON + T_ACK


def test_a_due_receipt_rides_on_the_next_message() -> None:
    a, b = ends()
    b.open(a.seal())
    reply = a.open(b.seal())
    assert receipt_of(reply) is not None
    assert b.session.receipt_at() is None


def test_plain_messages_are_acknowledged_after_64_or_a_day() -> None:
    a, b = talking()
    for _ in range(63):
        b.open(a.seal())
    assert b.session.receipt_at() == START_MS + DAY_MS
    b.open(a.seal())
    assert b.session.receipt_at() == 0
    b.receipt()
    assert b.session.receipt_at() is None


def test_a_plain_message_carries_a_receipt_only_when_it_is_due() -> None:
    a, b = talking()
    b.open(a.seal())
    assert receipt_of(a.open(b.seal())) is None
    b.now_ms += DAY_MS
    b.session.stepped_ms = b.now_ms
    assert receipt_of(a.open(b.seal())) is not None


def test_a_response_carries_a_receipt_if_there_is_something_to_say() -> None:
    a, b = talking()
    response = Message(CODE_CHANGED, request_id=b"12345678")
    assert receipt_of(a.open(b.seal(response))) is None
    b.open(a.seal())
    assert receipt_of(a.open(b.seal(response))) is not None


def test_a_bare_receipt_without_an_opener_elicits_nothing() -> None:
    a, b = talking()
    for _ in range(200):
        b.open(a.receipt())
        a.open(b.receipt())
    assert a.session.receipt_at() is None
    assert b.session.receipt_at() is None


def test_a_bare_receipt_with_an_opener_elicits_one_and_then_it_ends() -> None:
    a, b = ends()
    b.open(a.seal())
    sent = 0
    for _ in range(20):
        for one, other in ((b, a), (a, b)):
            one.now_ms += T_ACK
            at = one.session.receipt_at()
            if at is not None and at <= one.now_ms:
                other.open(one.receipt())
                sent += 1
    assert sent == 2


def test_many_bare_receipts_are_told_of_by_the_next_message() -> None:
    a, b = talking()
    for _ in range(DEFAULT_POLICY.ack_every):
        b.open(a.receipt())
    assert receipt_of(a.open(b.seal())) is not None


def test_a_replay_makes_a_receipt_due_at_most_once_per_t_ack() -> None:
    a, b = talking()
    sealed = a.seal()
    b.open(sealed)
    receipts = 0
    for _ in range(40):
        with pytest.raises(Replayed):
            b.open(sealed)
        b.now_ms += 1_000
        at = b.session.receipt_at()
        if at is not None and at <= b.now_ms:
            b.receipt()
            receipts += 1
    assert receipts == 40_000 // T_ACK - 1 or receipts == 40_000 // T_ACK


def test_a_bare_receipt_is_not_kept() -> None:
    a, b = talking()
    assert not b.receipt().kept
    assert b.seal().kept
    del a


# void ----------------------------------------------------------------------------------------------------------------
def test_lost_bare_receipts_are_declared_void_once_they_are_missed() -> None:
    a, b = talking()
    lost = b.receipt()
    a.open(b.seal())
    news = answer(a, b).acknowledgement
    assert news is not None
    assert news.missing == ()  # it is not to be offered again
    assert b.session.receipt_at() == START_MS + T_ACK  # telling is due
    message = answer(b, a).message
    assert message is not None
    assert message.void == ((lost.number, lost.number),)
    assert a.session.receive.missing() == []
    assert not a.session.receive.was_opened(lost.number)
    with pytest.raises(Replayed):
        a.open(lost)
    assert b.session.send.void == RangeSet()


def test_void_that_got_lost_is_told_again() -> None:
    a, b = talking()
    b.receipt()
    a.open(b.seal())
    answer(a, b)
    b.receipt()  # tells, and is lost
    assert b.session.send.void == RangeSet()
    a.open(b.seal())
    answer(a, b)
    message = answer(b, a).message
    assert message is not None
    assert len(message.void) == 2


def test_moved_messages_are_given_up_and_told() -> None:
    a, b = talking(skipped=1)
    sealed = [a.seal() for _ in range(4)]
    b.open(sealed[3])
    news = answer(b, a).acknowledgement
    assert news is not None
    (first, last), *_ = news.gone
    a.session.send.give_up(first, last, tell=True)
    b.open(a.seal())
    assert b.session.receive.missing() == [(sealed[2].number, sealed[2].number)]
    answer(b, a)
    assert list(a.session.send.acked.outside(first, last)) == []


def test_a_number_never_sealed_cannot_be_given_up() -> None:
    a, _ = talking()
    with pytest.raises(LocalMisuse):
        a.session.send.give_up(0, a.session.send.next_number)


def test_only_numbers_below_the_message_itself_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = talking()
    sealed = a.seal()
    a.session.send.void.add(sealed.number + 1, sealed.number + 9)
    carrier = a.seal()
    b.open(carrier)
    assert sealed.number in b.session.receive.missing()[0]
    b.open(a.seal())  # within what was declared, yet opened


def test_a_late_void_message_of_an_unknown_reseed_is_no_fork() -> None:
    a, b = talking()
    b.open(a.seal())
    a.restart()
    late = a.receipt()
    a.restart()
    b.open(a.seal())
    answer(b, a)
    b.open(a.seal())
    assert not b.session.receive.missing()
    with pytest.raises(Replayed):
        b.open(late)
    assert not b.session.receive.was_opened(late.number)
    assert b.session.stopped is None


def test_a_new_chain_around_void_numbers_is_no_fork() -> None:
    a, b = talking()
    b.open(a.seal())
    a.restart()
    bare, kept = a.receipt(), a.seal()
    a.restart()
    b.open(a.seal())
    a.session.send.void.add(bare.number)
    b.open(a.seal())
    b.open(kept)  # the first of its chain that is opened; below it is a void number


def test_void_leaves_no_more_gaps_than_the_policy_allows() -> None:
    a, b = talking(gap_ranges=3)
    sealed = [a.seal() for _ in range(20)]
    b.open(sealed[4])
    a.session.send.void = RangeSet((sealed[i].number, sealed[i].number) for i in (6, 8, 10, 12))
    a.session.send.next_number = sealed[5].number  # seal number 5 again: only the void option matters here
    carrier = sealed[4].number + 1
    b.session.receive.drop(tuple(a.session.send.void), 50, b.session.policy)
    assert len(b.session.receive.closed) <= 3
    assert carrier not in b.session.receive.closed


def test_void_ranges_are_bounded() -> None:
    receive = Receiving(closed=RangeSet([(0, 0), (100, 100)]), marks={0: b"aaaa", 100: b"bbbb"})
    for number in range(2, 60, 3):
        receive.drop(((number, number),), 100, replace(DEFAULT_POLICY, void_ranges=4))
    assert list(receive.void) == [(2, 2), (5, 5), (8, 8), (11, 11)]
    assert 14 not in receive.closed  # receipts go on listing it


# what is reported ----------------------------------------------------------------------------------------------------
def test_missing_is_reported_once_an_hour_after_a_receipt_told_of_it() -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(3)]
    b.open(sealed[2])
    assert b.session.look(b.now_ms + 2 * HOUR_MS) == []  # nobody was told
    b.receipt()
    assert b.session.look(b.now_ms + HOUR_MS - 1) == []
    n = sealed[0].number
    assert b.session.look(b.now_ms + HOUR_MS) == [Missing(b.session.peer, b.session.hash, ((n, n + 1),))]
    b.now_ms += 2 * HOUR_MS
    b.open(sealed[0])
    b.receipt()
    assert b.session.look(b.now_ms + 2 * HOUR_MS) == []


def test_a_gap_listed_within_a_wider_one_is_not_reported_twice() -> None:
    a, b = talking()
    clock = b.session.clock
    clock.sent(START_MS, ((5, 6),))
    assert clock.missing(RangeSet([(5, 6)]), START_MS + HOUR_MS, DEFAULT_POLICY) == ((5, 6),)
    clock.sent(START_MS + HOUR_MS, ((4, 9),))
    gaps = RangeSet([(5, 6), (8, 8)])
    assert clock.missing(gaps, START_MS + 2 * HOUR_MS, DEFAULT_POLICY) == ((8, 8),)
    del a


def test_what_comes_in_time_is_not_reported() -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(2)]
    b.open(sealed[1])
    b.receipt()
    b.open(sealed[0])
    assert b.session.look(b.now_ms + DAY_MS) == []


def test_silence_is_reported_once_and_again_after_the_peer_was_heard() -> None:
    a, b = talking()
    assert b.session.look(b.now_ms + 100 * DAY_MS) == []  # nothing was promised
    b.open(a.seal(Message(CODE_POST, max_silence=60)))
    assert b.session.look(b.now_ms + 60_000) == []
    assert b.session.look(b.now_ms + 60_001) == [Silent(b.session.peer, b.session.hash, b.now_ms)]
    assert b.session.look(b.now_ms + 90_000) == []
    b.open(a.seal(Message(CODE_EMPTY)))  # a sign of life
    assert b.session.look(b.now_ms + 60_001) != []


def test_unacknowledged_names_what_waits_for_an_hour_and_no_bare_receipts() -> None:
    a, b = talking()
    first = a.seal()
    a.receipt()
    a.now_ms += HOUR_MS
    late = a.seal()
    assert a.session.unacknowledged(a.now_ms) == ()
    assert a.session.unacknowledged(a.now_ms + 1) == ((first.number, first.number),)
    b.open(first)
    answer(b, a)
    assert a.session.unacknowledged(a.now_ms + 1) == ()
    assert a.session.unacknowledged(a.now_ms + HOUR_MS + 1) == ((late.number, late.number),)


def test_a_stopped_session_reports_nothing_new() -> None:
    a, b = talking()
    sealed = [a.seal() for _ in range(2)]
    b.open(sealed[1])
    b.receipt()
    b.session.stopped = "test"
    assert b.session.look(b.now_ms + DAY_MS) == []


def test_the_opener_of_a_message_makes_a_receipt_due() -> None:
    a, b = talking()
    a.restart()
    sealed = a.seal()
    assert header(sealed).opener is not None
    b.open(sealed)
    assert b.session.receipt_at() == START_MS + T_ACK
