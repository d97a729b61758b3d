# SPDX-License-Identifier: Apache-2.0
"""Content that is read and written piece by piece: files and pipes, beside the event loop.

Invariant: a regular file appears under its name in one step, whole and durable, or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar

from sealway.errors import LocalMisuse
from sealway.storage.files import sync_directory
from sealway.wire.sealed_file import Read

_LEAST_READ = 1 << 16

T = TypeVar("T")
S = TypeVar("S", "Input", "Output")

Stream: TypeAlias = Path | BinaryIO | FileIO
"""A path, or what is open already: a pipe, a socket's file, bytes in memory."""

Stopped: TypeAlias = threading.Event
"""Set when nobody waits any more for what a thread does."""


class Abandoned(Exception):
    """Nobody waits for this any more."""


async def aside(work: Callable[[Stopped], T]) -> T:
    """Return what ``work`` returns, done in a thread of its own. Cancelled, it is told to stop and not waited for.

    A thread that waits for a pipe keeps neither the loop nor the process from ending.
    """
    loop, stopped = asyncio.get_running_loop(), threading.Event()
    future: asyncio.Future[T] = loop.create_future()

    def settle(settled: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed
            loop.call_soon_threadsafe(lambda: None if future.done() else settled())

    def run() -> None:
        try:
            outcome = work(stopped)
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            caught = error
            settle(lambda: future.set_exception(caught))
        else:
            settle(lambda: future.set_result(outcome))

    threading.Thread(target=run, name="stream", daemon=True).start()
    try:
        return await future
    finally:
        stopped.set()


class Input:
    """Where content comes from.

    Args:
        source: a path, opened here, or what is open already.

    Raises:
        LocalMisuse: it cannot be opened.
    """

    def __init__(self, source: Stream) -> None:
        self._path = source if isinstance(source, Path) else None
        with _told("read", self._path):
            # Unbuffered: a thread that waits in a pipe must not hold a lock that the interpreter wants at its end.
            self._file = source.open("rb", buffering=0) if isinstance(source, Path) else source
        self._ahead = b""

    def read(self, count: int) -> bytes:
        """Return exactly ``count`` bytes, or fewer at the end. Raises LocalMisuse."""
        parts, missing = [self._ahead], count - len(self._ahead)
        with _told("read", self._path):
            while missing > 0 and (part := self._file.read(max(missing, _LEAST_READ))):
                parts.append(part)
                missing -= len(part)
        found = b"".join(parts)
        self._ahead = found[count:]
        return found[:count]

    def discard(self) -> None:
        """Nothing has to be undone."""

    def close(self) -> None:
        """Close it, if it was opened here."""
        if self._path is not None:
            self._file.close()


class Output:
    """Where content goes. What is not a regular file, such as a pipe, gets it piece by piece.

    Args:
        target: a path, or what is open already.
        replace: a regular file that exists is replaced.

    Raises:
        LocalMisuse: it exists, or cannot be made.
    """

    def __init__(self, target: Stream, *, replace: bool = False) -> None:
        self._path = target if isinstance(target, Path) else None
        self._replace = replace
        self._fresh: Path | None = None
        self._final: Path | None = None
        self.written = 0
        with _told("write", self._path):
            self._file = self._opened(target) if isinstance(target, Path) else target

    @property
    def is_whole_or_absent(self) -> bool:
        """Whether nobody sees anything of it before ``commit``."""
        return self._fresh is not None

    def write(self, content: bytes) -> None:
        """Write all of ``content``. Raises LocalMisuse, and BrokenPipeError if nobody reads any more."""
        with _told("write", self._path):
            left = memoryview(content)
            while left:
                left = left[self._file.write(left) :]
        self.written += len(content)

    def commit(self) -> None:
        """Hand over all that was written; a regular file appears, durably. Raises LocalMisuse, BrokenPipeError."""
        with _told("write", self._path):
            self._file.flush()
            if self._fresh is None or self._final is None:
                return
            os.fsync(self._file.fileno())
            self._file.close()
            self._refuse_existing(self._final)
            self._fresh.replace(self._final)
            sync_directory(self._final.parent)

    def discard(self) -> None:
        """Remove what was not handed over."""
        if self._fresh is not None:
            self._fresh.unlink(missing_ok=True)

    def close(self) -> None:
        """Close it, if it was opened here."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _opened(self, path: Path) -> FileIO:
        if path.exists() and not path.is_file():
            return path.open("wb", buffering=0)  # a pipe or a device; a directory is refused by the system
        final = path.resolve()  # behind a link
        self._refuse_existing(final)
        descriptor, name = tempfile.mkstemp(prefix=f".{final.name[:64]}.", suffix=".new", dir=final.parent)
        self._final, self._fresh = final, Path(name)
        return os.fdopen(descriptor, "wb", buffering=0)

    def _refuse_existing(self, final: Path) -> None:
        if not self._replace and final.exists():
            raise LocalMisuse(f"{self._path} exists already", hint="choose another name, or have it replaced")


@asynccontextmanager
async def closing(stream: S) -> AsyncIterator[S]:
    """Give out an input or an output, and clear it away in the end.

    After a cancellation a thread may still use it, and wait in it: it is closed as soon as that is over.
    """
    try:
        yield stream
    except asyncio.CancelledError:
        threading.Thread(target=stream.close, name="stream", daemon=True).start()
        raise
    except BaseException:
        stream.close()
        raise
    else:
        stream.close()
    finally:
        stream.discard()


def pieces(read: Read, size: int, stopped: Stopped) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces of ``size`` bytes and whether each is the last one, which may be shorter. Raises Abandoned."""
    piece = read(size)
    while True:
        if stopped.is_set():
            raise Abandoned
        following = read(size) if len(piece) == size else b""
        yield piece, not following
        if not following:
            return
        piece = following


@contextmanager
def _told(verb: str, path: Path | None) -> Iterator[None]:
    """Turn what the operating system says into LocalMisuse that names the file."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or "input/output error").lower()
        where = path if path is not None else "the input" if verb == "read" else "the output"
        raise LocalMisuse(f"cannot {verb} {where}: {reason}") from None
