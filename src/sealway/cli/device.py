# SPDX-License-Identifier: Apache-2.0
"""``sealway device``: sends readings, executes commands that the owner has granted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sealway.cli import options
from sealway.cli.logs import Format, Level
from sealway.cli.membership import EnrolmentFile, Fingerprint, KeystorePlace, MemberName, SuiteNumber, take_step
from sealway.cli.messages import say, show_fields, show_json
from sealway.cli.options import (
    AsJson,
    Compact,
    Evidence,
    KeyFile,
    LogFile,
    LogFormat,
    LogLevel,
    PostQuantumPart,
    State,
    To,
    Verbose,
)
from sealway.cli.timing import AnewAfter, CommandAge, MaxSilence, ReceiptAfter, ReofferAfter, ReportAfter, Timing
from sealway.errors import LocalMisuse
from sealway.protocol.policy import PostQuantum

if TYPE_CHECKING:
    from sealway.cli.rows import Source

device_group = options.group("a device: sends readings, executes granted commands")


@device_group.command("init")
def init(
    state: State,
    name: MemberName = None,
    suite: SuiteNumber = None,
    keystore: KeystorePlace = None,
    enrolment: EnrolmentFile = None,
    fingerprint: Fingerprint = None,
    key_file: KeyFile = None,
) -> None:
    """Make a device's keys and request, then take the owner's answer."""
    take_step("device", state, name, enrolment, fingerprint, key_file, suite, keystore)


@device_group.command("send")
def send(
    state: State,
    to: To,
    path: Annotated[str, typer.Option(help="what it is about")] = "readings",
    data: Annotated[str | None, typer.Option(metavar="TEXT", help="the payload", allow_from_autoenv=False)] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the payload; - is standard input", allow_from_autoenv=False)
    ] = None,
    wait_ack: Annotated[bool, typer.Option(help="wait until the other end has acknowledged all that was sent")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="seconds")] = 30.0,
    compact: Compact = False,
    post_quantum: PostQuantumPart = PostQuantum.PREFERRED,
    log_file: LogFile = None,
    log_level: LogLevel = Level.WARNING,
    log_format: LogFormat = Format.CONSOLE,
    verbose: Verbose = False,
    key_file: KeyFile = None,
) -> None:
    """Seal one message and wait until a hop has taken it."""
    from sealway.cli.files import read_input
    from sealway.cli.home import home_of
    from sealway.cli.running import log_as_told, run_to_end
    from sealway.cli.sending import Single, send_one

    peer = options.name_of(to, "--to", "application")
    if (data is None) == (file is None):
        raise LocalMisuse("one payload is to be sent", hint="give --data TEXT or --file FILE")
    payload = data.encode() if data is not None else read_input(file or Path("-"), "the payload")
    single = Single(
        peer,
        options.path_of(path),
        payload,
        wait_ack=wait_ack,
        timeout_s=timeout,
        compact=compact,
        timing=Timing(post_quantum=post_quantum),
    )
    enrolled = home_of(state, "device").open(options.passphrase(key_file))
    log_as_told(log_file, log_level, log_format, verbose=verbose)
    run_to_end(lambda: send_one(state, enrolled, single))
    say("acknowledged by the other end" if wait_ack else "sealed, and taken by the next hop")


@device_group.command("serve")
def serve(
    context: typer.Context,
    state: State,
    to: To,
    path: Annotated[str, typer.Option(help="what the readings are about")] = "readings",
    interval: Annotated[float | None, typer.Option(min=0.0, max=86_400, help="seconds between readings")] = None,
    rate: Annotated[float | None, typer.Option(min=0.0001, max=100_000, help="readings a second")] = None,
    count: Annotated[int | None, typer.Option(min=0, help="stop sending after so many, all restarts together")] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            envvar="SEALWAY_DEVICE_SERVE_INPUT",
            metavar="FILE",
            help="send rows of a CSV or JSONL file; - is standard input",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", envvar="SEALWAY_DEVICE_SERVE_FORMAT", metavar="csv|jsonl", help="how the input is written"
        ),
    ] = None,
    deal: Annotated[str, typer.Option(metavar="K/N", help="of the input, take rows K, K+N, …")] = "0/1",
    no_sensor: Annotated[bool, typer.Option("--no-sensor", help="send nothing, only execute commands")] = False,
    topic: Annotated[str | None, typer.Option(help="show this to carriers, as what the readings are about")] = None,
    tag: Annotated[str | None, typer.Option(help="show this to carriers")] = None,
    expire_after: Annotated[
        float | None, typer.Option(min=1, max=86_400 * 365, help="seconds; tell carriers that a reading is void then")
    ] = None,
    reoffer_after: ReofferAfter = None,
    anew_after: AnewAfter = None,
    receipt_after: ReceiptAfter = None,
    report_after: ReportAfter = None,
    max_silence: MaxSilence = None,
    command_age: CommandAge = None,
    compact: Compact = False,
    post_quantum: PostQuantumPart = PostQuantum.PREFERRED,
    evidence: Evidence = False,
    log_file: LogFile = None,
    log_level: LogLevel = Level.WARNING,
    log_format: LogFormat = Format.CONSOLE,
    verbose: Verbose = False,
    key_file: KeyFile = None,
) -> None:
    """Send readings and execute commands until SIGTERM. Live readings of this computer, or the rows of --input.

    What was sent is remembered in the state directory: after a restart it goes on where it was. Prints a JSON line for
    each notable event.
    """
    from sealway.cli.home import home_of
    from sealway.cli.rows import Deal
    from sealway.cli.running import log_as_told, run_until_stopped
    from sealway.cli.serving import Disclosed, Plan, serve_forever

    gone = options.overruled(context, "interval", "rate") | options.overruled(context, "input_file", "no_sensor")
    interval, rate = (None if "interval" in gone else interval), (None if "rate" in gone else rate)
    input_file, no_sensor = (None if "input_file" in gone else input_file), no_sensor and "no_sensor" not in gone
    if interval is not None and rate is not None:
        raise LocalMisuse("--interval and --rate say the same", hint="give one of them")
    plan = Plan(
        to=options.name_of(to, "--to", "application"), path=options.path_of(path),
        interval_s=1 / rate if rate is not None else interval, count=count, source=_source(input_file, form, no_sensor),
        deal=options.parsed(Deal.parse, deal, "--deal"), sensor=not no_sensor, verbose=verbose,
        evidence=evidence or verbose, disclosed=Disclosed(topic, tag, expire_after), compact=compact,
        timing=Timing(reoffer_after, receipt_after, report_after, max_silence, command_age, anew_after, post_quantum),
    )  # fmt: skip
    enrolled = home_of(state, "device").open(options.passphrase(key_file))
    log_as_told(log_file, log_level, log_format, verbose=verbose)
    run_until_stopped(lambda: serve_forever(state, enrolled, plan))


def _source(path: Path | None, form: str | None, no_sensor: bool) -> Source | None:
    from sealway.cli.rows import Source

    if path is None:
        return None
    if no_sensor:
        raise LocalMisuse("--input sends, and --no-sensor does not", hint="give one of them")
    match form:
        case None | "csv" | "jsonl":
            source = Source(path, form)
        case _:
            raise LocalMisuse(f"--format: {form} is unknown", hint="csv or jsonl")
    if source.is_file:
        source.check()  # nothing is sent from a file that cannot be sent as a whole
    return source


@device_group.command("status")
def status(state: State, as_json: AsJson = False) -> None:
    """Show whose the device is, and what it has durably, whether it runs or not."""
    from sealway.cli.status import device_status

    options.demand_directory(state)
    found = {"ownership": _ownership(state)} | device_status(state)
    show_json(found) if as_json else show_fields(found)


@device_group.command("pair")
def pair(
    state: State,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="where a commissioner finds it; port 0: a free one")
    ] = "127.0.0.1:5683",
    stream: Annotated[
        Path | None, typer.Option(metavar="SOCKET", help="a stream of bytes instead, as of a serial line or BLE")
    ] = None,
    button: Annotated[
        bool,
        typer.Option(
            "--button", help="open a new pairing window, as pressing its button does", allow_from_autoenv=False
        ),
    ] = False,
    log_file: LogFile = None,
    log_level: LogLevel = Level.WARNING,
    log_format: LogFormat = Format.CONSOLE,
    key_file: KeyFile = None,
) -> None:
    """Wait for an owner who has the setup code, for 15 minutes from power-on; prints a JSON line for each change."""
    from sealway.cli.home import home_of
    from sealway.cli.pairing import Waiting, wait_for_owner
    from sealway.cli.running import log_as_told, run_to_end
    from sealway.gateway.facade import CoapListener

    waiting = Waiting(CoapListener(listen) if stream is None else None, stream, button)
    passphrase = options.passphrase(key_file)
    log_as_told(log_file, log_level, log_format)
    run_to_end(lambda: wait_for_owner(home_of(state, "device"), passphrase, waiting))


@device_group.command("reset")
def reset(
    state: State,
    soft: Annotated[
        bool, typer.Option("--soft", help="keep the owner, who has to enroll it anew", allow_from_autoenv=False)
    ] = False,
    key_file: KeyFile = None,
) -> None:
    """Destroy all that an owner put into the device, as holding its button does; then it can be paired again."""
    import time

    from sealway.cli.home import home_of
    from sealway.cli.pairing import pairing_of

    with pairing_of(home_of(state, "device"), options.passphrase(key_file)) as pairing:
        now = int(time.time())
        pairing.stop(now) if soft else pairing.reset(now)


def _ownership(state: Path) -> str:
    import time

    from sealway.cli.home import home_of

    return str(home_of(state, "device").ownership(int(time.time())))
