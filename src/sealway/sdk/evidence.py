# SPDX-License-Identifier: Apache-2.0
"""What an endpoint refused, told to whoever listens: a digest of the very bytes, and why.

A counter says how much was refused; a digest says what. Who suspects a hop, or plays one, can so match each thing that
was handed over with what became of it. Nothing of a message is in it: the bytes were on the wire already.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from sealway.errors import SealwayError

Listener: TypeAlias = Callable[[str, SealwayError], None]

_MOST_REMEMBERED: Final = 4_096


def digest_of(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256: short for people, and no two things of a day share it."""
    return hashlib.sha256(content).hexdigest()[:16]


class Evidence:
    """Tells of refusals, if anybody listens; costs nothing otherwise."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self._requests: OrderedDict[int, str] = OrderedDict()

    def refused(self, content: bytes, error: SealwayError) -> None:
        """Tell that these bytes, an envelope or an answer of the directory, were refused."""
        if self.listener is not None:
            self.listener(digest_of(content), error)

    def opened(self, row: int, envelope: bytes) -> None:
        """Remember which envelope brought a request, until it is known whether that may be executed.

        Args:
            row: the request's place in the inbox.
        """
        if self.listener is not None:
            self._requests[row] = digest_of(envelope)
            if len(self._requests) > _MOST_REMEMBERED:
                self._requests.popitem(last=False)

    def request_refused(self, row: int, error: SealwayError) -> None:
        """Tell that an authentic request must not be executed: too late, or not granted."""
        digest = self._requests.pop(row, None)
        if self.listener is not None and digest is not None:
            self.listener(digest, error)
