# SPDX-License-Identifier: Apache-2.0
"""The clocks an endpoint needs, behind one small interface so that tests can turn them."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Protocol

from sealway.protocol.sentlog import Uptime

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """Wall time for people and expiry; boot time for freshness."""

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""

    def uptime(self) -> Uptime:
        """Return the boot clock, which runs on while the machine sleeps, and which boot it belongs to."""


class SystemClock:
    """This machine's clocks. CLOCK_BOOTTIME, since the plain monotonic clock stops in suspend."""

    def __init__(self) -> None:
        self._boot = _boot()

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def uptime(self) -> Uptime:
        """Return milliseconds since boot, and the boot's identity."""
        return Uptime(self._boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000)


def _boot() -> bytes:
    try:
        text = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        # Without a boot id nothing from an earlier start counts as this boot: commands are refused as stale, never
        # run late.
        text = f"start {time.time_ns()}"
    return hashlib.sha256(text.encode()).digest()[:16]
