# SPDX-License-Identifier: Apache-2.0
"""What an endpoint reports to its application besides messages. Loss and withholding look the same: "missing"."""

from __future__ import annotations

from dataclasses import dataclass

from sealway.protocol.ranges import Range


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the session with ``peer`` (its name)."""

    peer: str
    session: bytes


@dataclass(frozen=True, slots=True)
class Missing(Event):
    """The peer sealed these numbers, was told that they are missing, and did not bring them."""

    numbers: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Silent(Event):
    """Nothing came for longer than the peer said that it would ever be silent."""

    since_ms: int


@dataclass(frozen=True, slots=True)
class Unacknowledged(Event):
    """Own messages for which no sealed receipt came in time."""

    numbers: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class WithoutOneTimeKey(Event):
    """The peer began a session without a one-time key, though ``left`` of the bundle's were never used here: somebody
    took them all, the directory withholds them, or the peer had the bundle from a file. Its first messages have less
    forward secrecy, until the signed prekey is deleted. Reported once for each bundle."""

    left: int


@dataclass(frozen=True, slots=True)
class ForkSuspected(Event):
    """Somebody showed a key or a salt that only a copy of the peer's state could have made; it cannot be verified."""

    reason: str
