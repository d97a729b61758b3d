# SPDX-License-Identifier: Apache-2.0
"""A gateway as a process: signals and the ready line."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sealway.gateway.gateway import GatewayConfig, Service
from sealway.transports.ports import Carrier


def run_gateway(
    config: GatewayConfig, open_uplink: Callable[[], Carrier], on_ready: Callable[[], None] = lambda: None
) -> None:
    """Run a gateway in this process until SIGTERM or SIGINT.

    Once it serves, one line goes to standard output, ``gateway ready coap://HOST:PORT``, the URI into
    ``config.address_file`` if there is one, and ``on_ready`` is called. ``open_uplink`` is called inside the event
    loop; what it returns is closed at the end. Where the log goes is for the caller to say (the logger is ``sealway``).
    Raises what ``Service.run`` raises.
    """
    asyncio.run(_serve(config, open_uplink, on_ready))


async def _serve(config: GatewayConfig, open_uplink: Callable[[], Carrier], on_ready: Callable[[], None]) -> None:
    uplink = open_uplink()
    gateway = Service(config, uplink)
    loop = asyncio.get_running_loop()

    def ready(uri: str) -> None:
        _collect_less()
        _announce(uri, config.address_file)
        on_ready()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop)
    try:
        await gateway.run(ready)
    finally:
        await uplink.close()


def _collect_less() -> None:
    """Let the garbage collector pass over what is there now, which stays, and look at the rest a tenth as often.

    Every CoAP exchange leaves reference cycles behind; looking for them was an eighth of the gateway's work.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10 * gc.get_threshold()[0], *gc.get_threshold()[1:])


def _announce(uri: str, address_file: Path | None) -> None:
    if address_file is not None:
        fresh = address_file.with_name(f"{address_file.name}.{os.getpid()}")
        fresh.write_text(f"{uri}\n")
        fresh.replace(address_file)
    sys.stdout.write(f"gateway ready {uri}\n")
    sys.stdout.flush()
