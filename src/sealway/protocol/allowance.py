# SPDX-License-Identifier: Apache-2.0
"""How much computing peers and strangers may cause: token buckets over chain steps, of a session, of a peer, of an end.

Invariant: whoever forges envelopes can exhaust the allowance, but what costs less than ``FREE_WALK`` never needs it.
spec/session.md, "What strangers may cause".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sealway.protocol.policy import Policy

FREE_WALK = 64
"""Chain steps that a message may always cost: who follows its peer is not shut out by what others have cost."""

STRANGERS = ""
"""Who pays for starts, until they have opened: nobody is proven to have sent them."""


@dataclass(slots=True)
class Bucket:
    """Chain steps left; times in milliseconds. It is full at first, and not durable: a restart fills it."""

    steps: float = -1.0
    at_ms: int | None = None

    def refill(self, now_ms: int, full: float, per_ms: float) -> bool:
        """Let time pass, and say whether something is left."""
        if self.at_ms is None:
            self.steps, self.at_ms = full, now_ms
        self.steps, self.at_ms = min(full, self.steps + max(0, now_ms - self.at_ms) * per_ms), now_ms
        return self.steps > 0


@dataclass(slots=True)
class SharedAllowance:
    """The buckets that the sessions of an end share: one for each peer that has cost something, and one for all."""

    policy: Policy
    everybody: Bucket = field(default_factory=Bucket)
    payers: dict[str, Bucket] = field(default_factory=dict)
    was_asked: bool = False
    """Set when a session has looked for a key elsewhere than at the next number: what it stores may have changed."""

    def left(self, payer: str, now_ms: int) -> tuple[bool, bool]:
        """Refill, and say whether something is left of the payer's, and of everybody's."""
        self.was_asked = True
        policy, bucket = self.policy, self.payers.setdefault(payer, Bucket())
        of_payer = bucket.refill(now_ms, 2.0 * policy.walk, policy.failed_walk_refill_per_ms)
        return of_payer, self.everybody.refill(now_ms, policy.walk_in_all, policy.refill_in_all_per_ms)

    def spend(self, payer: str, steps: int) -> None:
        """Note what a message has cost."""
        self.payers[payer].steps -= steps
        self.everybody.steps -= steps

    def forget_full(self, now_ms: int) -> None:
        """Forget the buckets of those who have cost nothing for a while."""
        for payer in list(self.payers):
            self.left(payer, now_ms)
            if self.payers[payer].steps >= 2.0 * self.policy.walk:
                del self.payers[payer]


@dataclass(slots=True)
class Allowance(Bucket):
    """What one session may cost; ``shared`` is the allowance of all sessions, of which ``payer`` pays this one's."""

    shared: SharedAllowance | None = None
    payer: str = STRANGERS

    def left(self, now_ms: int, policy: Policy) -> tuple[bool, Policy]:
        """Refill; return whether a new epoch may be tried, and the policy that holds for now."""
        of_payer = of_all = True
        if self.shared is not None:
            of_payer, of_all = self.shared.left(self.payer, now_ms)
        affordable = self.refill(now_ms, 2.0 * policy.walk, policy.failed_walk_refill_per_ms) and of_payer
        return affordable, policy if affordable and of_all else frugal(policy)

    def spend(self, steps: int) -> None:
        """Note what a message has cost that failed."""
        self.steps -= steps
        self.walked(steps)

    def walked(self, steps: int) -> None:
        """Note what a message has cost that opened: the session has earned it, the others pay all the same."""
        if steps and self.shared is not None:
            self.shared.spend(self.payer, steps)


def frugal(policy: Policy) -> Policy:
    """Return the policy that holds while nothing is left."""
    return replace(policy, walk=min(policy.walk, FREE_WALK))
