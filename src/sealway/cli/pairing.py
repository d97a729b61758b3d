# SPDX-License-Identifier: Apache-2.0
"""A device waits for an owner: ``sealway device pair``; and what a person in front of it can do: ``device reset``."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sealway.cli.messages import Refused, emit
from sealway.errors import LocalMisuse
from sealway.factory.newborn import IDEVID_KEY, NewbornHome
from sealway.gateway.facade import CoapListener
from sealway.gateway.limits import Limits
from sealway.gateway.metrics import Metrics
from sealway.gateway.server import Answer, Ask, CoapFace, Route
from sealway.gateway.watchers import Watchers
from sealway.home.pairing import Pairing
from sealway.joining.device import Born, Joiner, Moment
from sealway.joining.messages import MAX_JOINING_BYTES
from sealway.joining.ownership import WINDOW_MS, State
from sealway.keystore.places import open_keystore
from sealway.sdk.clock import SystemClock
from sealway.storage.closing import to_the_end
from sealway.transports import coap_api
from sealway.transports.coap_stack import StackLimits, any_address, open_server
from sealway.transports.frames import serve_frames

if TYPE_CHECKING:
    from sealway.crypto.secret import Secret
    from sealway.crypto.spake2plus import VerifierRecord
    from sealway.home.home import Home

log = logging.getLogger(__name__)

_CHANGED: Final = 0x44  # 2.04
_POST: Final = 2
_LIMITS: Final = Limits(per_minute=600, uploads=4, observers=0)
_LINGER_S: Final = 3.0
"""How long it still answers after it has an owner: the answer that said so may have to be repeated."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a device waits.

    Args:
        listener: where it listens for CoAP; None where it does not.
        stream: a socket for a stream of bytes; None where there is none.
        pressed: a person opened a new pairing window.
    """

    listener: CoapListener | None
    stream: Path | None
    pressed: bool = False


def pairing_of(home: Home, passphrase: Secret) -> Pairing:
    """Open the ownership of a device that a factory made. Raises LocalMisuse, StateLost, InUse."""
    newborn = NewbornHome(home.path)
    newborn.read_birth()

    def verifier() -> VerifierRecord:
        found = newborn.read_verifier()
        if found is None:
            raise LocalMisuse(f"there is no verifier in {home.path}", hint="the factory puts it there")
        return found

    kept = (newborn.birth_path, newborn.verifier_path, newborn.passphrase_path)
    return Pairing(home, passphrase, verifier, frozenset(path.name for path in kept), _show)


async def wait_for_owner(home: Home, passphrase: Secret, waiting: Waiting) -> None:
    """Wait until the device has an owner, or the pairing window closes.

    Raises:
        Refused: the window closed, or the device has an owner.
        LocalMisuse, StateLost, InUse, TransportFailed.
    """
    with pairing_of(home, passphrase) as pairing:
        host = _Host(pairing, born_of(home.path, passphrase))
        host.begin(pressed=waiting.pressed)
        try:
            async with _listening(waiting, host):
                await host.owned()
                await asyncio.sleep(_LINGER_S)
        finally:
            await to_the_end(host.end())  # no thread writes into what is given back here


def born_of(path: Path, passphrase: Secret) -> Born:
    """Return who a made device is, with the key that it was born with. Raises LocalMisuse, StateLost."""
    birth = NewbornHome(path).read_birth()
    signer = open_keystore(path / "keystore", passphrase).signer(IDEVID_KEY)
    return Born(birth.serial, birth.chain, signer)


class _Host:
    def __init__(self, pairing: Pairing, born: Born) -> None:
        self._pairing, self._born = pairing, born
        self._clock = SystemClock()
        self._joiner = Joiner(born, pairing, os.urandom)
        self._turn = asyncio.Lock()
        self._finished = asyncio.Event()
        self._seconds = 0.0

    def begin(self, *, pressed: bool) -> None:
        """Open a pairing window if there is to be one. Raises Refused if nobody could pair or go on."""
        state = self._pairing.state(int(time.time()))
        if state is State.SRESET:
            raise Refused(
                "this device is stopped", hint="sealway device init --enrolment FILE takes its owner's answer"
            )
        if state is State.RFNOP and self._pairing.pending(int(time.time())) is None:
            raise Refused("this device has an owner", hint="sealway device reset makes it ready for another")
        left = 0 if state is State.RFNOP else self._pairing.open_window(self._clock.uptime(), pressed=pressed)
        if state in (State.RFPRO, State.RFNOP):
            left = WINDOW_MS  # who has shown the code may go on, whatever became of the window
        if left <= 0:
            raise Refused("the pairing window has closed", hint="--button opens a new one")
        self._seconds = left / 1000
        _show(state)

    async def answer(self, message: bytes) -> bytes:
        """Answer one message; one at a time, and not in the event loop, since keys are made and disks waited for."""
        async with self._turn:
            try:  # to the end: a remote that uses its token again cancels this, and the thread would run on beside it
                return await to_the_end(asyncio.to_thread(self._joiner.answer, message, self._moment()))
            finally:
                self._note()

    def _note(self) -> None:
        if self._joiner.fault is not None:
            log.warning("refused: %s", self._joiner.fault.message)
        if self._joiner.finished:
            self._finished.set()

    async def owned(self) -> None:
        """Wait until the device has said that it has an owner. Raises Refused once nobody may try any more."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._finished.wait()
        except TimeoutError:
            async with self._turn:  # what came in time may be taking the owner just now
                if not self._joiner.finished:
                    raise Refused("the pairing window has closed", hint="--button opens a new one") from None

    async def end(self) -> None:
        """Wait until no message is being answered; none is from now on."""
        await self._turn.acquire()

    def _moment(self) -> Moment:
        return Moment(int(time.time()), self._clock.uptime())


@asynccontextmanager
async def _listening(waiting: Waiting, host: _Host) -> AsyncIterator[None]:
    if waiting.stream is not None:
        async with serve_frames(waiting.stream, host.answer, most=MAX_JOINING_BYTES):
            emit("waiting", address=f"unix:{waiting.stream}")
            yield
    elif waiting.listener is not None:
        listener = waiting.listener
        context, port = await open_server(
            _face(host), listener.host, listener.port, limits=StackLimits(), count=lambda name: None,
            checked=any_address,
        )  # fmt: skip
        try:
            emit("waiting", address=f"coap://{listener.address.rpartition(':')[0]}:{port}")
            yield
        finally:
            await context.shutdown()


def _face(host: _Host) -> CoapFace:
    async def take(ask: Ask) -> Answer:
        return Answer(_CHANGED, await host.answer(ask.payload), coap_api.FORMAT_CBOR)

    route = Route(take, frozenset({coap_api.FORMAT_CBOR}), MAX_JOINING_BYTES)
    return CoapFace({coap_api.JOIN: {_POST: route}}, _LIMITS, Metrics(), Watchers(_LIMITS.observers))


def _show(state: State) -> None:
    emit("state", state=str(state))
