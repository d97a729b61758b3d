# SPDX-License-Identifier: Apache-2.0
"""What a thief of a session's state can do with it: nothing with what was opened before, and nothing once the two ends
have each taken a turn without the thief. In between, everything; that is said in THREAT_MODEL.md, and shown here."""

from __future__ import annotations

from unittest import mock

import pytest

from sealway.crypto.suites import Suite
from sealway.errors import PeerForked, PeerMisbehaved, Replayed, StateLost
from sealway.protocol import schedule
from sealway.protocol.outcome import Sealed
from sealway.protocol.snapshot import snapshot
from tests.protocol.session_pair import End, talking

DAY_MS = 86_400_000


def turn(sender: End, receiver: End, clock: End) -> Sealed:
    """A day later, whoever holds the turn takes it; the message that shows it arrives."""
    for end in (sender, receiver, clock):
        end.now_ms += DAY_MS
    before = sender.session.send.epoch.first if sender.session.send.epoch is not None else None
    sealed = sender.seal(b"a day later")
    assert sender.session.send.epoch is not None and sender.session.send.epoch.first != before, "no turn was taken"
    receiver.open(sealed)
    return sealed


def holder(a: End, b: End) -> tuple[End, End]:
    """Who holds the turn, and who does not."""
    return (a, b) if a.session.my_turn else (b, a)


def test_what_was_opened_before_stays_closed() -> None:
    a, b = talking()
    keys: list[bytes] = []
    split = schedule.split

    def recorded(secret: bytes, suite: Suite) -> tuple[bytes, bytes]:
        keys.extend((secret, *split(secret, suite)))
        return split(secret, suite)

    with mock.patch.object(schedule, "split", recorded):
        sealed = [a.seal(b"%d" % number) for number in range(20)]
        for letter in sealed:
            b.open(letter)
    assert len(keys) >= 3 * 20
    for state in (snapshot(a.session), snapshot(b.session)):
        assert not [key for key in keys if key in state], "a key of what was opened is still there"
    thief = b.copy()
    for letter in sealed:
        with pytest.raises(PeerMisbehaved):
            thief.open(letter)


def test_what_comes_next_is_open_to_the_thief_until_both_have_taken_a_turn() -> None:
    a, b = talking()
    first, second = holder(a, b)
    thief = second.copy()
    coming = first.seal(b"still the old chain")
    assert second.open(coming).message == thief.open(coming).message, "this is not caught, and THREAT_MODEL says so"
    thief.open(turn(first, second, thief))  # towards a key that the thief has
    turn(second, first, thief)  # a key that the thief does not have
    with pytest.raises(PeerMisbehaved):
        thief.open(turn(first, second, thief))
    with pytest.raises(PeerMisbehaved):
        thief.open(first.seal(b"and from now on"))


def test_a_thief_who_speaks_after_the_victim_is_found_out_by_the_peer() -> None:
    a, b = talking()
    thief = a.copy()
    b.open(a.seal(b"the real one"))
    with pytest.raises(PeerForked):
        b.open(thief.seal(b"in a's name"))


def test_a_thief_who_speaks_first_is_found_out_by_the_victim() -> None:
    """The thief's message is accepted; the peer's receipt for it tells the victim of a second copy."""
    a, b = talking()
    thief = a.copy()
    b.open(thief.seal(b"in a's name"))
    with pytest.raises(Replayed):
        b.open(a.seal(b"the real one"))
    with pytest.raises(StateLost):
        a.open(b.receipt())
