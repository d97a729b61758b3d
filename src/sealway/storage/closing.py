# SPDX-License-Identifier: Apache-2.0
"""What is not interrupted: whoever holds a lock and open files gives them back, however impatient its caller is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
    """Return what ``work`` returns, or raise what it raises. A cancellation in the meantime waits until it has ended,
    and is then raised instead, with what ``work`` raised as its cause."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})  # which leaves the task alone when it is cancelled itself
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()
