# SPDX-License-Identifier: Apache-2.0
"""``sealway factory``: the manufacturer's authority; makes devices, lists them, draws their labels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from sealway.cli import options
from sealway.cli.files import usable, write_file
from sealway.cli.messages import next_command, note, say, show_fields, show_json, show_table
from sealway.cli.options import AsJson, KeyFile, State
from sealway.errors import LocalMisuse

if TYPE_CHECKING:
    from sealway.factory.labelfile import Label

factory_group = options.group("the manufacturer of devices: makes them, with a birth certificate and a setup code")


@factory_group.command("init")
def init(
    state: State,
    manufacturer: Annotated[str, typer.Option(metavar="NAME", help="the manufacturer's name, as on labels")],
    key_file: KeyFile = None,
) -> None:
    """Make a manufacturer's authority: a root that owners trust, and an issuing authority for the factory."""
    from sealway.factory.authority import FactoryHome

    passphrase = options.passphrase(key_file, confirm=True)
    home = FactoryHome(state)
    with options.argument("--manufacturer"):
        made = home.create(manufacturer, passphrase)
    say(f"manufacturer  {made.name}")
    say(f"fingerprint   {made.fingerprint.hex()}")
    note(f"hint: {home.root_keystore_path} is needed for nothing but another issuing authority: keep it offline")
    next_command("here", f"sealway factory make --state {quote(str(state))} --model MODEL --count N --out DIR")
    trust = f"sealway owner trust-manufacturer --state DIR --root {quote(str(home.root_path))}"
    next_command("for owners", f"{trust} --fingerprint {made.fingerprint.hex()}")


@factory_group.command("make")
def make(
    state: State,
    model: Annotated[str, typer.Option(help="what the devices are, as on labels")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the devices go", allow_from_autoenv=False)],
    serial: Annotated[
        list[str] | None, typer.Option(metavar="SERIAL", help="a serial number", allow_from_autoenv=False)
    ] = None,
    count: Annotated[int, typer.Option(min=0, help="how many, instead of --serial", allow_from_autoenv=False)] = 0,
    prefix: Annotated[str, typer.Option(help="with --count: what their serial numbers begin with")] = "SW-",
    mud_url: Annotated[
        str | None, typer.Option(metavar="URL", help="where their network behaviour is described (RFC 8520)")
    ] = None,
    device_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="file of mode 0600 with the devices' passphrase (else a random one for each)"
        ),
    ] = None,
    device_keystore: Annotated[
        str,
        typer.Option(metavar="PLACE", help="where their keys are born: file, or pkcs11:… with the PIN as passphrase"),
    ] = "file",
    key_file: KeyFile = None,
) -> None:
    """Make devices: each with a key of its own, a birth certificate, a setup code; and sign the list of them.

    Stopped in the middle, the same command completes the batch.
    """
    from sealway.factory.authority import FactoryHome, OpenFactory
    from sealway.factory.batch import Order, make_batch
    from sealway.factory.making import Making

    home = FactoryHome(state)
    home.demand()
    with options.argument("the order"):
        passphrase = None if device_key_file is None else options.passphrase(device_key_file)
        making = Making(model, out, mud_url, passphrase, device_keystore)
        order = Order(making, tuple(serial or ()), count, "" if serial else prefix)
    opened = OpenFactory.open(home, options.passphrase(key_file))
    with opened as factory, _progress(len(order.serials) or order.count) as tell:
        manifests = make_batch(factory, order, tell)
    for manifest in manifests:
        listed = f"{len(manifest.claims.devices)} devices"
        say(f"manifest {manifest.claims.number}: {listed}, {out}/manifest-{manifest.claims.number:06}.cose")
    first = manifests[0].claims.devices[0].serial
    next_command(
        "for the printer", f"sealway factory label {quote(str(out / 'labels' / f'{first}.json'))} --out FILE.png"
    )
    next_command("for owners", f"sealway owner add-manifest {quote(str(out))}/manifest-*.cose --state DIR")


@factory_group.command("list")
def list_made(state: State, as_json: AsJson = False) -> None:
    """Show what was made: devices, oldest first."""
    from sealway.factory.authority import FactoryHome
    from sealway.factory.register import Register

    home = FactoryHome(state)
    manufacturer, made = home.manufacturer(), list(Register.open(home.register_path).made.values())
    about = {"manufacturer": manufacturer.name, "fingerprint": manufacturer.fingerprint.hex()}
    if as_json:
        devices = [{"serial": one.serial, "model": one.model, "x5t": one.x5t, "mud_url": one.mud_url} for one in made]
        show_json({**about, "devices": devices})
    else:
        show_fields(about)
        show_table(("serial", "model", "certificate"), [(one.serial, one.model, one.x5t[:16]) for one in made])


@factory_group.command("label")
def label_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="label files, from OUT/labels")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="FILE.png or FILE.svg, or a directory for several", allow_from_autoenv=False),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="in a directory: png or svg", allow_from_autoenv=False)] = "svg",
    font: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a TrueType font for PNG", allow_from_autoenv=False)
    ] = None,
) -> None:
    """Draw labels: into a PNG, an SVG, or the terminal. They show the setup code: keep them as you keep keys."""
    from sealway.factory.drawing import blocks
    from sealway.factory.labelfile import Label

    labels = [Label.read(path) for path in files]
    if out is None:
        for label in labels:
            say("\n".join(blocks(label, colours=sys.stdout.isatty())))
    elif out.suffix in (".png", ".svg"):
        if len(labels) != 1:
            raise LocalMisuse("several labels do not fit one file", hint="give a directory as --out")
        _draw(labels[0], out, font)
    else:
        if form not in ("png", "svg"):
            raise LocalMisuse(f"--format: {form} is neither png nor svg")
        with usable(out, "the directory"):
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
        for label in labels:
            _draw(label, out / f"{label.serial}.{form}", font)


def _draw(label: Label, path: Path, font: Path | None) -> None:
    from sealway.factory.drawing import png, svg

    write_file(path, png(label, font) if path.suffix == ".png" else svg(label), "the label", mode=0o600)
    say(f"label of {label.serial}: {path}")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str, bool], None]]:
    """Give what is to be told of each device; a bar at a terminal, else a line for each tenth of them."""
    if sys.stderr.isatty():
        with _bar(total) as tell:
            yield tell
    else:
        yield _lines(total)


def _lines(total: int) -> Callable[[str, bool], None]:
    done = [0]

    def tell(serial: str, before: bool) -> None:
        done[0] += 1
        if done[0] * 10 // total > (done[0] - 1) * 10 // total:
            note(f"{done[0]} of {total}: {serial}{' (made before)' if before else ''}")

    return tell


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str, bool], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("making devices", total=total)
        yield lambda serial, _: progress.update(task, advance=1, description=serial)
