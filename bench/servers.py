# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared, each a process of its own: ``python -m bench.servers KIND DIRECTORY``.

hub: a Sealway hub. bare: a FastAPI route on the same uvicorn (httptools, uvloop, the same TLS context) that puts each
envelope into SQLite as a row of its own, with the same pragmas, and answers after the commit; it admits everybody and
checks nothing. gateway: a Sealway gateway on its way to the hub. coap: aiocoap's own server with a resource that
answers POST and keeps nothing.

DIRECTORY is where ``machines.py`` has written what they are started with.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import aiocoap
import cbor2
import uvicorn
from aiocoap.numbers.codes import Code
from aiocoap.resource import Resource, Site
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI, Request, Response

from sealway.crypto.keys import Secret, SoftSigner, private_key
from sealway.gateway.gateway import GatewayConfig
from sealway.gateway.limits import Limits as GatewayLimits
from sealway.gateway.serve import run_gateway
from sealway.hub.config import HubConfig, Limits
from sealway.hub.server import run_hub
from sealway.hub.tls import server_context
from sealway.identity.assertion import make_assertion
from sealway.storage.store import connect
from sealway.transports import coap_api
from sealway.transports.hop_tls import client_context
from sealway.transports.http import HttpCarrier
from sealway.wire.carriage import CertChain

_PLENTY = 1 << 40
LIMITS = Limits(
    envelopes_per_mailbox=_PLENTY, bytes_per_mailbox=_PLENTY, deposits_per_minute=_PLENTY, requests_per_minute=_PLENTY
)
GATEWAY_LIMITS = GatewayLimits(per_minute=_PLENTY, mailbox_per_minute=_PLENTY, queue_bytes=_PLENTY)
_KEEP = "INSERT INTO envelopes (mailbox, envelope) VALUES (?, ?)"


def _hub_config(here: Path, state: Path) -> HubConfig:
    chain = CertChain.decode((here / "hub.chain").read_bytes()).certificates
    key = private_key(Secret((here / "hub.scalar").read_bytes()))
    pem = Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return HubConfig(state, (here / "root").read_bytes(), chain, pem, limits=LIMITS)


def _bare_app(database: Path) -> FastAPI:
    app, db = FastAPI(), connect(database)
    db.execute("CREATE TABLE envelopes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, mailbox TEXT, envelope BLOB)")

    @app.post("/v1/mailboxes/{mailbox}/envelopes")
    async def one(mailbox: str, request: Request) -> Response:
        db.execute(_KEEP, (mailbox, await request.body()))  # a transaction of its own
        return Response(status_code=201)

    @app.post("/v1/deposits")
    async def many(request: Request) -> Response:
        items = cbor2.loads(await request.body())
        db.execute("BEGIN IMMEDIATE")
        db.executemany(_KEEP, items)
        db.execute("COMMIT")
        return Response(status_code=200)

    return app


def _run_bare(config: HubConfig) -> None:
    if config.key_pem is None:
        raise ValueError("a key is needed")
    context = server_context(config.certificate_chain, config.key_pem, config.state_dir)
    options = uvicorn.Config(
        _bare_app(config.state_dir / "bare.sqlite"), ssl_context_factory=lambda _config, _default: context,
        http="httptools", ws="none", loop="uvloop", log_config=None, access_log=False, timeout_keep_alive=75,
    )  # fmt: skip
    with closing(options.bind_socket()) as listener:
        print(f"ready https://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(options).run([listener])


def _run_gateway(here: Path, state: Path) -> None:
    url, name = (here / "hub.url").read_text(), (here / "gateway.name").read_text()
    signer = SoftSigner(Secret((here / "gateway.scalar").read_bytes()))
    chain = CertChain.decode((here / "gateway.chain").read_bytes()).certificates
    context = client_context([(here / "ca").read_bytes()])

    def assertion(audience: str) -> str:
        now = int(time.time())
        return make_assertion(name=name, chain=chain, signer=signer, audience=audience, now=now, random=os.urandom)

    config = GatewayConfig(state, port=0, limits=GATEWAY_LIMITS)
    run_gateway(config, lambda: HttpCarrier(url, ssl_context=context, name=name, make_assertion=assertion))


class _Taken(Resource):  # type: ignore[misc]  # aiocoap is untyped
    """Answers POST with 2.04."""

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(code=Code.CHANGED)


async def _serve_coap(mailbox: str) -> None:
    site = Site()
    site.add_resource([coap_api.MAILBOX, mailbox], _Taken())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])
    print(f"ready coap://127.0.0.1:{port}", flush=True)
    await asyncio.get_running_loop().create_future()


def _main(kind: str, here: Path) -> None:
    state = here / kind
    state.mkdir(exist_ok=True)
    if kind == "hub":
        run_hub(_hub_config(here, state))
    elif kind == "bare":
        _run_bare(_hub_config(here, state))
    elif kind == "gateway":
        _run_gateway(here, state)
    else:
        asyncio.run(_serve_coap((here / "mailbox").read_text()))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
