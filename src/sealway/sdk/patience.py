# SPDX-License-Identifier: Apache-2.0
"""Sealing with patience: while there is no session, or none can be begun, it is tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

from sealway.errors import LocalMisuse, SealwayError, StateLost, TooLarge, TransportFailed
from sealway.wire.address import Name

log = logging.getLogger(__name__)

T = TypeVar("T")
Kinds: TypeAlias = tuple[type[SealwayError], ...]

_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0
_QUIET_ATTEMPTS: Final = 4
"""An endpoint that has just started is not in the directory yet: nothing to warn of."""


async def in_time(
    attempt: Callable[[], Awaitable[T]], what: str, to: Name, seconds: float, passing: Kinds = (SealwayError,)
) -> T:  # fmt: skip
    """Return what ``attempt`` returns, trying again for so long. ``attempt`` may be cancelled in the middle.

    Raises:
        TransportFailed: there is still no session with ``to``; says why.
        NotTrusted, NotAuthorized, PeerMisbehaved: what was in the way last.
        LocalMisuse, TooLarge, StateLost: as ``patiently``.
    """
    failures: list[SealwayError] = []
    try:
        async with asyncio.timeout(seconds):
            return await patiently(attempt, what, failures, passing)
    except TimeoutError:
        last = failures[-1] if failures else None
        if last is not None and not isinstance(last, TransportFailed):
            raise last from None
        why = f": {last.message}" if last is not None else ""
        hint = "is the next hop running, and has the other end been online once?"
        raise TransportFailed(f"no session with {to} within {seconds:g} seconds{why}", hint=hint) from None


async def patiently(
    attempt: Callable[[], Awaitable[T]], what: str, failures: list[SealwayError] | None = None,
    passing: Kinds = (SealwayError,),
) -> T:  # fmt: skip
    """Return what ``attempt`` returns, trying again as long as it fails for reasons that may pass.

    Args:
        what: what it would have done, for the log.
        failures: gets the last of these reasons.
        passing: what may pass; by default all but the following.

    Raises:
        LocalMisuse, TooLarge, StateLost: these never pass.
    """
    tries = 0
    while True:
        try:
            return await attempt()
        except (LocalMisuse, TooLarge, StateLost):
            raise
        except passing as error:
            if failures is not None:
                failures[:] = [error]
            level = logging.INFO if tries < _QUIET_ATTEMPTS else logging.WARNING
            log.log(level, "nothing can be %s yet: %s", what, error.message)
        await asyncio.sleep(min(_PAUSE_S * 2**tries, _LONGEST_PAUSE_S))
        tries = min(tries + 1, 10)
