# SPDX-License-Identifier: Apache-2.0
"""Envelopes of every form, made without any key, and a middlebox with a clock that a test turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sealway.adversary.attack import Act, Selection
from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.middlebox import Middlebox
from sealway.adversary.passing import Kind, Leg, Passing
from sealway.wire.envelope import Envelope
from sealway.wire.header import Claims, Opener, StartHeader

MAILBOX, OTHER = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
_KEY, _SALT = bytes(range(32)), bytes(range(16))
_START = StartHeader(b"b" * 32, b"c" * 32, b"\x07", _KEY, 5, b"q" * 1088)
_CLAIMS = Claims(topic="readings", tag="urgent", expires=1_800_000_000)

SAMPLES = {
    "plain": Envelope(b"\x01", 300, b"s" * 40),
    "claims": Envelope(b"\x01", 301, b"t" * 40, claims=_CLAIMS),
    "start": Envelope(b"kidk", 0, b"u" * 90, start=_START),
    "step": Envelope(b"\x01", 302, b"v" * 40, opener=Opener(302, _KEY, 302, None)),
    "reseed": Envelope(b"\x01", 303, b"w" * 40, opener=Opener(300, None, None, (2, _SALT))),
    "both": Envelope(b"\x02", 304, b"x" * 40, opener=Opener(303, _KEY, 300, (2, _SALT))),
}


def passing(content: bytes | str = "plain", subject: str = MAILBOX, leg: Leg = Leg.DOWN) -> Passing:
    """An original."""
    encoded = SAMPLES[content].encode() if isinstance(content, str) else content
    return Passing(Kind.ENVELOPE, leg, subject, encoded)


def numbered(number: int, subject: str = MAILBOX) -> Passing:
    """An original of its own number."""
    return passing(Envelope(b"\x01", number, b"y" * 40).encode(), subject)


@dataclass
class Clock:
    """Unix seconds, turned by hand."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A middlebox alone."""

    def __init__(self, seed: int = 1) -> None:
        self.clock = Clock()
        self.box = Middlebox(seed=seed, now=self.clock)

    def begin(self, name: str, parameters: Any = None, **select: Any) -> None:
        """Begin an act."""
        attack = ATTACKS[name]
        chosen = attack.parameters() if parameters is None else parameters
        self.box.begin(Act(attack, chosen, Selection(**select)))

    def send(self, *originals: Passing) -> list[Passing]:
        """What goes on of these, and reaches the next hop."""
        going = [one for original in originals for one in self.box.pass_on(original)]
        for one in going:
            self.box.note_reached(one)
        return going

    def due(self, subject: str = MAILBOX, leg: Leg = Leg.DOWN) -> list[Passing]:
        """What goes there now, and reaches it."""
        going = self.box.due(leg, subject)
        for one in going:
            self.box.note_reached(one)
        return going
