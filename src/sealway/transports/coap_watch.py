# SPDX-License-Identifier: Apache-2.0
"""Observation of a mailbox from the device's side (RFC 7641), kept alive across restarts of the gateway.

An observation dies silently with the gateway that held it, so it is registered again whenever nothing was heard for
``refresh`` seconds. What a notification holds is handed to whoever waits; the mailbox itself stays the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiocoap.message import Message
from aiocoap.pipe import Pipe

from sealway.errors import SealwayError, TransportFailed
from sealway.transports.coap_forms import Forms, collected_of
from sealway.transports.coap_lanes import Lane, unreachable
from sealway.transports.ports import Collected


class MailboxWatch:
    """One observation. ``news`` is set when something was noticed or the gateway failed."""

    def __init__(
        self, lane: Lane, uri: str, mailbox: str, forms: Forms, *, refresh: float, news: asyncio.Event
    ) -> None:  # fmt: skip
        self._lane = lane
        self._uri = uri
        self._mailbox = mailbox
        self._forms = forms
        self._refresh = refresh
        self._news = news
        self._heard = asyncio.Event()
        self._stop_interest: Callable[[], None] | None = None
        self._noticed: list[Collected] = []
        self._longer = False
        self._failure: TransportFailed | None = None
        self._task = asyncio.create_task(self._keep_alive(), name=f"observe {mailbox}")

    def take_noticed(self) -> list[Collected]:
        """What the last notification held, once."""
        noticed, self._noticed = self._noticed, []
        return noticed

    def take_longer(self) -> bool:
        """True, once, if something waits that a notification could not hold: fetch it."""
        longer, self._longer = self._longer, False
        return longer

    def take_failure(self) -> TransportFailed | None:
        """Why the gateway could not be observed, once."""
        failure, self._failure = self._failure, None
        return failure

    def doubt(self) -> None:
        """The gateway did not answer: do not rely on the observation, register it again in a moment."""
        self._drop_interest()
        self._heard.set()

    async def close(self) -> None:
        """Observe no longer."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._drop_interest()

    async def _keep_alive(self) -> None:
        while True:
            await self._register()
            while await self._hears_something():
                pass

    async def _hears_something(self) -> bool:
        """Wait for a sign of life; False when it is time to register again."""
        self._heard.clear()
        try:
            async with asyncio.timeout(self._refresh):
                await self._heard.wait()
        except TimeoutError:
            return False
        if self._stop_interest is None:  # it ended: give the gateway a moment
            await asyncio.sleep(min(1.0, self._refresh))
            return False
        return True

    async def _register(self) -> None:
        self._drop_interest()
        message = self._forms.collect(self._mailbox).message(self._lane.remote)
        message.opt.observe = 0
        pipe = Pipe(message, self._lane.context.log)
        self._stop_interest = pipe.on_event(self._on_event)
        try:
            interface = await self._lane.context.find_remote_and_interface(message)
            interface.request(pipe)
        except Exception as error:  # noqa: BLE001 - whatever the stack raises, the loop goes on
            self._fail(error)

    def _drop_interest(self) -> None:
        stop, self._stop_interest = self._stop_interest, None
        if stop is not None:
            stop()

    def _on_event(self, event: Any) -> bool:
        """Called by aiocoap for each answer; True to hear more."""
        if event.exception is not None:
            self._fail(event.exception)
        elif event.message is not None:
            self._notice(event.message)
        if event.is_last:
            self._stop_interest = None
        self._heard.set()
        return not event.is_last

    def _notice(self, message: Message) -> None:
        if not message.code.is_successful():
            return  # a refusal; whoever polls gets it with its words
        if message.opt.block2 is not None and message.opt.block2.more:
            self._longer = True
        else:
            try:
                self._noticed = collected_of(self._mailbox, message.payload, message.opt.content_format)
            except SealwayError:
                return
        if self._longer or self._noticed:
            self._news.set()

    def _fail(self, error: Exception) -> None:
        self._stop_interest = None
        self._failure = unreachable(self._uri, error)
        self._news.set()
        self._heard.set()
