# SPDX-License-Identifier: Apache-2.0
"""One test for each rule of spec/session.md, "Chains": openers, turns, reseeds, candidates, forks, bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealway.errors import (
    GapTooLarge,
    LocalMisuse,
    Malformed,
    NotAuthentic,
    PeerForked,
    RateLimited,
    Replayed,
)
from sealway.protocol.events import ForkSuspected
from sealway.protocol.policy import DAY_MS, DEFAULT_POLICY, HOUR_MS
from sealway.protocol.session import Start
from sealway.protocol.snapshot import snapshot
from sealway.wire.envelope import Envelope
from sealway.wire.header import Opener, StartHeader
from sealway.wire.message import CODE_CHANGED, CODE_POST, FirstIdentity, Message
from tests.protocol.session_pair import BUNDLE_ID, HASH, End, ends, header, recorded_keys, talking


def exchange(a: End, b: End, count: int) -> None:
    for _ in range(count):
        b.open(a.seal())


def test_the_steady_state_has_no_opener() -> None:
    for end in talking():
        assert header(end.seal()).opener is None


# size ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("number", "overhead"), [(10, 23), (255, 23), (256, 24), (65_535, 24)])
def test_sealing_adds_exactly_24_bytes_in_the_steady_state(number: int, overhead: int) -> None:
    a, _b = talking()
    a.session.send.next_number, a.session.send.highest_acked = number, number - 1
    for payload in (21, 100, 244):
        message = Message(CODE_POST, payload=b"x" * (payload + 1))
        assert 24 <= len(message.encode()) <= 247
        a.session.send.next_number = number
        sealed = a.seal(message)
        assert len(sealed.envelope) - len(message.encode()) == overhead
        assert sealed.message_bytes == len(message.encode())


# openers -------------------------------------------------------------------------------------------------------------
def test_the_start_stands_for_the_first_opener_until_a_reply_is_opened() -> None:
    a, b = ends()
    for _ in range(3):
        first = header(a.seal())
        assert first.start is not None
        assert first.opener is None
        assert first.kid == BUNDLE_ID
        b.open(first)
    a.open(b.seal())
    after = header(a.seal())
    assert after.start is None
    assert after.opener is None
    assert after.kid == b"B"


def test_x_is_shown_until_a_receipt_at_or_past_its_epoch() -> None:
    a, b = ends()
    b.open(a.seal())
    replies = [header(b.seal()) for _ in range(3)]
    assert all(r.opener == Opener(0, b.session.send.epoch.x, 0) for r in replies)  # type: ignore[union-attr]
    a.open(replies[1])
    b.open(a.receipt())
    assert header(b.seal()).opener is None


def test_a_reseed_is_shown_until_a_receipt_at_or_past_it() -> None:
    a, b = talking()
    a.restart()
    shown = [a.seal(), a.seal()]
    epoch = a.session.send.epoch
    assert epoch is not None
    for sealed in shown:
        assert header(sealed).opener == Opener(shown[0].number, reseed=(1, epoch.salt))
    b.open(shown[0])
    a.open(b.receipt())
    assert header(a.seal()).opener is None


def test_x_and_reseed_are_shown_together_while_neither_is_acknowledged() -> None:
    a, b = ends()
    b.open(a.seal())
    b.seal()
    b.restart()
    opener = header(b.seal()).opener
    assert opener is not None
    assert (opener.chain_first, opener.epoch_first) == (1, 0)
    assert opener.x is not None
    assert opener.reseed is not None
    b.now_ms += 1
    a.open(b.seal())


def test_beside_a_start_the_opener_of_a_reseed_shows_no_key() -> None:
    a, b = ends()
    first = a.seal()
    a.restart()
    second = header(a.seal())
    assert second.start is not None
    assert second.opener is not None
    assert second.opener.x is None
    assert second.opener.chain_first == 1
    b.open(second)  # the responder may meet the reseeded one first
    b.open(first)


def test_a_start_sealed_only_after_a_restart_has_two_chains_at_zero() -> None:
    a, b = ends()
    a.restart()
    first = header(a.seal())
    assert first.opener is not None
    assert first.opener.chain_first == 0
    b.open(first)
    exchange(a, b, 3)


# turns and steps -----------------------------------------------------------------------------------------------------
def test_the_turn_holder_steps_after_64_messages_sent_or_opened() -> None:
    a, _b = talking()
    assert a.session.my_turn
    x = a.session.send.epoch.x  # type: ignore[union-attr]
    a.session.since_step = 63
    assert header(a.seal()).opener is None
    assert a.session.since_step == 64
    opener = header(a.seal()).opener
    assert opener is not None
    assert opener.x not in (None, x)
    assert a.session.since_step == 1
    assert not a.session.my_turn


def test_the_turn_holder_steps_after_24_hours() -> None:
    a, _ = talking()
    a.now_ms += DAY_MS
    assert header(a.seal()).opener is not None


def test_a_bare_receipt_does_not_step() -> None:
    a, _ = talking()
    a.now_ms += DAY_MS
    assert header(a.receipt()).opener is None
    assert a.session.my_turn


def test_who_does_not_hold_the_turn_never_steps() -> None:
    _a, b = talking()
    assert not b.session.my_turn
    b.now_ms += 10 * DAY_MS
    b.session.since_step = 1_000
    assert header(b.seal()).opener is None


def test_an_end_without_a_sending_chain_steps_even_for_a_bare_receipt() -> None:
    a, b = ends()
    b.open(a.seal())
    bare = header(b.receipt())
    assert bare.opener is not None
    assert bare.opener.x is not None
    assert not b.session.my_turn
    a.open(bare)
    assert a.session.my_turn


def test_turns_alternate_through_many_steps() -> None:
    a, b = talking(step_after_messages=2)
    openers = set()
    for _ in range(12):
        for one, other in ((a, b), (b, a)):
            sealed = one.seal(Message(CODE_CHANGED, payload=b"reply"))
            opener = header(sealed).opener
            if opener is not None:
                openers.add(opener.x)
            other.open(sealed)
    assert len(openers) >= 8


# reseed --------------------------------------------------------------------------------------------------------------
def test_after_a_restart_nothing_is_sealed_with_the_old_chain() -> None:
    with recorded_keys() as keys:
        a, _b = talking()
        data = snapshot(a.session)
        for _ in range(3):  # three lives of one snapshot
            a.restart(data)
            sealed = a.seal()
            keys.sealed(sealed)
    assert len(keys.used) == 3


def test_a_restart_with_a_step_due_begins_a_new_epoch_instead() -> None:
    a, _b = talking()
    a.restart()
    a.now_ms += DAY_MS
    opener = header(a.seal()).opener
    assert opener is not None
    assert opener.x is not None
    assert opener.reseed is None


def test_late_messages_of_older_reseeds_still_open() -> None:
    a, b = talking()
    kept = []
    for _ in range(4):
        a.restart()
        kept += [a.seal(), a.seal()]
    for sealed in reversed(kept):
        b.open(sealed)
    for sealed in kept:
        with pytest.raises(Replayed):
            b.open(sealed)


def test_a_late_message_of_an_older_epoch_opens_without_an_opener() -> None:
    a, b = talking()
    late = a.seal()
    a.now_ms += DAY_MS
    newer = a.seal()
    assert header(late).opener is None
    assert header(newer).opener is not None
    b.open(newer)
    assert b.open(late).number == late.number


# one candidate -------------------------------------------------------------------------------------------------------
def test_a_failed_open_changes_no_chain_key_or_number() -> None:
    a, b = talking()
    a.restart()
    sealed = header(a.seal())
    broken = replace(sealed, ciphertext=sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1]))
    before = snapshot(b.session)
    with pytest.raises(NotAuthentic):
        b.open(broken)
    assert b.session.failed_opens == 1
    b.session.failed_opens = 0
    assert snapshot(b.session) == before
    b.open(sealed)


def test_a_replay_is_refused_however_late() -> None:
    a, b = talking(step_after_messages=3)
    first = a.seal()
    b.open(first)
    for _ in range(8):
        exchange(a, b, 3)
        exchange(b, a, 3)
    with pytest.raises(Replayed):
        b.open(first)


def test_an_end_refuses_its_own_messages() -> None:
    a, b = ends()
    start = a.seal()
    with pytest.raises(NotAuthentic, match="from the responder"):
        a.open(start)
    b.open(start)
    reply = b.seal()
    with pytest.raises(NotAuthentic):
        b.open(reply)
    a.open(reply)
    own = header(a.seal())
    with pytest.raises(NotAuthentic):
        a.open(replace(own, kid=b"A"))


def test_an_envelope_before_any_chain_is_refused() -> None:
    a, _b = ends()
    with pytest.raises(NotAuthentic, match="no known chain"):
        a.open(Envelope(b"A", 5, bytes(20)))
    with pytest.raises(NotAuthentic, match="no known epoch"):
        a.open(Envelope(b"A", 5, bytes(20), opener=Opener(5, reseed=(1, bytes(16)))))


# forks ---------------------------------------------------------------------------------------------------------------
def test_two_copies_that_seal_the_same_number_stop_the_session() -> None:
    a, b = talking()
    clone = a.copy()
    exchange(a, b, 3)
    forked = clone.seal()
    with pytest.raises(PeerForked):
        b.open(forked)
    assert b.session.stopped is not None
    with pytest.raises(PeerForked, match="stopped"):
        b.open(a.seal())
    with pytest.raises(LocalMisuse, match="stopped"):
        b.seal()
    assert b.session.receipt_at() is None


def test_a_copy_that_steps_below_what_was_opened_stops_the_session() -> None:
    a, b = talking()
    clone = a.copy()
    exchange(a, b, 3)
    clone.now_ms += DAY_MS
    with pytest.raises(PeerForked):
        b.open(clone.seal())


def test_a_copy_that_reseeds_where_the_next_epoch_began_stops_the_session() -> None:
    a, b = talking()
    a.now_ms += DAY_MS
    b.now_ms += DAY_MS
    b.open(a.seal())
    clone = a.copy()  # it shows its key still
    a.open(b.seal())
    a.now_ms += DAY_MS
    stepped = a.seal()
    b.open(stepped)
    same_number = clone.seal()
    opener = header(same_number).opener
    assert opener is not None
    assert opener.x is not None
    assert opener.chain_first == same_number.number == stepped.number
    with pytest.raises(PeerForked):
        b.open(same_number)


def test_a_known_reseed_with_another_salt_is_suspect_and_no_more() -> None:
    a, b = talking()
    clone = a.copy()
    a.restart()
    exchange(a, b, 2)
    for _ in range(3):
        with pytest.raises(NotAuthentic, match="another salt"):
            b.open(clone.seal())
    assert b.session.stopped is None
    events = b.session.look(b.now_ms)
    assert events
    assert all(isinstance(event, ForkSuspected) for event in events)
    exchange(a, b, 2)


def test_a_new_key_out_of_turn_is_suspect_and_rate_limited() -> None:
    a, b = talking()
    a.now_ms += DAY_MS
    clone = a.copy()
    b.open(a.seal())  # b holds the turn now
    for _ in range(20):
        with pytest.raises(NotAuthentic, match="out of turn"):
            b.open(clone.seal())
    assert len(b.session.look(b.now_ms)) == DEFAULT_POLICY.fork_events_per_hour
    b.now_ms += HOUR_MS
    with pytest.raises(NotAuthentic):
        b.open(clone.seal())
    assert len(b.session.look(b.now_ms)) == 1


def test_a_restored_sender_is_found_out_by_its_number() -> None:
    a, b = talking()
    backup = snapshot(a.session)
    exchange(a, b, 10)
    a.restart(backup)
    with pytest.raises(PeerForked):
        b.open(a.seal())


# bounds --------------------------------------------------------------------------------------------------------------
def test_a_walk_beyond_the_bound_is_refused_and_one_at_the_bound_is_not() -> None:
    a, b = talking(walk=50)
    a.session.policy = DEFAULT_POLICY
    exchange(a, b, 1)
    sealed = [a.seal() for _ in range(52)]
    with pytest.raises(GapTooLarge):
        b.open(sealed[51])
    b.open(sealed[50])
    b.open(sealed[51])


def test_jumps_over_reseeds_count_as_walk() -> None:
    a, b = talking(walk=20)
    a.session.policy = DEFAULT_POLICY
    exchange(a, b, 1)
    for _ in range(12):
        a.restart()
        sealed = a.seal()
    assert sealed.number - b.session.receive.highest <= 20
    with pytest.raises(GapTooLarge):
        b.open(sealed)


def test_too_many_reseeds_at_once_are_refused() -> None:
    a, b = talking(skipped=5)
    exchange(a, b, 1)
    for _ in range(7):
        a.restart()
        sealed = a.seal()
    with pytest.raises(GapTooLarge, match="reseeds"):
        b.open(sealed)


def test_reseed_roots_are_bounded_and_what_needed_them_is_gone() -> None:
    a, b = talking(skipped=5)
    exchange(a, b, 1)
    sealed = []
    for _ in range(12):
        a.restart()
        sealed.append(a.seal())
        if len(sealed) % 4 == 0:
            b.open(sealed[-1])
    assert sum(len(e.skipped_roots) for e in b.session.receive.epochs) <= 5
    assert sealed[0].number in [n for first, last in b.session.receive.gone for n in range(first, last + 1)]
    with pytest.raises(NotAuthentic, match="root"):
        b.open(sealed[0])
    assert b.session.look(b.now_ms) == []  # no suspicion


def test_skipped_keys_are_bounded_and_the_lowest_gap_is_gone() -> None:
    a, b = talking(skipped=5)
    first, second = [[a.seal() for _ in range(n)] for n in (4, 4)]
    b.open(first[3])
    b.open(second[3])
    assert sum(len(c.skipped) for e in b.session.receive.epochs for c in e.chains) <= 5
    receipt = b.session.receive.receipt()
    assert receipt is not None
    assert receipt.gone == ((first[0].number, first[2].number),)
    with pytest.raises(Replayed):
        b.open(first[1])
    b.open(second[0])


def test_of_a_walk_longer_than_the_store_the_newest_keys_are_kept() -> None:
    a, b = talking(skipped=5)
    sealed = [a.seal() for _ in range(20)]
    b.open(sealed[19])
    assert list(b.session.receive.gone) == [(sealed[0].number, sealed[13].number)]
    b.open(sealed[14])


def test_when_the_next_chain_is_known_its_predecessor_keeps_single_keys_only() -> None:
    a, b = talking(skipped=5)
    unseen = [a.seal() for _ in range(20)]
    a.restart()
    b.open(a.seal())
    closed = b.session.receive.epochs[-1].chains[0]
    assert closed.key is None
    assert sorted(closed.skipped) == [s.number for s in unseen[-5:]]
    b.open(unseen[-1])
    with pytest.raises(Replayed):
        b.open(unseen[0])


def test_separate_gaps_are_bounded() -> None:
    a, b = talking(gap_ranges=4)
    sealed = [a.seal() for _ in range(10)]
    for i in (1, 3, 5):
        b.open(sealed[i])
    before = snapshot(b.session)
    with pytest.raises(GapTooLarge, match="separate gaps"):
        b.open(sealed[7])
    assert snapshot(b.session) == before
    b.open(sealed[4])
    b.open(sealed[6])
    b.open(sealed[8])  # room again


def test_chains_and_epochs_are_bounded() -> None:
    a, b = talking(chains=6, epochs=3, step_after_messages=8)
    for _ in range(30):
        a.restart()
        exchange(a, b, 2)
        exchange(b, a, 2)
    assert sum(len(e.chains) for e in b.session.receive.epochs) <= 6
    assert len(b.session.receive.epochs) <= 3


def test_older_epochs_are_forgotten_after_held_for() -> None:
    a, b = talking(step_after_messages=2)
    late = a.seal()
    replayed = a.seal()
    b.open(replayed)
    for _ in range(3):
        exchange(a, b, 2)
        exchange(b, a, 2)
    b.now_ms += DEFAULT_POLICY.held_for_ms
    b.session.look(b.now_ms)
    assert len(b.session.receive.epochs) == 1
    assert late.number in b.session.receive.gone
    with pytest.raises(NotAuthentic):
        b.open(late)
    with pytest.raises(Replayed):
        b.open(replayed)


def test_a_replay_of_a_forgotten_opener_is_a_replay_and_no_suspicion() -> None:
    a, b = ends(step_after_messages=2)
    b.open(a.seal())
    opener = b.seal()
    a.open(opener)
    for _ in range(6):
        exchange(a, b, 3)
        exchange(b, a, 3)
    a.now_ms += DEFAULT_POLICY.held_for_ms
    a.session.look(a.now_ms)
    assert a.session.receive.epochs[0].first > 0
    for _ in range(2):
        with pytest.raises(Replayed):
            a.open(opener)
        exchange(a, b, 1)
        exchange(b, a, 1)
    assert a.session.look(a.now_ms) == []


def forged(number: int, opener: Opener | None = None) -> Envelope:
    return Envelope(b"B", number, bytes(24), opener=opener)


def test_failed_opens_close_the_session_at_their_limit() -> None:
    a, b = talking(failed_opens=5)
    for _ in range(5):
        with pytest.raises(NotAuthentic):
            b.open(forged(b.session.receive.highest + 1))
    assert b.session.stopped is not None
    with pytest.raises(PeerForked, match="failed opens"):
        b.open(a.seal())


def test_costly_failed_opens_run_into_the_allowance_and_cheap_ones_do_not() -> None:
    a, b = talking(walk=1_000)
    next_number = b.session.receive.highest + 1
    for _ in range(2):
        with pytest.raises(NotAuthentic):
            b.open(forged(next_number + 999))
    with pytest.raises(NotAuthentic):
        b.open(forged(next_number + 999))
    for far in (forged(next_number + 999), forged(next_number, Opener(next_number, reseed=(900, bytes(16))))):
        with pytest.raises(RateLimited):
            b.open(far)
    exchange(a, b, 3)  # who follows the peer is not shut out
    b.now_ms += 1_000
    with pytest.raises(NotAuthentic):
        b.open(forged(next_number + 900))


def test_unknown_keys_run_into_the_allowance() -> None:
    a, b = talking(walk=100)
    x = b.session.receive.epochs[0].x  # any point on the curve
    a_epoch = Opener(50, x, 50)
    for _ in range(20):
        with pytest.raises((NotAuthentic, RateLimited)) as refused:
            a.open(replace(forged(50, replace(a_epoch, chain_first=50)), kid=b"A"))
    # a holds the turn: a key out of turn costs nothing
    assert refused.type is not RateLimited
    kinds = []
    for _ in range(6):
        with pytest.raises((NotAuthentic, RateLimited)) as refused:
            b.open(forged(50, Opener(50, a.session.receive.epochs[0].x, 50)))
        kinds.append(refused.type)
    assert kinds[0] is NotAuthentic
    assert kinds[-1] is RateLimited


def test_a_key_off_the_curve_is_refused() -> None:
    _a, b = talking()
    off_curve = next(bytes([i]) * 32 for i in range(1, 50) if not _on_curve(bytes([i]) * 32))
    with pytest.raises(NotAuthentic, match="curve"):
        b.open(forged(50, Opener(50, off_curve, 50)))


def _on_curve(x: bytes) -> bool:
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    v = int.from_bytes(x)
    return v < p and pow(v**3 - 3 * v + b, (p - 1) // 2, p) == 1


def test_a_sender_stops_at_the_window() -> None:
    a, _b = talking(walk=20)
    while a.session.send.unacknowledged < a.session.policy.window:
        a.seal()
    with pytest.raises(LocalMisuse, match="unacknowledged"):
        a.seal()
    a.receipt()  # a bare receipt may still go


def test_a_moved_message_may_use_the_rest_of_the_walk() -> None:
    a, _b = talking(walk=20)
    while a.session.send.unacknowledged < a.session.policy.window:
        a.seal()
    moved = Message(CODE_POST, payload=b"moved", first_identity=FirstIdentity(a.session.hash, 1))
    while a.session.send.unacknowledged < a.session.policy.walk:
        a.seal(moved)
    with pytest.raises(LocalMisuse, match="unacknowledged"):
        a.seal(moved)


@pytest.mark.parametrize("later_ms", [0, DAY_MS])
def test_the_numbers_end_at_2_to_the_32(later_ms: int) -> None:
    a, _ = talking()
    a.session.send.next_number, a.session.send.highest_acked = 2**32 - 1, 2**32 - 2
    assert a.seal().number == 2**32 - 1
    a.session.send.highest_acked = 2**32 - 1
    a.now_ms += later_ms
    with pytest.raises(LocalMisuse, match="all its numbers"):
        a.seal()


# what is inside ------------------------------------------------------------------------------------------------------
def sealed_plaintext(end: End, plaintext: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(Message, "encode", lambda self: plaintext)
        return end.seal().envelope


def test_a_malformed_inner_message_uses_up_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = talking()
    opened = b.open(sealed_plaintext(a, b"\xe0 not a message", monkeypatch))
    assert opened.message is None
    assert isinstance(opened.defect, Malformed)
    assert b.session.receive.was_opened(opened.number)
    exchange(a, b, 1)


def test_start_options_belong_into_starts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = ends()
    opened = b.open(sealed_plaintext(a, Message(CODE_POST).encode(), monkeypatch))
    assert isinstance(opened.defect, Malformed)
    a, b = talking()
    late = Message(CODE_POST, start_signature=bytes(64), newest_session=b"").encode()
    assert isinstance(b.open(sealed_plaintext(a, late, monkeypatch)).defect, Malformed)


def test_a_first_reply_must_name_its_kid(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = ends()
    b.open(a.seal())
    assert isinstance(a.open(sealed_plaintext(b, Message(CODE_POST).encode(), monkeypatch)).defect, Malformed)
    assert header(a.seal()).start is not None  # not answered yet
    a.open(b.seal())
    assert header(a.seal()).kid == b"B"


def test_the_responder_names_its_kid_until_a_message_came_to_it() -> None:
    a, b = ends()
    b.open(a.seal())
    first, second = b.seal(), b.seal()
    assert a.open(first).message.receive_kid == b"B"  # type: ignore[union-attr]
    assert a.open(second).message.receive_kid == b"B"  # type: ignore[union-attr]
    b.open(a.seal())
    assert a.open(b.seal()).message.receive_kid is None  # type: ignore[union-attr]


def test_a_start_carries_signature_and_newest_session_until_it_is_answered() -> None:
    a, b = ends()
    message = b.open(a.seal()).message
    assert message is not None
    assert message.start_signature == b"s" * 64
    assert message.newest_session == b""
    a.open(b.seal())
    message = b.open(a.seal()).message
    assert message is not None
    assert message.start_signature is None
    assert message.newest_session is None


def test_an_evicted_root_leaves_what_is_missing_around_it_gone() -> None:
    a, b = talking()
    exchange(a, b, 1)
    sealed = []
    for _ in range(4):
        a.restart()
        sealed.append(a.seal())
    b.open(sealed[3])
    receive = b.session.receive
    assert not receive.gone
    receive._evict_roots(replace(DEFAULT_POLICY, skipped=2))
    assert list(receive.gone) == [(sealed[0].number, sealed[2].number)]
    assert not any(chain.skipped for epoch in receive.epochs for chain in epoch.chains)


def test_a_fork_that_was_found_is_remembered_and_named_in_the_next_start() -> None:
    a, b = talking()
    clone = a.copy()
    b.open(a.seal())
    with pytest.raises(PeerForked):
        b.open(clone.seal())
    b.restart()
    assert b.session.peer_forked
    b.session.start = Start(StartHeader(bytes(32), bytes(32), b"A", bytes(32)), bytes(64), b"", b.session.hash)
    b.restart()
    assert b.session.start is not None
    assert b.session.start.forked_session == HASH


def test_a_forked_session_is_named_in_starts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = talking()
    late = Message(CODE_POST, forked_session=bytes(32)).encode()
    assert isinstance(b.open(sealed_plaintext(a, late, monkeypatch)).defect, Malformed)
