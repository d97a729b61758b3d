# SPDX-License-Identifier: Apache-2.0
"""``sealway owner``: the one root of trust of a domain; says who is who and who may do what."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sealway.cli import options
from sealway.cli.files import read_file, write_file
from sealway.cli.messages import next_command, note, say, show_fields, show_json, show_table, warn
from sealway.cli.options import AsJson, KeyFile, State
from sealway.errors import LocalMisuse

if TYPE_CHECKING:
    from sealway.identity.birth import Manufacturer, ProvenManifest
    from sealway.identity.enrolment import NextHop
    from sealway.wire.address import Name

owner_group = options.group("the owner of a domain: says who is who, and who may do what")

_YEARS_10 = 3_653
_MOST_DAYS = 36_500


@owner_group.command("init")
def init(
    state: State,
    domain: Annotated[str, typer.Option(metavar="DOMAIN", help="the domain's name, such as building.example")],
    days: Annotated[int, typer.Option(min=1, max=_MOST_DAYS, help="how long the root document is valid")] = _YEARS_10,
    keystore: Annotated[
        str | None,
        typer.Option("--keystore", metavar="PLACE", help="where the keys are made; as for sealway device init"),
    ] = None,
    key_file: KeyFile = None,
) -> None:
    """Make a domain: its root key, its issuing authority, its root document."""
    from sealway.keystore.places import FILE, check_place
    from sealway.sdk.owner.authority import OwnerHome

    check_place(keystore or FILE)
    passphrase = options.secret_of(keystore or FILE, key_file, fresh=True)
    with options.argument("--domain"):
        root = OwnerHome(state).create(domain, passphrase, days=days, place=keystore)
    say(f"domain       {root.domain}")
    say(f"fingerprint  {root.fingerprint.hex()}")
    request = f"sealway owner enroll --state {quote(str(state))} --request FILE --name sealway://{domain}/ROLE/LABEL"
    next_command("for each member", f"{request} --hub https://HOST:PORT --out FILE")


@owner_group.command("enroll")
def enroll(
    state: State,
    request: Annotated[Path, typer.Option(metavar="FILE", help="the member's request.csr", allow_from_autoenv=False)],
    hub: Annotated[str, typer.Option(metavar="URL", help="the hub, https://HOST:PORT")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="where the enrolment goes", allow_from_autoenv=False)],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="sealway://DOMAIN/ROLE/LABEL", allow_from_autoenv=False)
    ] = None,
    role: Annotated[str | None, typer.Option(help="with --label, instead of --name", allow_from_autoenv=False)] = None,
    label: Annotated[str | None, typer.Option(help="with --role, instead of --name", allow_from_autoenv=False)] = None,
    gateway_name: Annotated[str | None, typer.Option(metavar="NAME", help="the device's gateway")] = None,
    gateway: Annotated[str | None, typer.Option(metavar="URI", help="its address, coap://HOST:PORT")] = None,
    peer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="whom the member talks to", allow_from_autoenv=False)
    ] = None,
    grant_scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE", help="granted to the member at all devices, as valve:write", allow_from_autoenv=False
        ),
    ] = None,
    grant_hours: Annotated[int, typer.Option(min=1, help="how long that grant lives")] = 24,
    dns: Annotated[list[str] | None, typer.Option(help="host name of a hub or gateway; else that of --hub")] = None,
    ip: Annotated[list[str] | None, typer.Option(help="IP address of a hub or gateway")] = None,
    days: Annotated[int, typer.Option(min=1, max=_MOST_DAYS, help="how long the certificate is valid")] = 90,
    key_file: KeyFile = None,
) -> None:
    """Certify a member and hand it all that it needs, in one signed file."""
    from sealway.sdk.owner.authority import Enrolling, OpenOwner, OwnerHome
    from sealway.wire.address import check_hub

    home = OwnerHome(state)
    who = _member_name(home.read_root().domain, name, role, label)
    with options.argument("--hub"):
        check_hub(hub)
    wanted = Enrolling(
        name=who, hub=hub, gateway=member_hop(gateway_name, gateway), days=days, grant_hours=grant_hours,
        peers=tuple(options.name_of(text, "--peer") for text in peer or ()),
        scopes=scopes_of(grant_scope, "--grant-scope"),
        dns=tuple(dns or ()), ip=tuple(options.parsed(ip_address, text, "--ip") for text in ip or ()),
    )  # fmt: skip
    csr = read_file(request, "the request")
    with OpenOwner.open(home, options.passphrase(key_file)) as owner:
        enrolment = owner.enroll(csr, wanted)
        fingerprint = owner.root.fingerprint.hex()
    write_file(out, enrolment, "the enrolment")
    say(f"enrolled {who} for {days} days")
    command = "app" if who.role == "application" else who.role
    init = f"sealway {command} init --state DIR --enrolment {quote(str(out))} --fingerprint {fingerprint}"
    next_command(f"at {who.label}", init)


@owner_group.command("grant")
def grant(
    state: State,
    holder: Annotated[str, typer.Option(metavar="NAME", help="who may", allow_from_autoenv=False)],
    device: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="where; all means every device of the domain", allow_from_autoenv=False),
    ],
    scope: Annotated[list[str], typer.Option(metavar="SCOPE", help="what, as valve:write", allow_from_autoenv=False)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="where the grant goes", allow_from_autoenv=False)],
    hours: Annotated[int, typer.Option(min=1, max=_MOST_DAYS * 24, help="how long")] = 24,
    key_file: KeyFile = None,
) -> None:
    """Allow a member something at devices; the devices enforce it."""
    from sealway.sdk.owner.authority import OpenOwner, OwnerHome

    who = options.name_of(holder, "--holder")
    devices = [text if text == "all" else str(options.name_of(text, "--device", "device")) for text in device]
    scopes = scopes_of(scope, "--scope")
    home = OwnerHome(state)
    home.read_root()
    with OpenOwner.open(home, options.passphrase(key_file)) as owner, options.argument("the grant"):
        encoded = owner.grant(who, devices, scopes, hours)
    write_file(out, encoded, "the grant")
    say(f"granted {', '.join(scopes)} to {who} for {hours} hours")
    next_command(f"at {who.label}", f"sealway app init --state DIR --grant {quote(str(out))}")


@owner_group.command("list")
def list_issued(state: State, as_json: AsJson = False) -> None:
    """Show what was issued, certificates and grants; and which devices were commissioned, and have said so."""
    from sealway.sdk.owner.authority import OwnerHome
    from sealway.sdk.owner.joinings import Joinings

    home = OwnerHome(state)
    root, entries = home.read_root(), list(home.ledger.entries())
    joined = list(Joinings(state / "joining"))
    if as_json:
        public = [{key: value for key, value in entry.items() if key != "chain"} for entry in entries]
        shown = {"domain": root.domain, "fingerprint": root.fingerprint.hex(), "issued": public}
        devices = [{"serial": one.serial, "name": str(one.name), "confirmed": one.confirmed} for one in joined]
        show_json(shown | {"commissioned": devices})
    else:
        show_fields({"domain": root.domain, "fingerprint": root.fingerprint.hex()})
        show_table(("kind", "who", "until", "what"), [_row_of(entry) for entry in entries])
        if joined:
            rows = [(one.serial, str(one.name), "confirmed" if one.confirmed else "unconfirmed") for one in joined]
            show_table(("serial number", "who", "device"), rows)


@owner_group.command("trust-manufacturer")
def trust_manufacturer(
    state: State,
    root: Annotated[Path, typer.Option(metavar="FILE", help="its root certificate", allow_from_autoenv=False)],
    fingerprint: Annotated[
        str | None, typer.Option(metavar="HEX", help="its fingerprint, 64 hex digits", allow_from_autoenv=False)
    ] = None,
) -> None:
    """Take in devices of this manufacturer from now on."""
    from sealway.sdk.owner.authority import OwnerHome
    from sealway.sdk.owner.manufacturers import Manufacturers

    OwnerHome(state).read_root()
    pin = None if fingerprint is None else options.parsed(bytes.fromhex, fingerprint, "--fingerprint")
    trusted = Manufacturers(state).trust(read_file(root, "the root certificate"), fingerprint=pin)
    if pin is None:
        warn(
            f"trusting {trusted.fingerprint.hex()} because this file says so",
            "compare this with the fingerprint that the manufacturer publishes, or give --fingerprint",
        )
    say(f"trusted {trusted.name}")
    next_command("here", f"sealway owner add-manifest FILE --state {quote(str(state))}")


@owner_group.command("add-manifest")
def add_manifest(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="manifests, from the manufacturer")],
    state: State,
) -> None:
    """Keep a manufacturer's signed list of what it made; its devices are then taken in if they are listed."""
    from sealway.sdk.owner.authority import OwnerHome
    from sealway.sdk.owner.manufacturers import Manufacturers

    OwnerHome(state).read_root()
    manufacturers = Manufacturers(state)
    for path in files:
        with options.document(str(path)):
            claims = manufacturers.add_manifest(read_file(path, "the manifest"), int(time.time())).claims
        listed = "1 device" if len(claims.devices) == 1 else f"{len(claims.devices)} devices"
        say(f"manifest {claims.number} of {claims.manufacturer}: {listed}, {claims.model}")


@owner_group.command("manufacturers")
def list_manufacturers(state: State, as_json: AsJson = False) -> None:
    """Show whose devices are taken in, and which of their manifests are here."""
    from sealway.sdk.owner.authority import OwnerHome
    from sealway.sdk.owner.manufacturers import Manufacturers

    OwnerHome(state).read_root()
    manufacturers = Manufacturers(state)
    now = int(time.time())
    about = [_about(one, manufacturers.manifests(one, now), manufacturers.held(one)) for one in manufacturers.trusted()]
    if as_json:
        show_json(about)
        return
    rows = [(one["manufacturer"], one["fingerprint"], _numbers(one["manifests"]), str(one["devices"])) for one in about]
    show_table(("manufacturer", "fingerprint", "manifests", "devices"), rows)
    for one in about:
        if one["not_valid_now"]:
            note(
                f"{one['not_valid_now']} of the manifests of {one['manufacturer']} are not valid now, and list nothing"
            )


def _about(manufacturer: Manufacturer, manifests: list[ProvenManifest], held: int) -> dict[str, Any]:
    lists = {one.claims.number: one.claims for one in manifests}  # there may be several signatures of one
    return {
        "manufacturer": manufacturer.name,
        "fingerprint": manufacturer.fingerprint.hex(),
        "manifests": list(lists),
        "devices": sum(len(claims.devices) for claims in lists.values()),
        "not_valid_now": held - len(manifests),
    }


def _numbers(manifests: list[int]) -> str:
    return " ".join(map(str, manifests)) or "-"


def _row_of(entry: dict[str, Any]) -> tuple[str, str, str, str]:
    until = f"{datetime.fromtimestamp(entry['expires'], UTC):%Y-%m-%d %H:%M}Z"
    if entry["kind"] == "grant":
        return "grant", entry["holder"], until, f"{' '.join(entry['scopes'])} at {' '.join(entry['devices'])}"
    return "certificate", entry["name"], until, entry["x5t"][:16]


def _member_name(domain: str, name: str | None, role: str | None, label: str | None) -> Name:
    if name is not None and role is None and label is None:
        return options.name_of(name, "--name")
    if name is None and role is not None and label is not None:
        return options.name_of(f"sealway://{domain}/{role}/{label}", "--role and --label")
    raise LocalMisuse("who is to be enrolled", hint="give --name, or --role and --label")


def member_hop(name: str | None, address: str | None) -> NextHop | None:
    """Return the gateway that two options name; None where neither was given. Raises LocalMisuse."""
    from sealway.identity.enrolment import NextHop

    if name is None and address is None:
        return None
    if name is None or address is None:
        raise LocalMisuse("a gateway has a name and an address", hint="give both --gateway-name and --gateway")
    with options.argument("--gateway"):
        return NextHop(options.name_of(name, "--gateway-name", "gateway"), address)


def scopes_of(texts: list[str] | None, what: str) -> tuple[str, ...]:
    """Return the scopes that an option names. Raises LocalMisuse."""
    from sealway.wire.grant import Scope

    with options.argument(what):
        return tuple(str(Scope.parse(text)) for text in texts or ())
