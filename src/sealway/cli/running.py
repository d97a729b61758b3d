# SPDX-License-Identifier: Apache-2.0
"""Long-running commands: one event loop, SIGTERM and SIGINT as a clean end, the log on standard error."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from sealway.cli.messages import Stopped

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to(file: Path | None, *, verbose: bool) -> None:
    """Write the log of this process to a file, or to standard error. No payload and no traceback ever goes there."""
    handler: logging.Handler = logging.StreamHandler() if file is None else logging.FileHandler(file)
    handler.setFormatter(_NoTraceback(_FORMAT))
    logger = logging.getLogger("sealway")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.propagate = False
    logging.getLogger("aiocoap").setLevel(logging.ERROR)


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


class _NoTraceback(logging.Formatter):
    """A traceback could quote a payload: only the kind of the error is written."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return f"{ei[0].__name__}" if ei and ei[0] is not None else ""
