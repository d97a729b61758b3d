# SPDX-License-Identifier: Apache-2.0
"""Sealing with patience: while there is no session, or none can be begun, it is tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from sealway.cli.status import SENT_MARK
from sealway.cli.timing import AS_SPECIFIED, Timing
from sealway.errors import LocalMisuse, SealwayError, StateLost, TooLarge, TransportFailed
from sealway.home.carriers import consents, next_hop
from sealway.home.home import Enrolled
from sealway.sdk.device import Device
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.member import Member
from sealway.wire.address import Name

log = logging.getLogger(__name__)

T = TypeVar("T")

_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0
_QUIET_ATTEMPTS: Final = 4
"""An endpoint that has just started is not in the directory yet: nothing to warn of."""

_LOOK_S: Final = 0.05
_SINGLE: Final = f"{SENT_MARK}single"


@dataclass(frozen=True, slots=True)
class Single:
    """One message to be sent, and how long to wait for it, in seconds."""

    to: Name
    path: str
    payload: bytes = field(repr=False)
    wait_ack: bool
    timeout_s: float


def open_device(state: Path, enrolled: Enrolled, timing: Timing = AS_SPECIFIED) -> Device:
    """Return the device of a state directory with its next hop; not started yet. Raises LocalMisuse, StateLost."""
    return Device(
        state, Member.of(enrolled), next_hop(enrolled), grants=enrolled.grants, consents=consents(enrolled),
        policy=timing.policy(), max_silence=timing.silence,
    )  # fmt: skip


async def send_one(state: Path, enrolled: Enrolled, single: Single) -> None:
    """Seal one message; return once a hop has taken it, or the other end has acknowledged it.

    Raises:
        TransportFailed: not in time. What was sealed is offered again when the device runs next.
        LocalMisuse, TooLarge, StateLost: it cannot be sealed.
    """
    async with open_device(state, enrolled) as device:
        end = asyncio.get_running_loop().time() + single.timeout_s
        mark = (_SINGLE, await device.endpoint.mark(_SINGLE) + 1)
        await in_time(
            lambda: device.send(single.to, single.path, single.payload, mark=mark),
            "sealed",
            single.to,
            single.timeout_s,
        )
        try:
            async with asyncio.timeout_at(end):
                await (_acknowledged if single.wait_ack else _taken)(device.endpoint)
        except TimeoutError:
            what = "acknowledged" if single.wait_ack else "taken by a hop"
            message = f"sealed, but not {what} within {single.timeout_s:g} seconds"
            raise TransportFailed(message, hint="it is offered again at the next start") from None


async def _taken(endpoint: Endpoint) -> None:
    while endpoint.outbox.untaken:
        endpoint.check_alive()
        await asyncio.sleep(_LOOK_S)


async def _acknowledged(endpoint: Endpoint) -> None:
    while len(endpoint.outbox):
        endpoint.check_alive()
        await asyncio.sleep(_LOOK_S)


async def in_time(attempt: Callable[[], Awaitable[T]], what: str, to: Name, seconds: float) -> T:
    """Return what ``attempt`` returns, trying again for so long.

    Raises:
        TransportFailed: there is still no session with ``to``; says why.
        NotTrusted, NotAuthorized, PeerMisbehaved: what was in the way last.
        LocalMisuse, TooLarge, StateLost: as ``patiently``.
    """
    failures: list[SealwayError] = []
    try:
        async with asyncio.timeout(seconds):
            return await patiently(attempt, what, failures)
    except TimeoutError:
        last = failures[-1] if failures else None
        if last is not None and not isinstance(last, TransportFailed):
            raise last from None
        why = f": {last.message}" if last is not None else ""
        hint = "is the next hop running, and has the other end been online once?"
        raise TransportFailed(f"no session with {to} within {seconds:g} seconds{why}", hint=hint) from None


async def patiently(
    attempt: Callable[[], Awaitable[T]], what: str, failures: list[SealwayError] | None = None
) -> T:  # fmt: skip
    """Return what ``attempt`` returns, trying again as long as it fails for reasons that may pass.

    Args:
        what: what it would have done, for the log.
        failures: gets the last of these reasons.

    Raises:
        LocalMisuse, TooLarge, StateLost: these do not pass.
    """
    tries = 0
    while True:
        try:
            return await attempt()
        except (LocalMisuse, TooLarge, StateLost):
            raise
        except SealwayError as error:
            if failures is not None:
                failures[:] = [error]
            level = logging.INFO if tries < _QUIET_ATTEMPTS else logging.WARNING
            log.log(level, "nothing can be %s yet: %s", what, error.message)
        await asyncio.sleep(min(_PAUSE_S * 2**tries, _LONGEST_PAUSE_S))
        tries = min(tries + 1, 10)
