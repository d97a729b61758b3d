# SPDX-License-Identifier: Apache-2.0
"""Say whether what runs in a container answers: ``healthcheck.py [https://HOST:PORT | coap://HOST:PORT]``.

Without an argument the address is that of SEALWAY_HEALTH; without either there is nothing to ask, and all is well. A
hub is asked for /health, a gateway gets a CoAP ping (RFC 7252 §4.3). Exit code 0 or 1. Needs Python alone.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from http.client import HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

PATIENCE_S = 3.0
PING = b"\x40\x00\x5e\xa1"  # version 1, confirmable, no token; code 0.00; any message id
RESET = b"\x70\x00\x5e\xa1"  # the same id


def answers(url: str) -> bool:
    """Say whether a hub or a gateway answers at a URL."""
    place = urlsplit(url)
    try:
        return _hub_answers(place) if place.scheme == "https" else _gateway_answers(place)
    except (OSError, HTTPException, ValueError):  # ValueError: no such port
        return False


def _hub_answers(place: SplitResult) -> bool:
    # That it answers is asked, not who it is: nothing secret is sent, and nothing that it says is believed.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    hub = HTTPSConnection(place.hostname or "", place.port, timeout=PATIENCE_S, context=context)
    try:
        hub.request("GET", "/health")
        return hub.getresponse().status == 200
    finally:
        hub.close()


def _gateway_answers(place: SplitResult) -> bool:
    family = socket.AF_INET6 if ":" in (place.hostname or "") else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as gateway:
        gateway.settimeout(PATIENCE_S)
        gateway.connect((place.hostname or "", place.port or 5683))
        gateway.send(PING)
        return gateway.recv(64) == RESET


if __name__ == "__main__":
    address = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SEALWAY_HEALTH", "")
    sys.exit(0 if not address or answers(address) else 1)
