# SPDX-License-Identifier: Apache-2.0
"""receipts.json: what a receipt says, what it covers, void and gone numbers, and what proves a lost or forked state."""

from __future__ import annotations

from typing import Any

from scripts.vectors.script import Script


def cases() -> list[dict[str, Any]]:
    """Return every case."""
    made = [
        everything,
        gaps,
        more_than_eight_gaps,
        never_falls,
        late_receipt,
        void,
        gone,
        lost_state,
        other_tag,
        backwards,
    ]
    return [make().case() for make in made]


def everything() -> Script:
    """All of it arrived."""
    script = Script("everything", "a receipt over an unbroken run covers it, once")
    script.settle()
    for _ in range(5):
        script.open("b", script.seal("a"))
    script.open("a", script.receipt("b"))
    script.open("a", script.receipt("b"))
    return script


def gaps() -> Script:
    """Some is missing, and comes later."""
    script = Script("gaps", "missing numbers are listed and offered again, until they arrive")
    script.settle()
    envelopes = [script.seal("a", b"%d" % number) for number in range(12)]
    for at in (0, 1, 4, 5, 9, 11):
        script.open("b", envelopes[at])
    script.open("a", script.receipt("b"))
    for at in (2, 3, 10):
        script.open("b", envelopes[at])
    script.open("a", script.receipt("b"))
    return script


def more_than_eight_gaps() -> Script:
    """N is the highest number below the ninth."""
    script = Script("more than eight gaps", "only eight gaps fit: N stays below the ninth")
    script.settle()
    envelopes = [script.seal("a", b"%d" % number) for number in range(26)]
    for at in range(0, 26, 2):
        script.open("b", envelopes[at])
    script.open("a", script.receipt("b"))
    return script


def never_falls() -> Script:
    """A gap that is split (docs/adr/0001)."""
    script = Script(
        "N never falls", "a late message splits a gap: N stays, and the gaps that are closest are told as one"
    )
    script.settle()
    envelopes = [script.seal("a", b"%d" % number) for number in range(40)]
    for at in (0, 4, 8, 12, 16, 20, 24, 28, 39):
        script.open("b", envelopes[at])
    script.open("a", script.receipt("b"))
    for at in (2, 30, 35):
        script.open("b", envelopes[at])
    script.open("a", script.receipt("b"))
    return script


def late_receipt() -> Script:
    """An older receipt arrives after a newer one."""
    script = Script("late receipt", "of a receipt that comes late only what it covers counts")
    script.settle()
    envelopes = [script.seal("a", b"%d" % number) for number in range(4)]
    script.open("b", envelopes[0])
    script.open("b", envelopes[2])
    older = script.receipt("b")
    script.open("b", envelopes[1])
    script.open("b", envelopes[3])
    script.open("a", script.receipt("b"))
    script.open("a", older)
    return script


def void() -> Script:
    """Bare receipts that are lost are told as void."""
    script = Script(
        "void", "lost bare receipts will not come again: the sender says so, and the receiver waits no longer"
    )
    script.settle()
    lost = [script.receipt("a") for _ in range(2)]
    script.open("b", script.seal("a"))
    script.open("a", script.receipt("b"))
    script.open("b", script.seal("a"))
    script.open("a", script.receipt("b"))
    script.open("b", lost[0], note="it was declared void")
    return script


def gone() -> Script:
    """More keys were passed over than are kept."""
    script = Script("gone", "of 1 300 lost messages the keys of 1 024 are kept; the receipt calls the others gone")
    script.settle()
    script.lose("a", 1_300)
    script.open("b", script.seal("a"))
    script.open("a", script.receipt("b"))
    return script


def lost_state() -> Script:
    """A receipt for a number that this state never sealed."""
    script = Script("lost state", "a restored backup learns that its peer has opened what it never sealed")
    script.settle()
    script.copy("a", "a'")
    for _ in range(3):
        script.open("b", script.seal("a"))
    script.open("a'", script.receipt("b"), note="N was never sealed here")
    return script


def other_tag() -> Script:
    """A receipt for a number that was sealed differently."""
    script = Script("another tag", "a copy learns that its peer has opened another message under its number")
    script.settle()
    script.copy("a", "a'")
    script.open("b", script.seal("a"))
    script.seal("a'", b"by the copy")
    script.open("a'", script.receipt("b"), note="the tag of N is another one")
    return script


def backwards() -> Script:
    """A later message acknowledges less."""
    script = Script("backwards", "a copy of the receiver acknowledges less under a higher number: its state was forked")
    script.settle()
    script.copy("b", "b'")
    envelopes = [script.seal("a", b"%d" % number) for number in range(3)]
    script.open("b'", envelopes[0])
    for envelope in envelopes:
        script.open("b", envelope)
    script.open("a", script.receipt("b"))
    script.seal("b'")
    script.open("a", script.receipt("b'"), note="it acknowledges less than before")
    return script
