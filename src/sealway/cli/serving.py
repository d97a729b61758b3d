# SPDX-License-Identifier: Apache-2.0
"""A device at work: a stream of readings, and the commands that every device of the command line answers.

Invariant: how far the stream is, is stored in the transaction that seals the reading: after a crash nothing is sealed
twice and nothing is left out.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from sealway.cli.evidence import Witness
from sealway.cli.messages import emit
from sealway.cli.ready import tell_ready
from sealway.cli.rows import EVERY_ROW, Deal, Row, Source
from sealway.cli.sending import open_device
from sealway.cli.sensor import Sensor
from sealway.cli.status import SENT_MARK, device_status
from sealway.cli.timing import AS_SPECIFIED, Timing
from sealway.errors import LocalMisuse, Malformed, SealwayError, TooLarge
from sealway.home.home import Enrolled
from sealway.sdk.device import Device
from sealway.sdk.executor import DEFAULT_MAX_AGE
from sealway.sdk.patience import patiently
from sealway.wire.address import Name
from sealway.wire.header import Claims
from sealway.wire.message import FirstIdentity, Message

LIVE_INTERVAL_S: Final = 1.0
SHORTEST_S, LONGEST_S = 0.01, 86_400.0

_INTERVAL_MARK: Final = "interval_ms"
_SECONDS: Final = re.compile(rb"[0-9]{1,5}(\.[0-9]{1,6})?")
_READ_AHEAD: Final = 64


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What carriers may see of each reading, authenticated; ``expire_after`` in seconds."""

    topic: str | None = None
    tag: str | None = None
    expire_after: float | None = None

    def check(self) -> None:
        """Return if it can be disclosed. Raises LocalMisuse."""
        try:
            self.claims()
        except Malformed as error:
            raise LocalMisuse(f"--topic, --tag: {error.message}") from None

    def claims(self) -> Claims | None:
        """Return it as of now; None if there is nothing."""
        if self == NOTHING:
            return None
        expires = int(time.time() + self.expire_after) if self.expire_after is not None else None
        return Claims(self.topic, self.tag, expires)


NOTHING: Final = Disclosed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a device is to send.

    Fields: ``to`` and ``path`` where; ``interval_s`` seconds between readings, None for the default; ``count`` how many
    in all, None for no end; ``source`` the rows of an input, None for live readings; ``deal`` which of them; ``sensor``
    False to send nothing; ``verbose`` tell of every message; ``evidence`` tell of each refusal and each report;
    ``disclosed`` what carriers may see; ``compact`` use the compact form towards the gateway.
    """

    to: Name
    path: str
    interval_s: float | None = None
    count: int | None = None
    source: Source | None = None
    deal: Deal = EVERY_ROW
    sensor: bool = True
    verbose: bool = False
    evidence: bool = False
    timing: Timing = AS_SPECIFIED
    disclosed: Disclosed = NOTHING
    compact: bool = False

    @property
    def mark(self) -> str:
        """The name under which the state stores how many were sealed."""
        if self.source is None:
            return f"{SENT_MARK}live:{self.to}"
        return f"{SENT_MARK}rows:{self.deal.first}/{self.deal.of}:{self.to}:{self.source.name}"

    @property
    def default_interval_s(self) -> float:
        """The interval until a command changes it: live readings have one, rows go as fast as they can."""
        if self.interval_s is not None:
            return self.interval_s
        return LIVE_INTERVAL_S if self.source is None else 0.0


async def serve_forever(state: Path, enrolled: Enrolled, plan: Plan) -> None:
    """Send what is planned and execute commands until cancelled. Raises StateLost, LocalMisuse, TooLarge."""
    plan.disclosed.check()
    device = open_device(state, enrolled, plan.timing, compact=plan.compact)
    pace = Pace(plan.default_interval_s)
    Commands(device, pace, state).register(plan.timing.oldest_command(DEFAULT_MAX_AGE))
    if plan.evidence:
        Witness(device.endpoint)
    async with device:
        pace.resume(await device.endpoint.mark(_INTERVAL_MARK, -1))
        emit("ready", name=str(enrolled.credential.name))
        tell_ready()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(device.serve())
            tasks.create_task(_tell_published(device))
            if plan.sensor:
                tasks.create_task(Stream(device, plan, pace).run())


async def _tell_published(device: Device) -> None:
    await device.endpoint.publisher.published()
    emit("published")


class Pace:
    """When the next reading is due.

    Args:
        interval_s: seconds between readings; 0 for none.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._changed = asyncio.Event()
        self._due: float | None = None

    def resume(self, interval_ms: int) -> None:
        """Take up the interval that a command set before a restart; below 0 there was none."""
        if interval_ms >= 0:
            self.interval_s = interval_ms / 1_000

    def change(self, interval_s: float) -> None:
        """Set the interval from now on."""
        self.interval_s = interval_s
        self._due = asyncio.get_running_loop().time() + interval_s
        self._changed.set()

    async def next(self) -> None:
        """Wait until the next reading is due. What was late is made up for by one interval at most."""
        loop = asyncio.get_running_loop()
        if self._due is None:
            self._due = loop.time()
        while (left := self._due - loop.time()) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                break
        self._due = max(self._due, loop.time() - self.interval_s) + self.interval_s


class Stream:
    """The readings of one device, in order, each sealed once."""

    def __init__(self, device: Device, plan: Plan, pace: Pace) -> None:
        self._device = device
        self._plan = plan
        self._pace = pace
        self._sent = 0

    async def run(self) -> None:
        """Send what is left of the plan; return once all of it is sealed."""
        self._sent = await self._device.endpoint.mark(self._plan.mark)
        if self._sent:
            emit("resumed", sent=self._sent)
        source = self._plan.source
        await (self._send_live() if source is None else self._send_rows(source))
        emit("finished", sent=self._sent)

    def _is_full(self) -> bool:
        return self._plan.count is not None and self._sent >= self._plan.count

    async def _send_live(self) -> None:
        sensor = Sensor()
        while not self._is_full():
            await self._pace.next()
            await self._seal(sensor.read(self._pace.interval_s), None)

    async def _send_rows(self, source: Source) -> None:
        if self._is_full():
            return
        async for row in _read(source):
            place = self._plan.deal.place(row.index)
            if place is None or place < self._sent:
                continue
            await self._pace.next()
            await self._seal(row.payload, row.index)
            if self._is_full():
                return

    async def _seal(self, payload: bytes, row: int | None) -> None:
        plan, query = self._plan, () if row is None else (f"row={row}",)
        mark = (plan.mark, self._sent + 1)
        device = self._device
        try:
            send = partial(
                device.send,
                plan.to,
                plan.path,
                payload,
                query=query,
                mark=mark,
                within=timedelta(0),
                claims=plan.disclosed.claims(),
            )
            identity = await patiently(send, "sent")
        except TooLarge as error:
            raise LocalMisuse(f"row {row} is too large: {error.message}") from None
        self._sent += 1
        if plan.verbose:
            await self._tell_sealed(identity, payload, row)

    async def _tell_sealed(self, identity: FirstIdentity, payload: bytes, row: int | None) -> None:
        key = (identity.session, identity.number)
        query = "SELECT envelope FROM sent WHERE session = ? AND number = ? AND envelope IS NOT NULL"
        kept = await self._device.endpoint.store.read(lambda c: c.execute(query, key).fetchone())
        told = {"session": identity.session.hex(), "number": identity.number, "row": row, "payload": payload.decode()}
        emit("sealed", **told, **({"envelope_b64": b64encode(kept[0]).decode()} if kept is not None else {}))


class Commands:
    """The commands that this device answers."""

    def __init__(self, device: Device, pace: Pace, state: Path) -> None:
        self._device = device
        self._pace = pace
        self._state = state

    def register(self, max_age: timedelta) -> None:
        """Tell the device which commands there are, which scope each needs, and how old it may be."""
        on = self._device.on
        on("interval", scope="interval:write", idempotent=True, max_age=max_age)(self._interval)
        on("status", scope="status:read", idempotent=True, max_age=max_age)(self._status)
        on("identify", scope="identify:write", max_age=max_age)(self._identify)

    def _interval(self, command: Message) -> str:
        """Change the interval; it is stored in the transaction that makes the answer durable."""
        seconds = float(command.payload) if _SECONDS.fullmatch(command.payload) else math.nan
        if not SHORTEST_S <= seconds <= LONGEST_S:
            raise LocalMisuse(f"an interval is {SHORTEST_S:g} to {LONGEST_S:g} seconds, in decimal")
        milliseconds = round(seconds * 1_000)
        self._device.endpoint.note_mark(_INTERVAL_MARK, milliseconds)
        self._pace.change(milliseconds / 1_000)
        emit("command", path="interval", id=_id(command), interval_s=self._pace.interval_s)
        return f"the interval is {self._pace.interval_s:g} s"

    async def _status(self, command: Message) -> bytes:
        found = await asyncio.to_thread(device_status, self._state)
        emit("command", path="status", id=_id(command))
        return json.dumps(found | {"interval_s": self._pace.interval_s}).encode()

    def _identify(self, command: Message) -> str:
        emit("command", path="identify", id=_id(command), text=f"here is {self._device.endpoint.member.name}")
        return "ok"


def _id(command: Message) -> str | None:
    return command.request_id.hex() if command.request_id is not None else None


async def _read(source: Source) -> AsyncIterator[Row]:
    """Yield rows; from what may make us wait, through a thread that nobody waits for at the end."""
    if source.is_file:
        for row in source.rows():
            yield row
        return
    async for row in _in_thread(source.rows()):
        yield row


async def _in_thread(rows: Iterator[Row]) -> AsyncIterator[Row]:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Row | BaseException | None] = asyncio.Queue(_READ_AHEAD)

    def pump() -> None:
        outcome: BaseException | None = None
        try:
            for row in rows:
                asyncio.run_coroutine_threadsafe(queue.put(row), loop).result()
        except (SealwayError, OSError) as error:
            outcome = error
        except RuntimeError:
            return  # the loop has closed
        asyncio.run_coroutine_threadsafe(queue.put(outcome), loop)

    threading.Thread(target=pump, name="input", daemon=True).start()
    while (item := await queue.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
