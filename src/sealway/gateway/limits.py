# SPDX-License-Identifier: Apache-2.0
"""How much a gateway takes, from whom and for how long. Every table here has a fixed size.

Invariant: what a stranger sends costs at most what these numbers say, and never another one's place for longer than a
minute.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sealway.errors import LocalMisuse, RateLimited
from sealway.transports.coap_api import BLOCK_BYTES

_TRACKED: Final = 4096  # sources, or mailboxes, whose rate is remembered; the least recently seen is forgotten


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a gateway; the defaults suit a gateway on loopback with a fast uplink. Raises LocalMisuse."""

    envelope_bytes: int = 65_536  # one envelope; more is 4.13
    bearer_bytes: int = 1024  # payload of one datagram towards devices, 16 to 1024; what is longer goes in blocks
    directory_bytes: int = 16_384  # a bundle, a chain or a consent; more is 4.13
    per_minute: int = 240_000  # requests of one source address; more is 4.29
    mailbox_per_minute: int = 240_000  # envelopes for one mailbox; more is 4.29
    held_for: timedelta = timedelta(days=1)  # an envelope held longer is dropped
    queue_bytes: int = 256 * 1024 * 1024  # envelopes held for the hub; more is 5.03
    inbox_bytes: int = 4 * 1024 * 1024  # envelopes held for one device; more stays at the hub
    consents: int = 10_000  # devices that the gateway collects for
    observers: int = 1024  # observations in all
    uploads: int = 64  # blockwise uploads under way in all
    upload_seconds: float = 30.0  # an upload that stands still for longer is forgotten

    def __post_init__(self) -> None:
        if not 16 <= self.bearer_bytes <= BLOCK_BYTES:  # RFC 7959 §2.2
            raise LocalMisuse(f"a bearer of {self.bearer_bytes} bytes", hint=f"16 to {BLOCK_BYTES}")


class RateLimiter:
    """A token bucket for each key: ``per_minute`` in a row, refilled evenly. A key not remembered has a full bucket."""

    def __init__(self, per_minute: int, *, tracked: int = _TRACKED) -> None:
        self._per_minute = per_minute
        self._tracked = tracked
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (tokens, time)

    def spend(self, key: str, now: float) -> None:
        """Take one token of ``key`` at ``now`` (monotonic seconds). Raises RateLimited when there is none."""
        tokens, then = self._buckets.pop(key, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - then) * self._per_minute / 60)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._tracked:
            self._buckets.popitem(last=False)
        if not allowed:
            raise RateLimited(f"more than {self._per_minute} requests a minute", hint="wait a second and try again")

    def __len__(self) -> int:
        return len(self._buckets)
