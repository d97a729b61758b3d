# SPDX-License-Identifier: Apache-2.0
"""``sealway gateway``: CoAP to HTTPS and back, with a durable queue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sealway.cli import options
from sealway.cli.membership import EnrolmentFile, Fingerprint, MemberName, take_step
from sealway.cli.messages import show_fields, show_json
from sealway.cli.options import AsJson, KeyFile, State

gateway_group = options.group("a gateway: carries between devices and the hub, opens nothing")


@gateway_group.command("init")
def init(
    state: State,
    name: MemberName = None,
    enrolment: EnrolmentFile = None,
    fingerprint: Fingerprint = None,
    key_file: KeyFile = None,
) -> None:
    """Make a gateway's key and request, then take the owner's answer."""
    take_step("gateway", state, name, enrolment, fingerprint, key_file)


@gateway_group.command("run")
def run(
    state: State,
    host: Annotated[str, typer.Option(help="address to listen on; loopback only, until there is DTLS")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="port to listen on, 0 for any")] = 5683,
    envelope_bytes: Annotated[int, typer.Option(min=64, help="largest envelope")] = 65_536,
    per_minute: Annotated[
        int, typer.Option(min=1, help="requests a minute of one source, or for one mailbox")
    ] = 240_000,
    held_for_hours: Annotated[int, typer.Option(min=1, help="how long an envelope waits")] = 24,
    queue_bytes: Annotated[int, typer.Option(min=1_024, help="most bytes that wait for the hub")] = 256 << 20,
    log_file: Annotated[Path | None, typer.Option(metavar="FILE", help="the log; DIR/log by default")] = None,
    key_file: KeyFile = None,
) -> None:
    """Run a gateway until SIGTERM; prints "gateway ready coap://HOST:PORT"."""
    from datetime import timedelta

    from sealway.cli.home import home_of
    from sealway.gateway.gateway import GatewayConfig
    from sealway.gateway.limits import Limits
    from sealway.gateway.serve import run_gateway
    from sealway.home.carriers import hub_carrier

    enrolled = home_of(state, "gateway").open(options.passphrase(key_file))
    limits = Limits(
        envelope_bytes=envelope_bytes, per_minute=per_minute, mailbox_per_minute=per_minute,
        held_for=timedelta(hours=held_for_hours), queue_bytes=queue_bytes,
    )  # fmt: skip
    config = GatewayConfig(
        state_dir=state, host=host, port=port, limits=limits, uplink_uri=enrolled.claims.hub,
        log_file=log_file or state / "log",
    )  # fmt: skip
    run_gateway(config, lambda: hub_carrier(enrolled))


@gateway_group.command("status")
def status(state: State, as_json: AsJson = False) -> None:
    """Show what the gateway holds, whether it runs or not."""
    from sealway.gateway.status import gateway_status

    options.demand_directory(state)
    found = gateway_status(state)
    show_json(found) if as_json else show_fields(found)
