# SPDX-License-Identifier: Apache-2.0
"""Identifiers, the session to send on, and when to publish a new bundle."""

from __future__ import annotations

import random

import pytest

from sealway.crypto.curves import P256
from sealway.crypto.keys import public_x
from sealway.crypto.suites import SUITE_1
from sealway.errors import LocalMisuse
from sealway.protocol.kids import choose_kid
from sealway.protocol.peers import KnownSession, prefer
from sealway.protocol.prekeys import (
    ONE_TIME_KEYS,
    bundle_claims,
    make_prekeys,
)
from sealway.protocol.rotation import Rotation
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.merkle import merkle_root


class Taken(set[bytes]):
    def count(self, length: int) -> int:
        return sum(len(kid) == length for kid in self)


def test_kids_are_of_the_shortest_length_that_is_half_free() -> None:
    taken, draw = Taken(), random.Random(1).randbytes
    for _ in range(128):
        kid = choose_kid(taken, draw)
        assert len(kid) == 1
        assert kid not in taken
        taken.add(kid)
    assert len(choose_kid(taken, draw)) == 2
    assert len(choose_kid(Taken(), draw, shortest=4)) == 4


def test_a_source_of_randomness_that_repeats_is_no_endless_loop() -> None:
    class Everything(Taken):
        def __contains__(self, kid: object) -> bool:
            return True

    with pytest.raises(LocalMisuse):
        choose_kid(Everything(), random.Random(1).randbytes)


SMALL, LARGE, NEW = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32


def test_without_another_session_the_accepted_one_is_sent_on() -> None:
    assert prefer(None, KnownSession(LARGE, b"", False)) == LARGE


@pytest.mark.parametrize(("mine", "theirs"), [(SMALL, LARGE), (LARGE, SMALL)])
def test_starts_that_crossed_leave_both_ends_on_the_smaller_hash(mine: bytes, theirs: bytes) -> None:
    assert prefer(KnownSession(mine, b"", True), KnownSession(theirs, b"", False)) == SMALL
    assert prefer(KnownSession(theirs, b"", True), KnownSession(mine, b"", False)) == SMALL


def test_otherwise_the_newer_start_is_sent_on() -> None:
    answered = KnownSession(SMALL, b"", False)
    assert prefer(answered, KnownSession(LARGE, b"", False)) == LARGE
    unanswered = KnownSession(SMALL, b"", True)
    assert prefer(unanswered, KnownSession(LARGE, SMALL, False)) == LARGE  # it names mine, so it is newer


def test_a_start_that_mine_names_already_is_older_and_not_sent_on() -> None:
    for unanswered in (True, False):
        assert prefer(KnownSession(LARGE, SMALL, unanswered), KnownSession(SMALL, b"", False)) == LARGE


def test_prekeys_and_their_claims_agree() -> None:
    secrets = make_prekeys(random.Random(2).randbytes, P256)
    name = Name.parse("sealway://building.example/device/meter-1")
    mailbox = MailboxAddress("https://hub.example:443", name.mailbox)
    claims, public = bundle_claims(
        secrets, bundle_id=b"BNDL", name=name, mailbox=mailbox, sequence=1,
        suite=SUITE_1, agreement_key=public_x(secrets.signed_prekey), now_s=1_700_000_000,
    )  # fmt: skip
    assert len(public) == ONE_TIME_KEYS == claims.one_time_count
    assert public == tuple(public_x(scalar) for scalar in secrets.one_time)
    assert claims.one_time_root == merkle_root(public)
    assert claims.signed_prekey == public_x(secrets.signed_prekey)
    assert claims.expires - claims.issued == 30 * 86_400
    assert claims.suites == (1, 2)


def test_a_bundle_may_have_no_one_time_keys() -> None:
    secrets = make_prekeys(random.Random(2).randbytes, P256, count=0)
    name = Name.parse("sealway://building.example/device/meter-1")
    claims, public = bundle_claims(
        secrets, bundle_id=b"BNDL", name=name, mailbox=MailboxAddress("https://hub.example:443", name.mailbox),
        sequence=1, suite=SUITE_1, agreement_key=public_x(secrets.signed_prekey), now_s=1_700_000_000,
    )  # fmt: skip
    assert public == ()
    assert claims.one_time_root is None
    assert claims.one_time_count is None


def test_a_bundle_is_renewed_when_it_is_a_week_old_or_has_few_keys() -> None:
    schedule = Rotation()
    week, few = schedule.bundle_after_ms // 1_000, schedule.few_one_time
    assert not schedule.bundle_is_due(issued_s=0, one_time_left=few, now_s=week - 1)
    assert schedule.bundle_is_due(issued_s=0, one_time_left=few - 1, now_s=0)
    assert schedule.bundle_is_due(issued_s=0, one_time_left=64, now_s=week)


def test_an_agreement_key_is_replaced_after_90_days() -> None:
    day = 86_400
    assert not Rotation().agreement_is_due(since_s=0, now_s=90 * day - 1)
    assert Rotation().agreement_is_due(since_s=0, now_s=90 * day)


def test_a_session_is_followed_by_another_by_age_and_by_count() -> None:
    day, many = 86_400_000, Rotation().session_after_messages

    def due(days: float, sent: int = 1, *, initiator: bool = True) -> bool:
        return Rotation().session_is_due(created_ms=0, sealed_ms=int(days * day), sent=sent, initiator=initiator)

    assert (due(29.9), due(30), due(30, initiator=False), due(31, initiator=False)) == (False, True, False, True)
    assert (due(0.9, many), due(1, many - 1), due(1, many)) == (False, False, True)
    assert (due(1.9, many, initiator=False), due(2, many, initiator=False)) == (False, True)
