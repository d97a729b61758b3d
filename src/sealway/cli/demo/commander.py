# SPDX-License-Identifier: Apache-2.0
"""The commands that the demo's application sends: lines appended to the file of requests that ``app watch`` follows."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from sealway.cli.demo.options import Options
from sealway.cli.demo.progress import Progress
from sealway.cli.demo.town import Town
from sealway.wire.address import Name

TIMEOUT_S = 120
SHORTEST_INTERVAL_S = 0.01


class Commander:
    """Writes requests with ids of the demo's choosing, so that a killed application asks none of them twice."""

    def __init__(self, town: Town, options: Options, progress: Progress, random: Random) -> None:
        self._town = town
        self._options = options
        self._progress = progress
        self._random = random
        self.file: Path = town.application.directory / "requests.jsonl"
        self.file.touch(mode=0o600)

    def change_interval(self, device: int) -> str:
        """Ask a device to sample a fifth faster."""
        rate = self._options.rate
        seconds = max(0.8 / rate, SHORTEST_INTERVAL_S) if rate is not None else SHORTEST_INTERVAL_S
        return self.command(device, "interval", f"{seconds:.3f}")

    def ask_status(self, device: int) -> str:
        """Ask a device how it is."""
        return self.command(device, "status", "")

    def identify(self, device: int) -> str:
        """Ask a device to show itself."""
        return self.command(device, "identify", "")

    def command(self, device: int, path: str, payload: str) -> str:
        """Have the application send a command to the k-th device (from 0); return its request id."""
        to = self._town.devices[device].name
        request = self._random.randbytes(8).hex()
        line = {"id": request, "to": to, "path": path, "payload": payload, "timeout_s": TIMEOUT_S}
        self._progress.asked[request] = f"{Name.parse(to).label} {path} {payload}".strip()
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return request
