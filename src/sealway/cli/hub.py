# SPDX-License-Identifier: Apache-2.0
"""``sealway hub``: the directory and the mailboxes."""

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

hub_group = options.group("the hub: keeps the directory and the mailboxes, opens nothing")

_HTTPS: Final = 443
_HOUR_S: Final = 3_600
_MOST_HOURS: Final = 24 * 3_660
_GIBIBYTE: Final = 1 << 30


add_init(hub_group, "hub", "a hub's key")


@hub_group.command("run")
def run(
    state: State,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="port to listen on, 0 for any; else that of the enrolment")
    ] = None,
    public_url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="also reached as https://HOST:PORT, through a proxy that ends TLS; repeatable"
        ),
    ] = None,
    envelope_bytes: Annotated[int, typer.Option(min=64, max=_GIBIBYTE, help="largest envelope")] = 262_144,
    envelopes_per_mailbox: Annotated[int, typer.Option(min=1, help="most envelopes in a mailbox")] = 100_000,
    bytes_per_mailbox: Annotated[int, typer.Option(min=1_024, help="most bytes in a mailbox")] = 256 << 20,
    held_for_hours: Annotated[int, typer.Option(min=1, max=_MOST_HOURS, help="how long an envelope waits")] = 7 * 24,
    body_bytes: Annotated[int, typer.Option(min=1_024, max=_GIBIBYTE, help="largest request with many envelopes")] = 4
    << 20,
    document_bytes: Annotated[
        int, typer.Option(min=1_024, max=_GIBIBYTE, help="largest request with a document, such as a bundle")
    ] = 65_536,
    body_seconds: Annotated[
        float, typer.Option(min=0.1, max=3_600, help="how long the body of a request may take")
    ] = 30.0,
    collect_seconds: Annotated[float, typer.Option(min=0, max=60, help="longest wait for something to collect")] = 60.0,
    collects_per_caller: Annotated[int, typer.Option(min=1, help="most such waits of one caller at once")] = 64,
    mailboxes_per_collect: Annotated[int, typer.Option(min=1, max=1_000, help="most mailboxes in one of them")] = 1_000,
    bundles_per_name: Annotated[int, typer.Option(min=1, help="most bundles kept for one endpoint")] = 256,
    deposits_per_minute: Annotated[int, typer.Option(min=1, help="envelopes of one caller")] = 120_000,
    claims_per_minute: Annotated[
        int, typer.Option(min=1, help="one-time keys that one caller takes of one endpoint")
    ] = 120,
    publications_per_minute: Annotated[int, typer.Option(min=1, help="publications of one caller")] = 600,
    requests_per_minute: Annotated[int, typer.Option(min=1, help="requests of one caller")] = 60_000,
    tokens_per_minute: Annotated[int, typer.Option(min=1, help="tokens for one caller")] = 120,
    assertions_per_minute: Annotated[
        int, typer.Option(min=1, help="requests for tokens of one network address")
    ] = 6_000,
    log_file: StateLogFile = None,
    log_level: LogLevel = Level.INFO,
    log_format: LogFormat = Format.JSON,
    key_file: KeyFile = None,
) -> None:
    """Run a hub until SIGTERM; prints "hub ready https://HOST:PORT"."""
    from urllib.parse import urlsplit

    from sealway.cli.home import home_of
    from sealway.cli.ready import tell_ready
    from sealway.cli.running import log_as_told
    from sealway.crypto.secret import Secret
    from sealway.home.home import HOP_KEY
    from sealway.hub.config import HubConfig, Limits
    from sealway.hub.server import run_hub
    from sealway.wire.address import check_hub

    enrolled = home_of(state, "hub").open(options.passphrase(key_file))
    url = enrolled.claims.hub
    with options.argument("--public-url"):
        further = tuple(check_hub(text) for text in public_url or ())
    config = HubConfig(
        state_dir=state, root_document=enrolled.root.encoded, certificate_chain=enrolled.credential.chain,
        key_pem=Secret(enrolled.keystore.hop_key_pem(HOP_KEY)), host=host,
        port=(urlsplit(url).port or _HTTPS) if port is None else port, public_urls=(url, *further),
        limits=Limits(
            envelope_bytes=envelope_bytes, envelopes_per_mailbox=envelopes_per_mailbox,
            bytes_per_mailbox=bytes_per_mailbox, held_for=held_for_hours * _HOUR_S,
            body_bytes=body_bytes, document_bytes=document_bytes, body_seconds=body_seconds,
            collect_seconds=collect_seconds, collects_per_caller=collects_per_caller,
            mailboxes_per_collect=mailboxes_per_collect, bundles_per_name=bundles_per_name,
            deposits_per_minute=deposits_per_minute, claims_per_minute=claims_per_minute,
            publications_per_minute=publications_per_minute, requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute, assertions_per_minute=assertions_per_minute,
        ),
    )  # fmt: skip
    log_as_told(log_file or state / "log", log_level, log_format)
    run_hub(config, tell_ready)
    log.info("stopped", extra={"event": "stopped"})


@hub_group.command("status")
def status(state: State, as_json: AsJson = False) -> None:
    """Show what the hub holds, whether it runs or not."""
    from sealway.hub.status import hub_status

    options.demand_directory(state)
    found = hub_status(state)
    show_json(found) if as_json else show_fields(found)
