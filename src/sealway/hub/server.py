# SPDX-License-Identifier: Apache-2.0
"""The hub as a process: listen, say so, serve, stop in good order."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from sealway.errors import LocalMisuse
from sealway.hub.app import create_app
from sealway.hub.config import HubConfig
from sealway.hub.connection import BoundedConnection
from sealway.hub.service import Hub, token_url
from sealway.hub.store import Store
from sealway.hub.tls import server_context

_GRACE_SECONDS: Final = 5
_KEEP_ALIVE_SECONDS: Final = 75
_MOST_CONNECTIONS: Final = 1024
_BACKLOG: Final = 256
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def run_hub(config: HubConfig, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run a hub in this process until SIGTERM or SIGINT.

    Once it serves, one line goes to standard output, ``hub ready https://HOST:PORT``, the URL into
    ``config.address_file`` if there is one, and ``on_ready`` is called. Requests under way at the end get five seconds;
    long polls end at once. Where its log goes is for the caller to say (the loggers are ``sealway`` and ``uvicorn``).

    Raises:
        LocalMisuse: no usable TLS key, the address is taken, or another hub uses the directory.
        StateLost: the database was written by a newer version.
        Malformed, NotAuthentic, NotTrusted: the root document is no good.
    """
    if config.key_pem is None:
        raise LocalMisuse("a hub needs a TLS certificate and its key", hint="enroll the hub first")
    with closing(Store(config.state_dir)) as store, closing(_listener(config.host, config.port)) as listener:
        app = create_app(config, store, lambda: int(time.time()))
        context = server_context(config.certificate_chain, config.key_pem, config.state_dir)
        url = base_url(config.host, listener.getsockname()[1])
        _accept_audiences(app, config.host, url)
        options = uvicorn.Config(
            app,
            ssl_context_factory=lambda _config, _default: context,
            http=BoundedConnection,
            ws="none",
            loop="uvloop",
            lifespan="on",
            log_config=None,
            access_log=False,  # the metrics count requests; a line for each would tell who deposits for whom, and when
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )

        def ready() -> None:
            _collect_less()
            _announce(url, config.address_file)
            on_ready()

        _Server(options, app.state.hub, ready).run([listener])


def _collect_less() -> None:
    """Let the garbage collector pass over what is there now, which stays, and look at the rest a tenth as often.

    A batch makes as many objects as have it look, and what FastAPI has made is a lot to look through.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10 * gc.get_threshold()[0], *gc.get_threshold()[1:])


def base_url(host: str, port: int) -> str:
    """Return the URL of a hub that listens here; an IPv6 address goes into brackets."""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn's server that says when it is ready, ends long polls at once, and returns after a signal."""

    def __init__(self, config: uvicorn.Config, hub: Hub, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._hub = hub
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.mailboxes.waiters.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # a second signal does not wait
        self.should_exit = True


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise LocalMisuse(f"cannot listen on {host} port {port}: {error.strerror or error}") from None


def _accept_audiences(app: FastAPI, host: str, url: str) -> None:
    # RFC 7523 §3 item 3: the audience is never taken from what a request says of itself.
    audiences: set[str] = app.state.hub.audiences
    audiences.add(token_url(url))
    if host == "localhost" or (_is_address(host) and ip_address(host).is_loopback):
        audiences.add(token_url(f"https://localhost:{url.rpartition(':')[2]}"))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _announce(url: str, address_file: Path | None) -> None:
    if address_file is not None:
        fresh = address_file.with_name(f"{address_file.name}.{os.getpid()}")
        fresh.write_text(f"{url}\n")
        fresh.replace(address_file)
    sys.stdout.write(f"hub ready {url}\n")
    sys.stdout.flush()
