# SPDX-License-Identifier: Apache-2.0
"""How much computing strangers may cause: a token bucket over the chain steps that failed opens have cost.

Invariant: whoever forges envelopes can exhaust the allowance, but what costs less than ``FREE_WALK`` never needs it.
spec/session.md, "Bounds".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sealway.protocol.policy import Policy

FREE_WALK = 64
"""Chain steps that a message may always cost: who follows its peer is not shut out by what others have cost."""


@dataclass(slots=True)
class Allowance:
    """Chain steps left; times in milliseconds. It is not durable: a restart fills it."""

    steps: float = -1.0
    at_ms: int | None = None

    def left(self, now_ms: int, policy: Policy) -> bool:
        """Refill, and say whether a costly message may be tried."""
        full = 2.0 * policy.walk
        if self.at_ms is None:
            self.steps, self.at_ms = full, now_ms
        refill = max(0, now_ms - self.at_ms) * policy.failed_walk_refill_per_ms
        self.steps, self.at_ms = min(full, self.steps + refill), now_ms
        return self.steps > 0

    def spend(self, steps: int) -> None:
        """Note what a message has cost."""
        self.steps -= steps


def frugal(policy: Policy) -> Policy:
    """Return the policy that holds while nothing is left."""
    return replace(policy, walk=min(policy.walk, FREE_WALK))
