# SPDX-License-Identifier: Apache-2.0
"""The middlebox by itself: honest without an act, bounded, repeatable, exact in its account."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealway.adversary import memory
from sealway.adversary.delaying import HoldParameters, ReorderParameters
from sealway.adversary.flooding import FloodParameters, RecordedParameters
from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.replaying import LaterParameters
from sealway.adversary.tampering import Original, TamperParameters
from sealway.errors import LocalMisuse
from sealway.wire.carriage import Acknowledgement, Verdicts
from tests.adversary.samples import MAILBOX, OTHER, SAMPLES, Bench, numbered, passing


def test_without_an_act_everything_passes_as_it_came() -> None:
    bench = Bench()
    for sample in SAMPLES:
        original = passing(sample)
        assert bench.send(original)[0] is original
    assert bench.due() == [] and bench.box.tally is None and not bench.box.is_over


def test_one_act_at_a_time() -> None:
    bench = Bench()
    with pytest.raises(LocalMisuse, match="no act"):
        bench.box.end()
    bench.begin("drop-some")
    with pytest.raises(LocalMisuse, match="another act"):
        bench.begin("drop-some")


def test_what_is_selected() -> None:
    bench = Bench()
    bench.begin("drop-some", every=3, count=2, subjects=frozenset({MAILBOX}))
    kept = [bool(bench.send(numbered(n))) for n in range(10)]
    assert kept == [True, True, False, True, True, False, True, True, True, True]
    assert bench.box.is_over
    bench.box.end()
    bench.begin("drop-some", subjects=frozenset({MAILBOX}))
    assert bench.send(numbered(1, OTHER)) and not bench.send(numbered(2))
    assert bench.send(passing(leg=Leg.UP))


def test_time_ends_it() -> None:
    bench = Bench()
    bench.begin("drop-some", seconds=5)
    assert not bench.send(numbered(1)) and not bench.box.is_over
    bench.clock.now += 5
    assert bench.send(numbered(2)) and bench.box.is_over


def test_an_item_counts_as_reached_once_and_only_if_it_was_tried() -> None:
    bench = Bench()
    bench.begin("duplicate")
    original = numbered(1)
    first, copy = bench.box.pass_on(original)
    assert first is original and copy.content == original.content
    bench.box.note_reached(original)
    assert bench.box.tally is not None and bench.box.tally.reached_network == 0
    bench.box.note_reached(copy)
    bench.box.note_reached(copy)
    bench.box.note_reached(Passing(Kind.ENVELOPE, Leg.DOWN, MAILBOX, b"x", None, 999))
    tally = bench.box.end()
    assert (tally.tried, tally.reached_network, tally.items) == (1, 1, ((copy.digest, MAILBOX),))


def test_what_arrives_after_its_act_is_over_counts_for_that_act() -> None:
    bench = Bench()
    bench.begin("duplicate")
    _, copy = bench.box.pass_on(numbered(1))
    account = bench.box.close()
    bench.begin("duplicate")
    bench.box.note_reached(copy)
    bench.box.note_reached(copy)
    assert (account.pending, account.tally().reached_network) == (0, 1)
    assert bench.box.end().reached_network == 0


def test_what_it_made_is_not_taken_for_an_original_on_its_second_leg() -> None:
    bench = Bench()
    bench.begin("tamper-tag", TamperParameters(Original.WITHHELD), leg=None)
    (made,) = bench.send(numbered(1))
    again = passing(made.content)
    assert bench.send(again) == [again] and bench.box.end().tried == 1


def test_what_an_act_held_is_given_back_when_it_ends() -> None:
    bench = Bench()
    bench.begin("delay", HoldParameters(1_000.0))
    originals = [numbered(n) for n in range(3)]
    assert bench.send(*originals) == [] and bench.due() == []
    assert bench.box.end().tried == 0
    assert bench.due() == originals and bench.due() == []


def test_holding_delivers_later_in_order() -> None:
    bench = Bench()
    bench.begin("delay", HoldParameters(10.0, least_bytes=10))
    originals = [numbered(n) for n in range(3)]
    bench.send(*originals, originals[0])
    assert bench.due() == []
    bench.clock.now += 10
    assert [one.content for one in bench.due()] == [one.content for one in originals]
    assert bench.box.end().reached_network == 3


def test_reordering_turns_round() -> None:
    bench = Bench()
    bench.begin("reorder", ReorderParameters(together=3, seconds=5.0))
    originals = [numbered(n) for n in range(4)]
    bench.send(*originals[:3])
    assert [one.content for one in bench.due()] == [one.content for one in reversed(originals[:3])]
    bench.send(originals[3])
    assert bench.due() == []
    bench.clock.now += 5
    assert len(bench.due()) == 1


def test_replays_wait_for_what_they_wait_for() -> None:
    bench = Bench()
    bench.begin("replay-later", LaterParameters(5.0))
    original = numbered(1)
    assert bench.send(original) == [original] and bench.due() == []
    bench.clock.now += 5
    assert [one.content for one in bench.due()] == [original.content]
    bench.box.end()
    for attack, sign in (("replay-after-step", "step"), ("replay-after-restart", "reseed")):
        bench = Bench()
        bench.begin(attack, count=1)
        bench.send(original)
        assert bench.due() == []
        bench.send(passing(sign))
        assert [one.content for one in bench.due()] == [original.content]
        assert bench.box.is_over


def test_a_message_is_kept_away_for_good() -> None:
    bench = Bench()
    bench.begin("withhold-for-good", count=1)
    assert bench.send(numbered(1), numbered(1), numbered(2)) == [numbered(2)]
    assert bench.box.end().tried == 2


def test_splices_go_to_another_mailbox_and_reflections_to_the_sender() -> None:
    bench = Bench()
    bench.send(numbered(1), numbered(2, OTHER))
    bench.begin("splice")
    bench.send(numbered(3))
    assert [one.content for one in bench.due(OTHER)] == [numbered(3).content]
    bench.box.end()
    bench.send(passing("start", OTHER))  # its kid for answers is 07
    bench.begin("reflect")
    answer = SAMPLES["plain"].__class__(b"\x07", 3, b"z" * 40).encode()
    bench.send(passing(answer))
    assert [one.content for one in bench.due(OTHER)] == [answer]


def test_acknowledgements_and_verdicts() -> None:
    bench = Bench()
    content = Acknowledgement(((MAILBOX, (1, 2)),)).encode()
    bench.begin("swallow-acknowledgements")
    assert bench.send(Passing(Kind.ACKNOWLEDGEMENT, Leg.UP, MAILBOX, content)) == []
    assert bench.box.end().reached_network == 1
    bench.begin("invent-verdicts")
    (told,) = bench.send(Passing(Kind.VERDICT, Leg.DOWN, MAILBOX, Verdicts(((201, ""),)).encode()))
    assert Verdicts.decode(told.content).items[0][0] >= 400


def test_floods_keep_to_their_count_and_their_mailbox() -> None:
    bench = Bench()
    bench.begin("flood-noise", FloodParameters(burst=4), count=6, subjects=frozenset({MAILBOX}))
    assert [len(bench.due(subject)) for subject in (OTHER, MAILBOX, MAILBOX, MAILBOX)] == [0, 4, 2, 0]
    assert bench.box.is_over


def test_recorded_envelopes_come_from_files(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}").write_bytes(b"%d" % n)
    bench = Bench()
    bench.begin("flood-stranger", RecordedParameters(str(tmp_path), burst=2))
    assert [one.content for one in [*bench.due(), *bench.due()]] == [b"0", b"1", b"2"]
    bench.box.end()
    for directory in (tmp_path / "none", tmp_path / "0"):
        with pytest.raises(LocalMisuse):
            bench.begin("flood-stranger", RecordedParameters(str(directory)))
    bench.begin("drop-some")  # what could not begin is not on


def test_memory_is_bounded() -> None:
    bench = Bench()
    bench.begin("delay", HoldParameters(1.0), count=100)
    for n in range(memory.MOST_ENVELOPES + 50):
        bench.box.pass_on(numbered(n))
    assert len(bench.box.memory) == memory.MOST_ENVELOPES
    for _ in range(80):
        bench.box.pass_on(passing(os.urandom(250_000)))
    assert bench.box.memory.size <= memory.MOST_BYTES
    assert sum(bench.box.memory._digests.values()) == len(bench.box.memory)


@pytest.mark.parametrize("name", ["tamper-any-bit", "re-encode", "flood-forged", "tamper-opener-key", "truncate"])
def test_the_same_seed_does_the_same(name: str) -> None:
    def run(seed: int) -> list[bytes]:
        bench = Bench(seed)
        bench.begin(name, count=20)
        going = bench.send(*(passing(sample) for sample in SAMPLES))
        return [one.content for one in [*going, *bench.due()]]

    assert run(3) == run(3)
    assert run(3) != run(4)
