# SPDX-License-Identifier: Apache-2.0
"""Attacks that bring genuine bytes to where they do not belong: another mailbox, another header, their own sender."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sealway.adversary.attack import Attack, Expected, Queueing, Working
from sealway.adversary.dissecting import put_together, taken_apart
from sealway.adversary.passing import Leg, Passing
from sealway.wire.envelope import LABEL_KID


@dataclass(frozen=True, slots=True)
class SpliceParameters:
    """Args: to: the other mailbox; empty: one that was seen."""

    to: str = ""


class Splicing(Queueing):
    """A copy goes to another mailbox as well."""

    parameters: SpliceParameters

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        to = self.parameters.to or self._other_mailbox(passing)
        content = self._content(passing, to) if to else None
        if content is None:
            return None
        self.send_later(replace(passing, leg=Leg.DOWN, subject=to, content=content, sequence=None))
        return [passing]

    def _other_mailbox(self, passing: Passing) -> str:
        others = [mailbox for mailbox in self.tools.memory.mailboxes() if mailbox != passing.subject]
        return self.tools.random.choice(others) if others else ""

    def _content(self, passing: Passing, to: str) -> bytes | None:
        return passing.content


class SplicingWithKid(Splicing):
    """A copy goes to another mailbox, under a key id that is known there."""

    def _content(self, passing: Passing, to: str) -> bytes | None:
        parts, kids = taken_apart(passing.content), self.tools.memory.kids(to)
        if parts is None or not kids:
            return None
        return put_together(parts[0] | {LABEL_KID: self.tools.random.choice(kids)}, parts[1])


class Reflecting(Splicing):
    """A copy goes back to its sender."""

    def _other_mailbox(self, passing: Passing) -> str:
        return self.tools.memory.sender_of(passing) or ""


class Kids(Working):
    """A copy comes under the key id of another session of the same receiver."""

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        parts = taken_apart(passing.content)
        if parts is None:
            return None
        others = [kid for kid in self.tools.memory.kids(passing.subject) if kid != parts[0][LABEL_KID]]
        if not others:
            return None
        changed = put_together(parts[0] | {LABEL_KID: self.tools.random.choice(others)}, parts[1])
        return [self.tools.item(passing, changed), passing]


class Swapping(Working):
    """Two envelopes to one receiver come with each other's ciphertext."""

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        before = next(
            (seen for seen in self.tools.memory.envelopes() if self._can_be_swapped(seen, passing)),
            None,
        )
        mine, other = taken_apart(passing.content), taken_apart(before.content) if before is not None else None
        if mine is None or other is None:
            return None
        swapped = (put_together(mine[0], other[1]), put_together(other[0], mine[1]))
        return [*(self.tools.item(passing, content) for content in swapped), passing]

    @staticmethod
    def _can_be_swapped(seen: Passing, passing: Passing) -> bool:
        return (seen.leg, seen.subject) == (passing.leg, passing.subject) and seen.content != passing.content


def attacks() -> Iterator[Attack]:
    """Every attack of this module."""
    refused = Expected.REFUSED
    yield Attack(
        "splice",
        refused,
        "Delivers a copy of an envelope to another mailbox.",
        Splicing,
        parameters=SpliceParameters,
    )
    yield Attack(
        "splice-with-kid",
        refused,
        "Delivers a copy of an envelope to another mailbox, under a key id that is known there.",
        SplicingWithKid,
        parameters=SpliceParameters,
    )
    yield Attack(
        "swap-kids", refused, "Delivers an envelope under the key id of another session of the same receiver.", Kids
    )
    yield Attack("swap-answers", refused, "Exchanges the ciphertexts of two envelopes to one receiver.", Swapping)
    yield Attack(
        "reflect", refused, "Delivers an envelope back to its own sender.", Reflecting, parameters=SpliceParameters
    )
