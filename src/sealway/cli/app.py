# SPDX-License-Identifier: Apache-2.0
"""``sealway app``: opens what devices send, and commands them with what the owner has granted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sealway.cli import options
from sealway.cli.files import read_file
from sealway.cli.logs import Format, Level
from sealway.cli.membership import (
    EnrolmentFile,
    Fingerprint,
    KeystorePlace,
    MemberName,
    SuiteNumber,
    add_grants,
    take_step,
)
from sealway.cli.messages import say, show_fields, show_json
from sealway.cli.options import (
    AsJson,
    Evidence,
    KeyFile,
    LogFile,
    LogFormat,
    LogLevel,
    PostQuantumPart,
    SessionsInMemory,
    State,
    To,
    Verbose,
)
from sealway.cli.timing import AnewAfter, MaxSilence, ReceiptAfter, ReofferAfter, ReportAfter, Timing
from sealway.protocol.policy import PostQuantum

app_group = options.group("an application: opens what devices send, commands them")


@app_group.command("init")
def init(
    state: State,
    name: MemberName = None,
    suite: SuiteNumber = None,
    keystore: KeystorePlace = None,
    enrolment: EnrolmentFile = None,
    fingerprint: Fingerprint = None,
    grant: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="also, or later: a grant of the owner", allow_from_autoenv=False),
    ] = None,
    key_file: KeyFile = None,
) -> None:
    """Make an application's keys and request, then take the owner's answer; take grants."""
    if name is not None or enrolment is not None or not grant:
        take_step("app", state, name, enrolment, fingerprint, key_file, suite, keystore)
    add_grants("app", state, grant or [])


@app_group.command("watch")
def watch(
    state: State,
    received: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="where readings go, one JSON line each")],
    requests: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="commands to send, one JSON line each; followed as it grows; - is standard input"
        ),
    ] = None,
    answers: Annotated[Path | None, typer.Option(metavar="FILE", help="where the answers go as well")] = None,
    reoffer_after: ReofferAfter = None,
    anew_after: AnewAfter = None,
    receipt_after: ReceiptAfter = None,
    report_after: ReportAfter = None,
    max_silence: MaxSilence = None,
    post_quantum: PostQuantumPart = PostQuantum.PREFERRED,
    sessions_in_memory: SessionsInMemory = None,
    evidence: Evidence = False,
    log_file: LogFile = None,
    log_level: LogLevel = Level.WARNING,
    log_format: LogFormat = Format.CONSOLE,
    verbose: Verbose = False,
    key_file: KeyFile = None,
) -> None:
    """Write down what devices send, and send commands, until SIGTERM. Prints a JSON line for each notable event."""
    from sealway.cli.home import home_of
    from sealway.cli.running import log_as_told, run_until_stopped
    from sealway.cli.watching import WatchPlan, watch_forever

    plan = WatchPlan(
        received=received, requests=requests, answers=answers, verbose=verbose, evidence=evidence or verbose,
        timing=Timing(reoffer_after, receipt_after, report_after, max_silence, None, anew_after, post_quantum),
        sessions_in_memory=sessions_in_memory,
    )  # fmt: skip
    enrolled = home_of(state, "app").open(options.passphrase(key_file))
    log_as_told(log_file, log_level, log_format, verbose=verbose)
    run_until_stopped(lambda: watch_forever(state, enrolled, plan))


@app_group.command("request")
def request(
    state: State,
    to: To,
    path: Annotated[str, typer.Option(help="what is commanded, such as interval", allow_from_autoenv=False)],
    payload: Annotated[str, typer.Option(metavar="TEXT", help="what to do", allow_from_autoenv=False)] = "",
    timeout: Annotated[
        float, typer.Option(min=0.1, max=604_800, help="seconds; after this the outcome is unknown")
    ] = 30.0,
    request_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="HEX",
            help="8 bytes; with the same id it is executed at most once",
            allow_from_autoenv=False,
        ),
    ] = None,
    grant: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="a grant to show with it", allow_from_autoenv=False)
    ] = None,
    post_quantum: PostQuantumPart = PostQuantum.PREFERRED,
    sessions_in_memory: SessionsInMemory = None,
    log_file: LogFile = None,
    log_level: LogLevel = Level.WARNING,
    log_format: LogFormat = Format.CONSOLE,
    verbose: Verbose = False,
    key_file: KeyFile = None,
) -> None:
    """Send one command and print the device's answer. Exit codes: 3 refused, 4 outcome unknown."""
    import os
    from datetime import timedelta

    from sealway.cli.home import home_of
    from sealway.cli.questions import Question
    from sealway.cli.running import log_as_told, run_to_end
    from sealway.cli.watching import ask_one

    chosen = os.urandom(8) if request_id is None else options.parsed(_eight_bytes, request_id, "--id")
    target, segments = options.name_of(to, "--to", "device"), options.path_of(path)
    question = Question(chosen, target, segments, payload.encode(), timedelta(seconds=timeout))
    shown = tuple(read_file(file, "the grant") for file in grant or ())
    enrolled = home_of(state, "app").open(options.passphrase(key_file), shown)
    log_as_told(log_file, log_level, log_format, verbose=verbose)
    timing = Timing(post_quantum=post_quantum)
    answer = run_to_end(lambda: ask_one(state, enrolled, question, timing, sessions_in_memory))
    say(answer.payload.decode("utf-8", "backslashreplace"))


@app_group.command("status")
def status(state: State, as_json: AsJson = False) -> None:
    """Show what the application has durably, whether it runs or not."""
    from sealway.cli.status import app_status

    options.demand_directory(state)
    found = app_status(state)
    show_json(found) if as_json else show_fields(found)


def _eight_bytes(text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != 8:
        raise ValueError(text)
    return found
