# SPDX-License-Identifier: Apache-2.0
"""``sealway commission``: takes a device into the owner's domain by the code on its label."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from sealway.cli import options
from sealway.cli.files import read_file
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
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="where the device is: coap://HOST:PORT, or unix:SOCKET")
    ] = "coap://127.0.0.1:5683",
    hub: Annotated[str, typer.Option(metavar="URL", help="the hub that the device gets, https://HOST:PORT")] = "",
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="what it is called; else its serial number in lower case")
    ] = None,
    manufacturer: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="root certificate (DER) of a manufacturer to trust this once",
        ),
    ] = None,
    manifest: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="the manufacturer's list, which the device must be on")
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
    """Take a device into the domain: it must know the code, and prove where it comes from.

    Run again within 24 hours, it goes on where it stopped: the device gets the same certificate.
    """
    from sealway.cli.commissioning import Plan, commission, read_networks
    from sealway.cli.owner import member_hop, scopes_of
    from sealway.cli.running import run_to_end
    from sealway.sdk.owner.authority import Enrolling, OwnerHome
    from sealway.wire.address import Name, check_hub

    typed = _code_of(code, qr)
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

    def name_for(serial: str) -> Name:
        return Name.parse(f"sealway://{domain}/device/{label or serial.lower()}")

    plan = Plan(
        code=typed, address=address, enrolling=enrolling, name=name_for, suite=suite, timeout_s=timeout,
        networks=read_networks(network or []),
        roots=[read_file(file, "the manufacturer's root") for file in manufacturer or []],
        manifests=[read_file(file, "the manifest") for file in manifest or []],
    )  # fmt: skip
    joined = run_to_end(lambda: commission(home, options.passphrase(key_file), plan, note))
    say(f"commissioned {joined.name}, serial number {joined.serial}")
    next_command(
        "at the device", f"sealway device serve --state DIR --to {quote(str((plan.enrolling.peers or ('NAME',))[0]))}"
    )


def _code_of(code: str | None, qr: Path | None) -> Code:
    from sealway.cli.commissioning import Code
    from sealway.cli.files import read_input
    from sealway.factory.setupcode import QrText, SetupCode

    if (code is None) == (qr is None):
        raise LocalMisuse("which device is to be taken in", hint="give the code on its label, or --qr FILE")
    if code is not None:
        with options.argument("CODE"):
            return Code(SetupCode.parse(code).password, None)
    text = read_input(qr or Path("-"), "the QR code", limit=256).decode("utf-8", "replace").strip()
    with options.argument("--qr"):
        read = QrText.parse(text)
    return Code(read.code.password, read.serial)
