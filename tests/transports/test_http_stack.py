# SPDX-License-Identifier: Apache-2.0
"""A connection that comes to nothing is closed, also when whoever connects is cancelled."""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings

import httpx

from sealway.transports.http_stack import http_transport


async def test_a_cancelled_tls_handshake_leaves_no_socket_open() -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        arrived.set()  # the handshake has begun, and is never answered
        while await reader.read(1 << 16):
            pass
        left.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient(transport=http_transport(ssl.create_default_context())) as client:
        asking = asyncio.create_task(client.get(f"https://127.0.0.1:{port}/"))
        async with asyncio.timeout(60):
            await arrived.wait()
            asking.cancel()
            await asyncio.wait({asking})
            await left.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
