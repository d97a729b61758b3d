# SPDX-License-Identifier: Apache-2.0
"""Lines about what an endpoint refuses and reports: one for each, and bounded, since a stranger can cause them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from sealway.cli.messages import emit
from sealway.errors import SealwayError
from sealway.protocol.events import Event
from sealway.sdk.endpoint import Endpoint

BURST: Final = 4_096
"""Lines in a row."""
A_SECOND: Final = 256
"""Lines a second in the long run; what is more is counted and told as one."""


class Witness:
    """Prints ``refused`` and ``reported`` lines for one endpoint.

    Args:
        endpoint: not started yet.
        clock: monotonic seconds.
    """

    def __init__(self, endpoint: Endpoint, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: float = BURST
        self._at = clock()
        self._omitted = 0
        endpoint.on_refused = self._refused
        endpoint.on_event = self._reported

    def _refused(self, digest: str, error: SealwayError) -> None:
        self._tell("refused", digest=digest, error=type(error).__name__, message=error.message)

    def _reported(self, event: Event) -> None:
        self._tell("reported", kind=type(event).__name__, **{k: _plain(v) for k, v in asdict(event).items()})

    def _tell(self, line: str, /, **fields: Any) -> None:
        now = self._clock()
        self._left, self._at = min(BURST, self._left + (now - self._at) * A_SECOND), now
        if self._left < 1:
            self._omitted += 1
            return
        self._left -= 1
        if self._omitted:
            emit("omitted", lines=self._omitted)
            self._omitted = 0
        emit(line, **fields)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
