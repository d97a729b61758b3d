# SPDX-License-Identifier: Apache-2.0
"""Telling whoever supervises this process that it serves now: the protocol of systemd, sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

log = logging.getLogger(__name__)

VARIABLE: Final = "NOTIFY_SOCKET"
_READY: Final = b"READY=1"


def tell_ready(environment: Mapping[str, str] = os.environ) -> None:
    """Log that this process serves, and send READY=1 to the socket that the environment names, if it names one.

    What fails there is logged, no more.
    """
    log.info("ready", extra={"event": "ready"})
    address = environment.get(VARIABLE, "")
    if not address.startswith(("/", "@")):  # a path, or a name in Linux's abstract namespace
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.connect(address)
            supervisor.send(_READY)
    except OSError as error:
        log.warning("could not tell the supervisor: %s", (error.strerror or "error").lower())
