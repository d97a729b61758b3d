# SPDX-License-Identifier: Apache-2.0
"""Long-running commands: one event loop, SIGTERM and SIGINT as a clean end, the log where it is wanted."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from sealway.cli.logs import Format, Level, LogSettings, begin
from sealway.cli.messages import Stopped

log = logging.getLogger(__name__)

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def log_as_told(file: Path | None, level: Level, form: Format, *, verbose: bool = False) -> None:
    """Begin the log of this process; with ``verbose`` it says at least what is of interest. Raises LocalMisuse."""
    from importlib.metadata import version

    levels = list(Level)
    more = min(level, Level.INFO, key=levels.index) if verbose else level
    begin(LogSettings(file, more, form))
    log.info("started", extra={"event": "started", "version": version("sealway"), "pid": os.getpid()})


def run_to_end(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``work`` in an event loop and return its result. Raises what it raises, and Stopped after a signal."""
    return asyncio.run(_with_signals(work))


def run_until_stopped(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``work`` in an event loop until it ends or a signal comes; a signal is a clean end. Raises what it raises."""
    try:
        run_to_end(work)
    except Stopped:
        return


async def _with_signals(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work())
    received: list[int] = []

    def stop(number: int) -> None:
        log.info("stopping", extra={"event": "stopping", "signal": number})
        if not received:  # once: what closes now must not be cancelled again
            received.append(number)
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise Stopped(received[0]) from None
        raise
    except BaseExceptionGroup as group:
        raise _first(group) from None
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a group of tasks; the others were only cancelled for it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
