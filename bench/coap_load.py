# SPDX-License-Identifier: Apache-2.0
"""Devices that post over CoAP: raw datagrams on many sockets, each with one exchange under way (RFC 7252 §4.7).

A load generator has to cost less than what it measures, so this is no CoAP library: it writes one form of request,
repeats it when nothing comes, and understands just enough of the answers.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final

from sealway.transports.coap_api import FORMAT_ENVELOPE

_CON_POST: Final = 0x44  # version 1, CON, a token of 4 bytes
_ACK, _CODE_POST, _CHANGED = 0x60, 0x02, 0x44
_REPEAT_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 60.0


def post(mailbox: str, payload: bytes) -> bytes:
    """Return the options and payload of POST /m/{mailbox}; both servers that are compared have this resource."""
    path = b"\xb1m" + b"\x0d" + bytes((len(mailbox) - 13,)) + mailbox.encode()
    return path + bytes((0x11, FORMAT_ENVELOPE)) + b"\xff" + payload


class Devices:
    """So many devices; close them when done.

    Args:
        port: of the server, at 127.0.0.1.
        count: sockets.
    """

    def __init__(self, port: int, count: int) -> None:
        self._devices = [_Device(port) for _ in range(count)]

    def send(self, requests: list[bytes]) -> None:
        """Have every request answered with 2.04, shared out among the devices. Raises RuntimeError if one is not."""
        waiting = iter(requests)
        with selectors.DefaultSelector() as selector:
            for device in self._devices:
                selector.register(device.socket, selectors.EVENT_READ, device)
            busy = sum(device.begin(waiting) for device in self._devices)
            until = time.monotonic() + _PATIENCE_SECONDS
            while busy:
                ready = selector.select(0.2)
                for key, _ in ready:
                    busy -= key.data.received(waiting)
                if not ready and time.monotonic() > until:
                    raise RuntimeError("the server does not answer")
                if not ready:
                    for device in self._devices:
                        device.repeat()

    def close(self) -> None:
        """Close the sockets."""
        for device in self._devices:
            device.socket.close()


class _Device:
    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", port))
        self._mid, self._token = int.from_bytes(os.urandom(2)), 0
        self._sent, self._at = b"", 0.0

    def begin(self, waiting: Iterator[bytes]) -> bool:
        """Send the next request; False if there is none."""
        request = next(waiting, None)
        if request is None:
            self._sent = b""
            return False
        self._mid, self._token = (self._mid + 1) & 0xFFFF, (self._token + 1) & 0xFFFFFFFF
        self._sent = struct.pack(">BBHI", _CON_POST, _CODE_POST, self._mid, self._token) + request
        self.repeat(0.0)
        return True

    def received(self, waiting: Iterator[bytes]) -> int:
        """Read one datagram; 1 if that was this device's last answer."""
        data = self.socket.recv(2048)
        kind, code, mid = struct.unpack_from(">BBH", data)
        if code == 0 or data[4:8] != self._sent[4:8]:
            return 0  # an empty acknowledgement: the answer will follow; or an answer that came twice
        if kind & 0x30 == 0:  # confirmable: a separate answer
            self.socket.send(struct.pack(">BBH", _ACK, 0, mid))
        if code != _CHANGED:
            raise RuntimeError(f"answered {code >> 5}.{code & 31:02}: {data[8:]!r}")
        return 0 if self.begin(waiting) else 1

    def repeat(self, after: float = _REPEAT_SECONDS) -> None:
        """Send the request again if it has waited that long."""
        if self._sent and time.monotonic() - self._at >= after:
            self._at = time.monotonic()
            self.socket.send(self._sent)
