# SPDX-License-Identifier: Apache-2.0
"""``sealway adversary``: a hostile hop, to be tried against one's own deployment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sealway.cli import options
from sealway.cli.logs import Format, Level
from sealway.cli.membership import EnrolmentFile, Fingerprint, MemberName, take_step
from sealway.cli.messages import say, show_json
from sealway.cli.options import AsJson, KeyFile, LogFile, LogFormat, LogLevel, State, To
from sealway.errors import LocalMisuse

if TYPE_CHECKING:
    from sealway.adversary.scenario import Scenario
    from sealway.home.home import Enrolled

adversary_group = options.group("a hostile hop, to be tried against one's own deployment")

_PLACES: Final = ("http", "coap", "gateway")


@adversary_group.command("init")
def init(
    state: State,
    name: MemberName = None,
    enrolment: EnrolmentFile = None,
    fingerprint: Fingerprint = None,
    key_file: KeyFile = None,
) -> None:
    """Make keys of the adversary's own and a request, then take the owner's answer: the certificate of a gateway."""
    take_step("adversary", state, name, enrolment, fingerprint, key_file)


@adversary_group.command("list")
def list_attacks(as_json: AsJson = False) -> None:
    """Show every attack, what it does, and what sound ends make of it; and the scenarios that come with Sealway."""
    from sealway.adversary.catalogue import ATTACKS
    from sealway.adversary.report import attacks_as_text
    from sealway.adversary.scenario import shipped

    if as_json:
        show_json([{"name": a.name, "expected": str(a.expected), "says": a.says} for a in ATTACKS.values()])
        return
    say(attacks_as_text())
    say(f"\nscenarios: {', '.join(shipped())}")


@adversary_group.command("run")
def run(
    between: Annotated[
        str, typer.Option(metavar="http|coap|gateway", help="before a hub, before a gateway, or in a gateway's place")
    ],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="where clients come; port 0 for any")],
    upstream: Annotated[str, typer.Option(metavar="URL", help="the real next hop: https://… or coap://…")],
    scenario: Annotated[
        str | None, typer.Option(metavar="FILE|NAME", help="what to do; else acts are read from standard input")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="where it writes what it did, as JSON")] = None,
    state: Annotated[Path | None, typer.Option("--state", metavar="DIR", help="its own state directory")] = None,
    seed: Annotated[int | None, typer.Option(help="of its chance; else the scenario's, or 0")] = None,
    log_file: LogFile = None,
    log_level: LogLevel = Level.WARNING,
    log_format: LogFormat = Format.CONSOLE,
    key_file: KeyFile = None,
) -> None:
    """Stand in the way and attack until SIGTERM or SIGINT. Prints a JSON line for each act that begins and ends.

    Without --scenario it takes orders on standard input, one JSON line each: {"begin": ACT}, where ACT is one table of
    a scenario, and {"end": true}. What is not attacked passes. It has keys of its own and none of an endpoint's.
    """
    from sealway.cli.opposing import Stand, oppose
    from sealway.cli.running import log_as_told, run_until_stopped

    if between not in _PLACES:
        raise LocalMisuse(f"--between: {between} is unknown", hint=", ".join(_PLACES))
    acts = None if scenario is None else _scenario(scenario)
    chosen = seed if seed is not None else acts.seed if acts is not None else 0
    enrolled = None if state is None else _enrolled(state, key_file)
    stand = Stand(
        between=between, listen=_address(listen), upstream=_upstream(between, upstream), seed=chosen, scenario=acts,
        report=report, state=state, enrolled=enrolled,
    )  # fmt: skip
    stand.check()
    log_as_told(log_file, log_level, log_format)
    run_until_stopped(lambda: oppose(stand))


@adversary_group.command("stranger")
def stranger(
    state: State,
    to: To,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where starts and bundles go, a file each")],
    starts: Annotated[int, typer.Option(min=1, max=1_024, help="how many starts")] = 48,
    one_time: Annotated[int, typer.Option(min=0, help="how many of them with a one-time key")] = 0,
    log_file: LogFile = None,
    log_level: LogLevel = Level.WARNING,
    log_format: LogFormat = Format.CONSOLE,
    key_file: KeyFile = None,
) -> None:
    """Be a certified device that seals many starts to somebody, for the attack flood-stranger to send.

    Publishes a bundle, and leaves an older and an expired one beside the starts, for substitute-bundle-older and
    substitute-bundle-expired.
    """
    from sealway.cli.home import home_of
    from sealway.cli.running import log_as_told, run_to_end
    from sealway.cli.stranger import Recording, record

    recording = Recording(options.name_of(to, "--to"), out, starts, one_time)
    enrolled = home_of(state, "device").open(options.passphrase(key_file))
    log_as_told(log_file, log_level, log_format)
    run_to_end(lambda: record(enrolled, recording))


def _scenario(text: str) -> Scenario:
    from sealway.adversary.scenario import read_scenario, shipped

    return read_scenario(shipped().get(text, Path(text)))


def _enrolled(state: Path, key_file: Path | None) -> Enrolled:
    from sealway.cli.home import home_of

    return home_of(state, "adversary").open(options.passphrase(key_file))


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not port.isascii() or int(port) > 0xFFFF:
        raise LocalMisuse(f"--listen: {text} is not HOST:PORT", hint="such as 127.0.0.1:8443")
    return host.strip("[]"), int(port)


def _upstream(between: str, text: str) -> str:
    from sealway.transports.coap_lanes import check_uri
    from sealway.wire.address import check_hub

    if between == "coap":
        return check_uri(text)
    with options.argument("--upstream"):
        return check_hub(text)
