# SPDX-License-Identifier: Apache-2.0
"""Mailboxes before which an adversary stands: each item decided on once, handed out until acknowledged."""

from __future__ import annotations

from dataclasses import replace

from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.positions import boxes
from sealway.adversary.positions.boxes import FIRST_INVENTED, Boxes
from tests.adversary_positions.puppet import Puppet, box

BOX = "a" * 16


def test_what_is_passed_on_keeps_its_number_and_is_handed_out_until_it_is_acknowledged() -> None:
    puppet = Puppet()
    mailboxes = Boxes(box(puppet))
    assert mailboxes.arrived([(BOX, 7, b"x")]) == []
    assert mailboxes.ready([BOX], 10) == [(BOX, 7, b"x")]
    mailboxes.handed_out(mailboxes.ready([BOX], 10))
    mailboxes.handed_out(mailboxes.ready([BOX], 10))
    assert [passing.content for passing in puppet.reached] == [b"x"], "once, however often it is handed out"
    assert mailboxes.acknowledged(BOX, [7]) == [7]
    assert mailboxes.ready([BOX], 10) == []


def test_an_item_is_decided_on_once_however_often_the_hop_brings_it() -> None:
    puppet = Puppet()
    mailboxes = Boxes(box(puppet))
    for _ in range(3):
        mailboxes.arrived([(BOX, 7, b"x")])
    assert len(puppet.seen) == 1
    mailboxes.acknowledged(BOX, [7])
    assert mailboxes.arrived([(BOX, 7, b"x")]) == [(BOX, 7)], "the hop has missed the acknowledgement"
    assert mailboxes.arrived([(BOX, 7, b"y")]) == [], "another envelope under the same number, from a wiped hop"
    assert len(puppet.seen) == 2


def test_what_is_dropped_or_replaced_is_forgotten_by_the_hop() -> None:
    puppet = Puppet()
    mailboxes = Boxes(box(puppet))
    puppet.on(Kind.ENVELOPE, Leg.DOWN, lambda one: [] if one.content == b"x" else [replace(one, content=b"other")])
    assert mailboxes.arrived([(BOX, 7, b"x"), (BOX, 8, b"y")]) == [(BOX, 7), (BOX, 8)]
    ((_, sequence, content),) = mailboxes.ready([BOX], 10)
    assert content == b"other" and sequence >= FIRST_INVENTED
    assert mailboxes.acknowledged(BOX, [sequence]) == [], "the hop knows nothing of it"
    assert mailboxes.arrived([(BOX, 7, b"x")]) == [(BOX, 7)]


def test_a_copy_has_a_number_of_its_own() -> None:
    puppet = Puppet()
    mailboxes = Boxes(box(puppet))
    puppet.on(Kind.ENVELOPE, Leg.DOWN, lambda one: [one, one])
    assert mailboxes.arrived([(BOX, 7, b"x")]) == []
    rows = mailboxes.ready([BOX], 10)
    assert [row[2] for row in rows] == [b"x", b"x"]
    assert len({row[1] for row in rows}) == 2 and rows[0][1] == 7


def test_what_the_middlebox_has_for_a_mailbox_is_news() -> None:
    puppet = Puppet()
    mailboxes = Boxes(box(puppet))
    assert not mailboxes.has_news(BOX)
    puppet.inject(Passing(Kind.ENVELOPE, Leg.DOWN, BOX, b"held", None))
    assert mailboxes.has_news(BOX)
    mailboxes.handed_out(mailboxes.ready([BOX], 10))
    assert not mailboxes.has_news(BOX)
    assert [row[2] for row in mailboxes.ready([BOX], 10)] == [b"held"], "not acknowledged yet"


def test_what_is_remembered_has_bounds() -> None:
    puppet = Puppet()
    mailboxes = Boxes(box(puppet))
    puppet.on(Kind.ENVELOPE, Leg.DOWN, lambda one: [replace(one, content=b"other")])
    mailboxes.arrived((BOX, number, b"x") for number in range(boxes.MOST_WAITING + 100))
    assert len(mailboxes.ready([BOX], 1 << 20)) == boxes.MOST_WAITING
    for number in range(boxes.MOST_MAILBOXES + 100):
        mailboxes.ready([f"{number:016}"], 1)
    assert len(mailboxes._boxes) == boxes.MOST_MAILBOXES
