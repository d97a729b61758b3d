# SPDX-License-Identifier: Apache-2.0
"""chains.json: openers, loss, reordering, steps, reseeds, replays, gaps, forgeries, copies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scripts.vectors.script import Script
from sealway.crypto.suites import SUITE_2, SUITE_3, SUITES
from sealway.wire.envelope import Envelope
from sealway.wire.header import Opener
from sealway.wire.message import CODE_POST, Message


def cases() -> list[dict[str, Any]]:
    """Return every case."""
    made = [
        steady,
        lost,
        reordered,
        replayed,
        steps,
        late_epoch,
        reseeds,
        jumped_reseed,
        restarted_start,
        skipped_far,
        far_first_reply,
    ]
    made += [
        suite_2,
        suite_3,
        forged,
        forged_openers,
        copy_is_found_out,
        copy_in_an_older_epoch,
        known_reseed_other_salt,
        out_of_turn,
    ]
    return [make().case() for make in made]


def steady() -> Script:
    """From the start to the state in which nothing is shown."""
    script = Script("steady", "a start, its answer, and both directions until no envelope has an opener")
    script.settle()
    for _ in range(3):
        script.open("b", script.seal("a"))
    script.open("a", script.answer("b", script.seal("a")))
    return script


def lost() -> Script:
    """Numbers that never come."""
    script = Script("lost", "envelopes that never arrive: later ones open all the same")
    script.settle()
    for number in range(12):
        envelope = script.seal("a", b"reading %d" % number)
        if number % 3 == 2:
            script.open("b", envelope)
    return script


def reordered() -> Script:
    """Late ones open with skipped keys."""
    script = Script("reordered", "ten envelopes in another order: each opens once")
    script.settle()
    envelopes = [script.seal("a", b"reading %d" % number) for number in range(10)]
    for at in (9, 3, 0, 4, 2, 8, 1, 7, 5, 6):
        script.open("b", envelopes[at])
    return script


def replayed() -> Script:
    """At once, later, after a step, after a restart of the receiver."""
    script = Script(
        "replayed", "the same envelope again: at once, later, after a step, after a restart of the receiver"
    )
    first = script.seal("a")
    script.open("b", first)
    script.open("b", first, note="at once")
    script.open("a", script.answer("b", script.seal("a")))
    script.open("b", first, note="after the answer")
    script.open("b", script.seal("a", step=True))
    script.open("b", first, note="after a step")
    script.restart("b")
    script.open("b", first, note="after a restart")
    return script


def steps() -> Script:
    """Turns alternate."""
    script = Script("steps", "each end steps in turn; the opener shows the key until a receipt covers it")
    script.settle()
    for _ in range(3):
        script.open("b", script.seal("a", step=True))
        script.open("b", script.seal("a"))
        script.open("a", script.seal("b", step=True))
        script.open("a", script.receipt("b"))
        script.open("b", script.receipt("a"))
    return script


def late_epoch() -> Script:
    """A message of the epoch before comes after the first of the next."""
    script = Script("late epoch", "messages of an older epoch arrive after the next one has begun")
    script.settle()
    old = [script.seal("a", b"old %d" % number) for number in range(3)]
    new = [script.seal("a", b"new %d" % number, step=number == 0) for number in range(3)]
    for envelope in (new[2], old[1], new[0], old[2], old[0], new[1]):
        script.open("b", envelope)
    return script


def reseeds() -> Script:
    """A restart before each message."""
    script = Script("reseeds", "the sender restarts again and again: each time a new chain of the same epoch")
    script.settle()
    for _ in range(3):
        script.restart("a")
        script.open("b", script.seal("a"))
        script.open("b", script.seal("a"))
    script.open("a", script.receipt("b"))
    script.open("b", script.seal("a"))
    return script


def jumped_reseed() -> Script:
    """The roots that are passed over open what comes late."""
    script = Script("jumped reseed", "whole chains are late: their roots were kept")
    script.settle()
    chains = []
    for _ in range(3):
        script.restart("a")
        chains.append([script.seal("a") for _ in range(2)])
    for envelope in (chains[2][1], chains[0][0], chains[1][1], chains[1][0], chains[2][0], chains[0][1]):
        script.open("b", envelope)
    return script


def restarted_start() -> Script:
    """A reseed beside a start header."""
    script = Script("restarted start", "an initiator restarts before it is answered: start header and opener together")
    first = script.seal("a")
    script.restart("a")
    second, third = script.seal("a"), script.seal("a")
    script.open("b", third)
    script.open("b", first)
    script.open("a", script.answer("b", second))
    script.open("b", script.seal("a"))
    return script


def suite_2() -> Script:
    """The longer tags."""
    return _every_kind_of_chain(Script("suite 2", "steps, reseeds, a loss and a replay with tags of 16 bytes", SUITE_2))


def suite_3() -> Script:
    """The other curve, and message keys of 44 bytes."""
    about = "steps, reseeds, a loss and a replay on X25519 with ChaCha20/Poly1305; a key that is not sound"
    script = _every_kind_of_chain(Script("suite 3", about, SUITE_3))
    script.open("b", script.seal("a", step=True))
    envelope = Envelope.decode(script.seal("b", step=True))
    for x, note in ((bytes(32), "x is of small order"), (b"\xff" * 32, "x is not canonical")):
        forged = replace(envelope, opener=Opener(envelope.number, x, envelope.number))
        script.open("a", forged.encode(), note=note)
    script.open("a", envelope.encode())
    return script


def _every_kind_of_chain(script: Script) -> Script:
    script.settle()
    lost, kept = script.seal("a"), script.seal("a")
    script.open("b", kept)
    script.open("b", kept, note="again")
    script.open("b", script.seal("a", step=True))
    script.open("b", lost, note="late, of the epoch before")
    script.open("a", script.seal("b", step=True))
    script.restart("a")
    genuine = script.seal("a")
    envelope = Envelope.decode(genuine)
    for suite in SUITES.values():
        if suite is not script.suite:
            longer = envelope.ciphertext.ljust(suite.tag_length + 1, b"\0")
            other = replace(envelope, alg=suite.cose_alg, ciphertext=longer)
            script.open("b", other.encode(), note=f"under the alg of suite {suite.number}")
    script.open("b", genuine)
    return script


def skipped_far() -> Script:
    """More is passed over than a receiver may be asked to walk."""
    script = Script("too far", "a jump of more than 65 536 numbers is refused before anything is derived")
    script.settle()
    envelope = Envelope.decode(script.seal("a"))
    far = replace(envelope, number=envelope.number + 65_537)
    script.open("b", far.encode(), note="forged number, beyond the walk")
    script.open("b", envelope.encode())
    return script


def far_first_reply() -> Script:
    """An initiator knows no chain of the responder yet: the way to the first one costs as well."""
    about = (
        "a first reply, or a late reseed, that begins more than 65 536 numbers on is refused before a step is derived"
    )
    script = Script("far first reply", about)
    script.open("b", script.seal("a"))
    genuine = script.seal("b", step=True)
    envelope = Envelope.decode(genuine)
    x, salt = envelope.opener.x if envelope.opener is not None else None, bytes(16)
    for first in (65_537, 1 << 31):
        far = replace(envelope, number=first, opener=Opener(first, x, 0, (1, salt)))
        script.open("a", far.encode(), note=f"epoch from 0, its chain from {first}")
    many = replace(envelope, number=1, opener=Opener(1, x, 0, (1_026, salt)))
    script.open("a", many.encode(), note="more reseeds passed over than roots may be kept")
    script.open("a", genuine)
    late = replace(Envelope.decode(script.seal("b")), number=70_000, opener=Opener(70_000, reseed=(1, salt)))
    script.open("a", late.encode(), note="a reseed of a known epoch, far away")
    return script


def forged() -> Script:
    """What is not the sender's does not open, and what is opens afterwards."""
    script = Script("forged", "changed ciphertext, tag, number, kid, claims: refused; the genuine one opens afterwards")
    script.settle()
    genuine = script.seal("a")
    envelope = Envelope.decode(genuine)
    flipped = bytes([envelope.ciphertext[0] ^ 1]) + envelope.ciphertext[1:]
    script.open("b", replace(envelope, ciphertext=flipped).encode(), note="first byte")
    flipped = envelope.ciphertext[:-1] + bytes([envelope.ciphertext[-1] ^ 0x80])
    script.open("b", replace(envelope, ciphertext=flipped).encode(), note="last byte of the tag")
    script.open("b", replace(envelope, ciphertext=envelope.ciphertext + b"\0").encode(), note="one byte longer")
    script.open("b", replace(envelope, ciphertext=envelope.ciphertext[:-1]).encode(), note="one byte shorter")
    script.open("b", replace(envelope, number=envelope.number + 1).encode(), note="next number")
    script.open("b", replace(envelope, number=envelope.number + 700).encode(), note="far number")
    script.open("b", genuine)
    return script


def forged_openers() -> Script:
    """Openers that nobody authenticated."""
    script = Script("forged openers", "an opener is added, changed or left out: refused, and nothing changes")
    script.settle()
    script.restart("a")
    genuine = script.seal("a")
    envelope = Envelope.decode(genuine)
    number = envelope.number
    script.open("b", replace(envelope, opener=None).encode(), note="left out")
    script.open("b", replace(envelope, opener=Opener(number, reseed=(1, bytes(16)))).encode(), note="other salt")
    script.open("b", replace(envelope, opener=Opener(number, reseed=(900, bytes(16)))).encode(), note="far reseed")
    script.open("b", replace(envelope, opener=Opener(number, bytes(32), number)).encode(), note="x is not on the curve")
    script.open("b", genuine)
    script.open("b", script.seal("a", Message(CODE_POST, payload=b"goes on")))
    return script


def copy_is_found_out() -> Script:
    """A restored backup seals numbers that were opened."""
    script = Script("copy", "a backup of the sender seals on: another key, and the receiver stops the session")
    script.settle()
    script.copy("a", "a'")
    script.open("b", script.seal("a"))
    script.open("b", script.seal("a"))
    script.open("b", script.seal("a'"), note="the copy's number was opened already: two copies seal")
    return script


def copy_in_an_older_epoch() -> Script:
    """The hole that a chain's end closes (docs/adr/0002)."""
    script = Script("copy of an older epoch", "a copy reseeds an older epoch at the number at which the next one began")
    script.settle()
    script.open("b", script.seal("a", step=True))
    script.copy("a", "a'")
    script.open("a", script.seal("b", step=True))
    script.open("b", script.seal("a", step=True))
    script.open("b", script.seal("a'"), note="its number belongs to the newer epoch")
    return script


def known_reseed_other_salt() -> Script:
    """Cannot be verified: a suspicion, no more."""
    script = Script("two reseeds", "a copy uses the same j with another salt: not authentic, a fork is suspected")
    script.settle()
    script.copy("a", "a'")
    script.restart("a")
    script.open("b", script.seal("a"))
    script.open("b", script.seal("a'"), note="the root of j = 1 is gone")
    script.open("b", script.seal("a"))
    return script


def out_of_turn() -> Script:
    """A new x that nobody can have made in good faith."""
    script = Script(
        "out of turn", "an opener with a new key while the receiver holds the turn: not authentic, suspected"
    )
    script.settle()
    script.open("b", script.seal("a", step=True))
    envelope = Envelope.decode(script.seal("a"))
    forged = replace(envelope, opener=Opener(envelope.number, bytes(31) + b"\x05", envelope.number))
    script.open("b", forged.encode(), note="a key that nobody waits for")
    script.open("b", envelope.encode())
    return script
