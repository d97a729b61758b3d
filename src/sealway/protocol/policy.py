# SPDX-License-Identifier: Apache-2.0
"""Every bound and every timer of the protocol, in one place, with its unit.

All times are integers: milliseconds (``_ms``). A policy bounds what a peer, even one with a valid certificate, can make
an endpoint remember or compute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from sealway.protocol.rotation import DEFAULT_ROTATION, Rotation

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class PostQuantum(Enum):
    """Whether starts have an ML-KEM part: those that an end sends, and those that it accepts."""

    REQUIRED = "required"
    """Never without: a peer whose bundle has no ML-KEM key is not written to, a start without is refused."""
    PREFERRED = "preferred"
    """Publishes a key, and uses a peer's if there is one."""
    OFF = "off"
    """Publishes no key and uses none: a start is 1 092 bytes smaller, without a one-time key 1 093."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of one session and its peers; the defaults are those of spec/session.md."""

    rotation: Rotation = DEFAULT_ROTATION
    """When keys are replaced, and sessions begun anew."""
    post_quantum: PostQuantum = PostQuantum.PREFERRED
    """Whether starts have an ML-KEM part."""
    skipped: int = 1_024
    """Skipped message keys, and skipped reseed roots, stored in a session."""
    walk: int = 65_536
    """Chain steps that one message may cost; jumps over reseeds count too."""
    gap_ranges: int = 1_024
    """Separate gaps that a receiving direction may have."""
    void_ranges: int = 4_096
    """Separate ranges of void numbers that a receiving direction may have."""
    chains: int = 4_096
    """Chains remembered in a receiving direction."""
    epochs: int = 64
    """Epochs remembered in a receiving direction."""
    failed_opens: int = 1 << 20
    """Failed opens of a session after which it is closed: 8-byte tags are safe only with a limit."""
    failed_walk_refill_per_ms: float = 2.0
    """Chain steps that failed opens may cost, per millisecond; the bucket holds two whole walks."""
    skipped_in_all: int = 65_536
    """Skipped message keys and reseed roots stored in all sessions of an end."""
    walk_in_all: int = 1_048_576
    """Chain steps that all sessions of an end may cost at once, whether messages open or not."""
    refill_in_all_per_ms: float = 32.0
    """How many of them come back, per millisecond."""
    step_after_messages: int = 64
    """Messages sent or opened after which the turn holder steps."""
    step_after_ms: int = DAY_MS
    """Time after which the turn holder steps at its next send."""
    ack_delay_ms: int = 5_000
    """T_ack: a receipt for a start, an opener or a replay goes out within this time, and not more often."""
    ack_soon_ms: int = 1_000
    """How long it waits for a message to ride on, if none went out within T_ack: every message until then has an
    opener."""
    ack_every: int = 64
    """Messages after which a receipt goes out."""
    ack_after_ms: int = DAY_MS
    """Time after which a receipt goes out, whatever the count."""
    missing_after_ms: int = HOUR_MS
    """T_missing: numbers that a receipt listed are reported missing after this time."""
    unacknowledged_after_ms: int = HOUR_MS
    """Sealed messages without a receipt are reported after this time."""
    reoffer_after_ms: int = 15_000
    """Time after which an envelope that a hop took, and no receipt covers, is offered again; doubles each time."""
    longest_reoffer_ms: int = HOUR_MS
    """Where that doubling ends."""
    anew_after_ms: int = HOUR_MS
    """How long a hop has had a start before it is tried anew; doubles with each try."""
    longest_anew_ms: int = DAY_MS
    """Where that doubling ends."""
    held_for_ms: int = 7 * DAY_MS
    """How long keys of older epochs, closed sessions and their identifiers are remembered."""
    freshness_references: int = 4_096
    """Own sealed messages that a command may name as its freshness reference."""
    fork_events_per_hour: int = 6
    """ForkSuspected events, at most."""
    window: int = field(init=False)
    """Unacknowledged numbers at which a sender stops: three quarters of the walk, so that the peer can follow."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", self.walk * 3 // 4)


DEFAULT_POLICY = Policy()
