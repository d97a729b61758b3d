# SPDX-License-Identifier: Apache-2.0
"""When a receipt is due, and what has been missing for too long. spec/session.md, "Receipts".

Invariant: what anyone can cause by replaying is at most one receipt per T_ack.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sealway.protocol.policy import Policy
from sealway.protocol.ranges import Range, RangeSet


@dataclass(slots=True)
class ReceiptClock:
    """All times in Unix milliseconds; 0 where there was none yet."""

    due_ms: int | None = None
    """Since when a receipt is due because of a start, an opener or a replay."""
    waiting: int = 0
    """Messages opened since the last receipt."""
    quiet: int = 0
    """Bare receipts opened since: they elicit nothing, but a message that goes anyway tells of them."""
    waiting_ms: int = 0
    """Since when the first of them waits."""
    sent_ms: int = 0
    listed: dict[Range, int] = field(default_factory=dict)
    """Gaps that receipts have told of, and since when; -1 once they were reported missing."""

    def opened(self, now_ms: int, *, bare: bool = False) -> None:
        """Count a message; one that is not bare deserves a receipt some time."""
        if bare:
            self.quiet += 1
            return
        if not self.waiting:
            self.waiting_ms = now_ms
        self.waiting += 1

    def due(self, now_ms: int) -> None:
        """Make a receipt due within T_ack."""
        if self.due_ms is None:
            self.due_ms = now_ms

    def sent(self, now_ms: int, listed: tuple[Range, ...] = ()) -> None:
        """Note that a receipt was sealed, and the gaps that it lists."""
        self.due_ms, self.waiting, self.quiet, self.sent_ms = None, 0, 0, now_ms
        known = RangeSet(self.listed)
        for first, last in listed:
            for part in known.outside(first, last):  # what was listed before keeps its time, however ranges merge
                self.listed[part] = now_ms

    def bare_at(self, policy: Policy) -> int | None:
        """Return when a receipt has to go out by itself, or None."""
        at = [self.waiting_ms + policy.ack_after_ms] if self.waiting else []
        if self.waiting >= policy.ack_every:
            at.append(0)
        if self.due_ms is not None:
            # The first one answers a start: until it comes, each message has the whole start in it.
            soon_ms = policy.ack_soon_ms if self.sent_ms else 0
            at.append(max(self.due_ms + soon_ms, self.sent_ms + policy.ack_delay_ms))
        return min(at) if at else None

    def rides(self, now_ms: int, policy: Policy, *, response: bool) -> bool:
        """Say whether a message sealed now carries the receipt. A response does whenever there is something to say."""
        if self.due_ms is None and not self.waiting:
            return self.quiet >= policy.ack_every
        at = self.bare_at(policy)
        many = self.waiting + self.quiet >= policy.ack_every
        return self.due_ms is not None or many or (at is not None and at <= now_ms) or (response and self.waiting > 0)

    def missing(self, gaps: RangeSet, now_ms: int, policy: Policy) -> tuple[Range, ...]:
        """Return the numbers that receipts have listed for T_missing and that are missing still, each once.

        Args:
            gaps: all that is missing now; what has come since is forgotten here.
        """
        known, self.listed = self.listed, {}
        for (first, last), since in known.items():
            for part in gaps.within(first, last):
                self.listed[part] = since
        late = tuple(gap for gap, since in self.listed.items() if 0 <= since <= now_ms - policy.missing_after_ms)
        for gap in late:
            self.listed[gap] = -1
        return late
