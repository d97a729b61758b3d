# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that are started later, killed, and started again on the same port."""

from __future__ import annotations

import contextlib
import errno
import socket
from random import SystemRandom
from typing import Final

from sealway.errors import TransportFailed

HOST: Final = "127.0.0.1"
TCP: Final = socket.SOCK_STREAM
UDP: Final = socket.SOCK_DGRAM
_FROM: Final = 20_000
_BEFORE: Final = 32_768
"""Where systems begin to draw the ports of clients. A port from there may be a client's by the time the server starts,
and a client that tries a server that is down can even end up connected to itself, on the server's port."""
_TRIES: Final = 1_000


def free_ports(*kinds: socket.SocketKind) -> tuple[int, ...]:
    """Return a port on loopback for each of these kinds of sockets; nobody uses it at this moment, and no client will.

    Raises TransportFailed if none is found.
    """
    with contextlib.ExitStack() as held:
        return tuple(_port_of(held.enter_context(socket.socket(socket.AF_INET, kind))) for kind in kinds)


def _port_of(probe: socket.socket) -> int:
    chance = SystemRandom()
    for _ in range(_TRIES):
        port = chance.randrange(_FROM, _BEFORE)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            return port
    raise TransportFailed(f"no free port on {HOST} from {_FROM} to {_BEFORE}")
