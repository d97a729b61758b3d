# SPDX-License-Identifier: Apache-2.0
"""A device of the command line, and the one message that `sealway device send` seals with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from sealway.cli.status import SENT_MARK
from sealway.cli.timing import AS_SPECIFIED, Timing
from sealway.errors import TransportFailed
from sealway.home.carriers import consents, next_hop
from sealway.home.home import Enrolled
from sealway.sdk.device import Device
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.member import Member
from sealway.wire.address import Name

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
    compact: bool = False
    timing: Timing = AS_SPECIFIED


def open_device(
    state: Path, enrolled: Enrolled, timing: Timing = AS_SPECIFIED, *, compact: bool = False
) -> Device:  # fmt: skip
    """Return the device of a state directory with its next hop; not started yet. Raises LocalMisuse, StateLost."""
    return Device(
        state, Member.of(enrolled), next_hop(enrolled, compact=compact), grants=enrolled.grants,
        consents=consents(enrolled), policy=timing.policy(), max_silence=timing.silence,
    )  # fmt: skip


async def send_one(state: Path, enrolled: Enrolled, single: Single) -> None:
    """Seal one message; return once a hop has taken it, or the other end has acknowledged it.

    Raises:
        TransportFailed: not in time. What was sealed is offered again when the device runs next.
        LocalMisuse, TooLarge, StateLost: it cannot be sealed.
    """
    async with open_device(state, enrolled, single.timing, compact=single.compact) as device:
        end = asyncio.get_running_loop().time() + single.timeout_s
        mark = (_SINGLE, await device.endpoint.mark(_SINGLE) + 1)
        patience = timedelta(seconds=single.timeout_s)
        await device.send(single.to, single.path, single.payload, mark=mark, within=patience)
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
