# SPDX-License-Identifier: Apache-2.0
"""When keys are replaced, and when sessions are begun anew. spec/session.md, "Prekeys" and "Renewal".

Old private halves live on for as long as a start over them may come: until their bundle has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Rotation:
    """The schedule; all times in milliseconds."""

    bundle_after_ms: int = 7 * _DAY_MS
    """A bundle of that age is followed by a new one: signed prekey, ML-KEM key and one-time keys with it."""
    bundle_life_ms: int = 30 * _DAY_MS
    """From issue to expiry of a bundle, and so of its private halves: what is over ``bundle_after_ms`` is overlap."""
    few_one_time: int = 16
    """A bundle with fewer one-time keys left is followed by a new one, too."""
    agreement_after_ms: int = 90 * _DAY_MS
    """The first bundle made after that time has a new agreement key."""
    session_after_ms: int = 30 * _DAY_MS
    """A session of that age in which something is sent is followed by a new one."""
    session_after_messages: int = 1 << 20
    """So is one in which so many were sent, once it is ``session_least_ms`` old."""
    session_least_ms: int = _DAY_MS
    responder_later_ms: int = _DAY_MS
    """Whoever accepted a session waits so much longer, so that not both begin."""

    def bundle_is_due(self, *, issued_s: int, one_time_left: int, now_s: int) -> bool:
        """Say whether a new bundle should be published: few one-time keys are left, or the signed prekey is old."""
        return one_time_left < self.few_one_time or now_s - issued_s >= self.bundle_after_ms // 1_000

    def agreement_is_due(self, *, since_s: int, now_s: int) -> bool:
        """Say whether the next bundle should have a new agreement key; ``since_s``: when the present one was made."""
        return now_s - since_s >= self.agreement_after_ms // 1_000

    def session_is_due(self, *, created_ms: int, sealed_ms: int, sent: int, initiator: bool) -> bool:
        """Say whether a session is to be followed by a new one: judged by when something was last sealed in it, so
        that one that is not used is left alone.

        Args:
            sealed_ms: when its newest message was sealed.
            sent: how many messages this end has sealed in it.
        """
        age_ms = sealed_ms - created_ms - (0 if initiator else self.responder_later_ms)
        return age_ms >= self.session_after_ms or (
            sent >= self.session_after_messages and age_ms >= self.session_least_ms
        )


DEFAULT_ROTATION: Final = Rotation()
