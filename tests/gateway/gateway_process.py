# SPDX-License-Identifier: Apache-2.0
"""A gateway as a process, whose hub is away: `python gateway_process.py STATE_DIR PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

from sealway.cli.logs import LogSettings, begin
from sealway.gateway.gateway import GatewayConfig
from sealway.gateway.serve import run_gateway
from sealway.transports.memory import MemoryHub
from sealway.transports.ports import Carrier


def _uplink() -> Carrier:
    hub = MemoryHub()
    hub.away = True
    return hub.carrier()


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    address = directory.with_suffix(".address")
    begin(LogSettings(directory.with_suffix(".log")))
    run_gateway(GatewayConfig(directory, port=int(sys.argv[2]), address_file=address), _uplink)
