# SPDX-License-Identifier: Apache-2.0
"""Question and answer over a stream of bytes, as a serial line or BLE would give: each behind its length in 4 bytes.

Invariant: what a peer announces is compared with the limit before anything is read or kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from sealway.errors import TransportFailed

_LENGTH_BYTES: Final = 4
_IDLE_S: Final = 60.0

AnswerTo: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Returns the answer to a message."""


class FramedClient:
    """The asking end of a stream.

    Args:
        path: the socket that the other end listens on.
        most: bytes that one answer may have.
        timeout: seconds that one answer may take.
    """

    def __init__(self, path: Path, *, most: int, timeout: float) -> None:
        self._path, self._most, self._timeout = path, most, timeout
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, message: bytes) -> bytes:
        """Return the answer. Raises TransportFailed."""
        try:
            async with asyncio.timeout(self._timeout):
                if self._streams is None:
                    self._streams = await asyncio.open_unix_connection(self._path)
                reader, writer = self._streams
                await _write(writer, message)
                return await _read(reader, self._most)
        except (OSError, EOFError, TimeoutError) as error:
            raise TransportFailed(f"no answer on {self._path}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Close the stream."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with suppress(OSError):
                await streams[1].wait_closed()


@asynccontextmanager
async def serve_frames(path: Path, answer: AnswerTo, *, most: int) -> AsyncIterator[None]:
    """Answer on a socket at ``path``, one stream after the other. Raises TransportFailed if it cannot be used."""
    turn = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, TimeoutError, TransportFailed):
            async with turn:
                while True:
                    async with asyncio.timeout(_IDLE_S):
                        message = await _read(reader, most)
                    await _write(writer, await answer(message))
        writer.close()

    try:
        _remove(path)
        server = await asyncio.start_unix_server(serve, path)
    except OSError as error:
        raise TransportFailed(f"cannot listen on {path}: {error.strerror}") from error
    try:
        yield
    finally:
        server.close()
        _remove(path)


async def _read(reader: asyncio.StreamReader, most: int) -> bytes:
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
    if length > most:
        raise TransportFailed(f"a message of {length} bytes, at most {most} are allowed")
    return await reader.readexactly(length)


async def _write(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(len(message).to_bytes(_LENGTH_BYTES) + message)
    await writer.drain()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
