# SPDX-License-Identifier: Apache-2.0
"""A gateway as a process: signals, the ready line, the log."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sealway.gateway.gateway import Gateway, GatewayConfig
from sealway.gateway.logs import log_to
from sealway.transports.ports import Carrier


def run_gateway(config: GatewayConfig, open_uplink: Callable[[], Carrier]) -> None:
    """Run a gateway in this process until SIGTERM or SIGINT.

    Once it serves, one line goes to standard output, ``gateway ready coap://HOST:PORT``, and the URI into
    ``config.address_file`` if there is one. ``open_uplink`` is called inside the event loop; what it returns is
    closed at the end. Raises what ``Gateway.run`` raises.
    """
    log_to(config.log_file)
    asyncio.run(_serve(config, open_uplink))


async def _serve(config: GatewayConfig, open_uplink: Callable[[], Carrier]) -> None:
    uplink = open_uplink()
    gateway = Gateway(config, uplink)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop)
    try:
        await gateway.run(lambda uri: _announce(uri, config.address_file))
    finally:
        await uplink.close()


def _announce(uri: str, address_file: Path | None) -> None:
    if address_file is not None:
        fresh = address_file.with_name(f"{address_file.name}.{os.getpid()}")
        fresh.write_text(f"{uri}\n")
        fresh.replace(address_file)
    sys.stdout.write(f"gateway ready {uri}\n")
    sys.stdout.flush()
