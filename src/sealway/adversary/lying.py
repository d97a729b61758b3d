# SPDX-License-Identifier: Apache-2.0
"""Attacks on what a hop says of deposits. (Saying "accepted" and dropping is in delaying.py.)"""

from __future__ import annotations

from collections.abc import Iterator

from sealway.adversary.attack import Attack, Expected, Working
from sealway.adversary.passing import Kind, Passing
from sealway.wire.carriage import Verdicts

_INVENTED = ((404, "no such mailbox"), (413, "too large"), (429, "later"), (500, "no"), (503, "away"))


class Inventing(Working):
    """Says of what was taken that it was not."""

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        return [self.tools.item(passing, Verdicts((self.tools.random.choice(_INVENTED),)).encode())]


def attacks() -> Iterator[Attack]:
    """Every attack of this module."""
    yield Attack(
        "invent-verdicts",
        Expected.HEALED,
        "Says of envelopes that were taken that they were refused.",
        Inventing,
        kinds=frozenset({Kind.VERDICT}),
    )
