# SPDX-License-Identifier: Apache-2.0
"""``sealway gateway``: CoAP to HTTPS and back, with a durable queue."""

from __future__ import annotations

import logging
from typing import Annotated, Final

import typer

from sealway.cli import options
from sealway.cli.logs import Format, Level
from sealway.cli.membership import add_init
from sealway.cli.messages import show_fields, show_json
from sealway.cli.options import AsJson, KeyFile, LogFormat, LogLevel, State, StateLogFile

log = logging.getLogger(__name__)

gateway_group = options.group("a gateway: carries between devices and the hub, opens nothing")

_MOST_HOURS: Final = 24 * 3_660
_GIBIBYTE: Final = 1 << 30


add_init(gateway_group, "gateway", "a gateway's key")


@gateway_group.command("run")
def run(
    state: State,
    host: Annotated[str, typer.Option(help="address to listen on; loopback only, until there is DTLS")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="port to listen on, 0 for any")] = 5683,
    envelope_bytes: Annotated[int, typer.Option(min=64, max=_GIBIBYTE, help="largest envelope")] = 65_536,
    bearer_bytes: Annotated[
        int,
        typer.Option(min=16, max=1_024, help="payload of one datagram towards devices; more goes compact or in blocks"),
    ] = 1_024,
    directory_bytes: Annotated[
        int, typer.Option(min=1_024, max=_GIBIBYTE, help="largest document, such as a bundle")
    ] = 16_384,
    per_minute: Annotated[int, typer.Option(min=1, help="requests of one source")] = 240_000,
    mailbox_per_minute: Annotated[
        int | None, typer.Option(min=1, help="envelopes for one mailbox; else as --per-minute")
    ] = None,
    held_for_hours: Annotated[int, typer.Option(min=1, max=_MOST_HOURS, help="how long an envelope waits")] = 24,
    queue_bytes: Annotated[int, typer.Option(min=1_024, help="most bytes that wait for the hub")] = 256 << 20,
    inbox_bytes: Annotated[int, typer.Option(min=1_024, help="most bytes that wait for one device")] = 4 << 20,
    consents: Annotated[int, typer.Option(min=1, help="most devices to collect for")] = 10_000,
    observers: Annotated[int, typer.Option(min=0, help="most observations at once")] = 1_024,
    uploads: Annotated[int, typer.Option(min=1, help="most blockwise uploads at once")] = 64,
    upload_seconds: Annotated[
        float, typer.Option(min=0.1, max=3_600, help="after that an upload that stands still is forgotten")
    ] = 30.0,
    log_file: StateLogFile = None,
    log_level: LogLevel = Level.INFO,
    log_format: LogFormat = Format.JSON,
    key_file: KeyFile = None,
) -> None:
    """Run a gateway until SIGTERM; prints "gateway ready coap://HOST:PORT"."""
    from datetime import timedelta

    from sealway.cli.home import home_of
    from sealway.cli.ready import tell_ready
    from sealway.cli.running import log_as_told
    from sealway.gateway.gateway import GatewayConfig
    from sealway.gateway.limits import Limits
    from sealway.gateway.serve import run_gateway
    from sealway.home.carriers import hub_carrier

    enrolled = home_of(state, "gateway").open(options.passphrase(key_file))
    limits = Limits(
        envelope_bytes=envelope_bytes, bearer_bytes=bearer_bytes, directory_bytes=directory_bytes,
        per_minute=per_minute,
        mailbox_per_minute=per_minute if mailbox_per_minute is None else mailbox_per_minute,
        held_for=timedelta(hours=held_for_hours), queue_bytes=queue_bytes, inbox_bytes=inbox_bytes,
        consents=consents, observers=observers, uploads=uploads, upload_seconds=upload_seconds,
    )  # fmt: skip
    config = GatewayConfig(state_dir=state, host=host, port=port, limits=limits, uplink_uri=enrolled.claims.hub)
    log_as_told(log_file or state / "log", log_level, log_format)
    run_gateway(config, lambda: hub_carrier(enrolled), tell_ready)
    log.info("stopped", extra={"event": "stopped"})


@gateway_group.command("status")
def status(state: State, as_json: AsJson = False) -> None:
    """Show what the gateway holds, whether it runs or not."""
    from sealway.gateway.status import gateway_status

    options.demand_directory(state)
    found = gateway_status(state)
    show_json(found) if as_json else show_fields(found)
