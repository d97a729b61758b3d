# SPDX-License-Identifier: Apache-2.0
"""Live readings: this computer's own CPU, memory, temperature where there is one, disk and network."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import psutil

_SLOW_S: Final = 1.0
"""Temperature and file system are looked at this often at most; they cost more than the rest together."""


class Sensor:
    """What this computer measures of itself. The first CPU figure is that since the sensor was made."""

    def __init__(self) -> None:
        psutil.cpu_percent(interval=None)
        self._slow: dict[str, Any] = {}
        self._slow_at = float("-inf")

    def read(self, interval_s: float) -> bytes:
        """Return one reading as a JSON object in UTF-8; ``interval_s`` is the sampling interval, in seconds."""
        memory, disk, network = psutil.virtual_memory(), psutil.disk_io_counters(), psutil.net_io_counters()
        reading = {
            "cpu_percent": psutil.cpu_percent(interval=None),
            "memory_percent": memory.percent,
            "memory_available_bytes": memory.available,
            **self._slowly(),
            "disk_read_bytes": disk.read_bytes if disk is not None else None,
            "disk_written_bytes": disk.write_bytes if disk is not None else None,
            "network_received_bytes": network.bytes_recv if network is not None else None,
            "network_sent_bytes": network.bytes_sent if network is not None else None,
            "interval_s": interval_s,
        }
        present = {name: value for name, value in reading.items() if value is not None}
        return json.dumps(present, separators=(",", ":")).encode()

    def _slowly(self) -> dict[str, Any]:
        now = time.monotonic()
        if now - self._slow_at >= _SLOW_S:
            self._slow_at = now
            self._slow = {"temperature_c": _temperature(), "disk_used_percent": psutil.disk_usage("/").percent}
        return self._slow


def _temperature() -> float | None:
    if not hasattr(psutil, "sensors_temperatures"):
        return None
    readings = [reading.current for readings in psutil.sensors_temperatures().values() for reading in readings]
    return max(readings, default=None)
