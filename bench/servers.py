# SPDX-License-Identifier: Apache-2.0
"""The two servers that ``deposits.py`` compares, each a process of its own: a hub, and the least that keeps envelopes.

The bare one is a FastAPI route on the same uvicorn (httptools, uvloop, the same TLS context) that puts what comes into
SQLite, with the same pragmas, and answers after the commit. It admits everybody and checks nothing.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import cbor2
import uvicorn
from fastapi import FastAPI, Request, Response

from sealway.crypto.keys import Secret
from sealway.hub.config import HubConfig, Limits
from sealway.hub.server import run_hub
from sealway.hub.tls import server_context
from sealway.storage.store import connect
from sealway.wire.carriage import CertChain

_PLENTY = 1 << 40
LIMITS = Limits(
    envelopes_per_mailbox=_PLENTY, bytes_per_mailbox=_PLENTY, deposits_per_minute=_PLENTY, requests_per_minute=_PLENTY
)
_KEEP = "INSERT INTO envelopes (mailbox, envelope) VALUES (?, ?)"


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


def _run_bare(config: HubConfig, key: Secret) -> None:
    context = server_context(config.certificate_chain, key, config.state_dir)
    options = uvicorn.Config(
        _bare_app(config.state_dir / "bare.sqlite"), ssl_context_factory=lambda _config, _default: context,
        http="httptools", ws="none", loop="uvloop", log_config=None, access_log=False,
    )  # fmt: skip
    with closing(options.bind_socket()) as listener:
        print(f"ready https://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(options).run([listener])


def _main(kind: str, here: Path) -> None:
    state, key = here / kind, Secret((here / "key").read_bytes())
    state.mkdir()
    config = HubConfig(
        state, (here / "root").read_bytes(), CertChain.decode((here / "chain").read_bytes()).certificates, key,
        limits=LIMITS,
    )  # fmt: skip
    if kind == "hub":
        run_hub(config)
    else:
        _run_bare(config, key)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
