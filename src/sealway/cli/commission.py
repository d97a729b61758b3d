# SPDX-License-Identifier: Apache-2.0
"""``sealway commission``: takes a device into the owner's domain by the code on its label."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from sealway.cli import options
from sealway.cli.messages import next_command, note, say
from sealway.cli.options import KeyFile, State
from sealway.errors import LocalMisuse

if TYPE_CHECKING:
    from sealway.cli.commissioning import Code


def commission_command(
    state: State,
    code: Annotated[
        str | None,
        typer.Argument(metavar="CODE", help="the 11 digits on the label, as 471-9382-5564", show_default=False),
    ] = None,
    qr: Annotated[
        Path | None, typer.Option(metavar="FILE", help="what a scanner read off the label; - is standard input")
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="many: a row each, with code or qr, and serial, address, label"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="what became of each row; run again, it goes on from there"),
    ] = None,
    serial: Annotated[
        str | None,
        typer.Option(metavar="SERIAL", help="with CODE: the serial number on the label; no other device is taken then"),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="it takes the name and the place of another device")
    ] = False,
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="where the device is: coap://HOST:PORT, or unix:SOCKET")
    ] = "coap://127.0.0.1:5683",
    hub: Annotated[str, typer.Option(metavar="URL", help="the hub that the device gets, https://HOST:PORT")] = "",
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="what it is called; else its serial number in lower case")
    ] = None,
    gateway_name: Annotated[str | None, typer.Option(metavar="NAME", help="the device's gateway")] = None,
    gateway: Annotated[str | None, typer.Option(metavar="URI", help="its address, coap://HOST:PORT")] = None,
    peer: Annotated[list[str] | None, typer.Option(metavar="NAME", help="whom the device talks to")] = None,
    grant_scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="granted to the device at all devices, as valve:write")
    ] = None,
    grant_hours: Annotated[int, typer.Option(min=1, help="how long that grant lives")] = 24,
    network: Annotated[
        list[str] | None, typer.Option(metavar="KIND=FILE", help="credentials of a network, as wifi=FILE")
    ] = None,
    suite: Annotated[int, typer.Option(min=1, max=3, help="what its keys are made for")] = 1,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="how long the certificate is valid")] = 90,
    timeout: Annotated[float, typer.Option(min=1.0, max=600.0, help="seconds that one answer may take")] = 60.0,
    key_file: KeyFile = None,
) -> None:
    """Take a device into the domain: it must know the code, and prove that a trusted manufacturer made it.

    Run again within 24 hours, it goes on where it stopped: the device gets the same certificate.
    """
    from sealway.cli.commission_batch import agreed_by_person, code_of, commission_rows, read_rows
    from sealway.cli.commissioning import Plan, commission, read_networks
    from sealway.cli.owner import member_hop, scopes_of
    from sealway.cli.running import run_to_end
    from sealway.sdk.owner.authority import Enrolling, OwnerHome
    from sealway.wire.address import Name, check_hub

    with options.argument("--hub"):
        check_hub(hub)
    home = OwnerHome(state)
    domain = home.read_root().domain
    name = options.name_of(f"sealway://{domain}/device/{label or 'unnamed'}", "--label")
    enrolling = Enrolling(
        name=name, hub=hub, gateway=member_hop(gateway_name, gateway), days=days, grant_hours=grant_hours,
        peers=tuple(options.name_of(text, "--peer") for text in peer or ()),
        scopes=scopes_of(grant_scope, "--grant-scope"),
    )  # fmt: skip

    networks = read_networks(network or [])

    def plan_for(typed: Code, where: str, called: str | None) -> Plan:
        def name_for(serial: str) -> Name:
            return Name.parse(f"sealway://{domain}/device/{called or serial.lower()}")

        return Plan(
            code=typed, address=where, enrolling=enrolling, name=name_for, suite=suite, timeout_s=timeout,
            networks=networks, replaces=replace,
        )  # fmt: skip

    if batch is not None:
        if report is None or code is not None or qr is not None or serial is not None:
            raise LocalMisuse("--batch has a code in each row", hint="give --batch FILE and --report FILE")
        commission_rows(home, key_file, read_rows(batch, address), report, plan_for)
        return
    read = code_of(code, qr, serial)
    plan = plan_for(read, address, label)
    if read.serial is None:
        plan = dataclasses.replace(plan, agreed=agreed_by_person)
    joined = run_to_end(lambda: commission(home, options.passphrase(key_file), plan, note))
    say(f"commissioned {joined.name}, serial number {joined.serial}")
    to = quote(str((enrolling.peers or ("NAME",))[0]))
    next_command("at the device", f"sealway device serve --state DIR --to {to}")
