# SPDX-License-Identifier: Apache-2.0
"""Freshness of commands without a clock: a command names a message that the device sealed not long ago.

Invariant: a command is fresh only if it names a message that this very device sealed in this session since its last
boot, by number and tag, no longer ago than the command's own limit and the scope's cap. spec/session.md, "Freshness".
"""

from __future__ import annotations

import hmac

from sealway.errors import Stale
from sealway.protocol.sentlog import SentLog, Uptime
from sealway.wire.message import Freshness


def check_fresh(freshness: Freshness | None, log: SentLog, now: Uptime, *, cap_ms: int) -> int:
    """Return the age in milliseconds of the reference that a command names.

    Args:
        freshness: the command's reference, or None if it names none.
        log: this end's own sealed messages of the command's session.
        now: the present moment on the boot clock.
        cap_ms: the longest age that the command's scope allows.

    Raises:
        Stale: none named, not remembered, of another boot, or too old. The answer saying so is a new reference.
    """
    if freshness is None:
        raise Stale("the command names no message to be fresh against")
    record = log.find(freshness.number)
    if record is None or not hmac.compare_digest(record.tag, freshness.tag):
        raise Stale("the command names a message that is not remembered")
    if record.at.boot != now.boot:
        raise Stale("the command names a message from before a reboot")
    age = now.ms - record.at.ms
    if age < 0 or age > min(freshness.max_age * 1_000, cap_ms):
        raise Stale("the command is older than it may be")
    return age
