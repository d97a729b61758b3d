# SPDX-License-Identifier: Apache-2.0
"""What the demo was asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DOMAIN = "building.example"
LIVE_RATE = 5.0
LIVE_MESSAGES = 60


@dataclass(frozen=True, slots=True)
class Options:
    """The demo's options, checked.

    Args:
        devices: how many devices.
        messages: readings a device; None for all rows of the input.
        rate: readings a device and second; None for as fast as it goes.
        source: a CSV or JSONL file whose rows are the readings, or None for this computer's own.
        rows: how many rows the source has; 0 without one.
        seed: decides when roles are killed and what commands say.
        directory: where every role has its own directory.
        verbose: devices tell of every message they seal, for the live view.
        attacks: whether there is a second act, under attack.
        suite: what the endpoints' keys are made for.
    """

    devices: int
    messages: int | None
    rate: float | None
    source: Path | None
    rows: int
    seed: int
    directory: Path
    verbose: bool = False
    attacks: bool = True
    suite: int = 1

    @property
    def expected(self) -> int:
        """How many readings will be sealed in all."""
        return sum(self.expected_of(k) for k in range(self.devices))

    def expected_of(self, device: int) -> int:
        """How many readings the k-th device (from 0) will seal."""
        if self.source is None:
            return self.messages if self.messages is not None else LIVE_MESSAGES
        dealt = len(range(device, self.rows, self.devices))
        return dealt if self.messages is None else min(dealt, self.messages)
