# SPDX-License-Identifier: Apache-2.0
"""Becoming a member, in two phases that all roles share: ask the owner, take its answer."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, TypeAlias

import typer

from sealway.cli import options
from sealway.cli.files import read_file
from sealway.cli.messages import next_command, say
from sealway.cli.options import KeyFile, State
from sealway.errors import LocalMisuse

MemberName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="first: sealway://DOMAIN/ROLE/LABEL, as it shall be certified",
        allow_from_autoenv=False,
    ),
]
EnrolmentFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--enrolment", metavar="FILE", help="then: what the owner answered", allow_from_autoenv=False),
]
Fingerprint: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--fingerprint", metavar="HEX", help="of the root document, as the owner shows it; else it is trusted"
    ),
]
SuiteNumber: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--suite",
        metavar="1|2|3",
        help="with --name: what its keys are made for; 1 unless said: 2 has longer tags, 3 is X25519 and ChaCha20",
        allow_from_autoenv=False,
    ),
]
KeystorePlace: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--keystore",
        metavar="PLACE",
        help="with --name: where its keys are made: file, pkcs11:token=NAME?module-path=FILE.so, or"
        " tpm:device:/dev/tpmrm0; a token's PIN is taken as a passphrase is",
    ),
]


def add_init(group: typer.Typer, command: str, keys: str) -> None:
    """Give a group of hops its ``init``: the same two phases for every role.

    Args:
        command: the group's name.
        keys: what is made in the first phase, as "a gateway's key".
    """

    def init(
        state: State,
        name: MemberName = None,
        enrolment: EnrolmentFile = None,
        fingerprint: Fingerprint = None,
        key_file: KeyFile = None,
    ) -> None:
        take_step(command, state, name, enrolment, fingerprint, key_file)

    group.command("init", help=f"Make {keys} and request, then take the owner's answer.")(init)


def take_step(
    command: str, state: Path, name: str | None, enrolment: Path | None, fingerprint: str | None, key_file: Path | None,
    suite: int | None = None, keystore: str | None = None,
) -> None:  # fmt: skip
    """Do the phase that the arguments are for. Raises LocalMisuse if they are for neither or both, else as ``Home``."""
    if (name is None) == (enrolment is None):
        hint = "first --name NAME, then --enrolment FILE with the owner's answer"
        raise LocalMisuse("give either --name or --enrolment", hint=hint)
    if suite is not None and name is None:
        raise LocalMisuse("--suite says what keys are made for", hint="give it with --name")
    if name is not None:
        _ask(command, state, name, key_file, suite, keystore)
    elif enrolment is not None:
        _enrol(command, state, enrolment, fingerprint, key_file)


def add_grants(command: str, state: Path, files: list[Path]) -> None:
    """Keep grants that came after the enrolment. Raises as ``Home.add_grant``."""
    from sealway.cli.home import home_of

    home = home_of(state, command)
    for file in files:
        with options.document(f"{file} is not a grant"):
            home.add_grant(read_file(file, "the grant"))
        say(f"took the grant {file}")


def _ask(
    command: str, state: Path, text: str, key_file: Path | None, number: int | None, place: str | None
) -> None:  # fmt: skip
    from sealway.cli.home import home_of
    from sealway.crypto.suites import suite
    from sealway.keystore.places import FILE, check_place

    home = home_of(state, command)
    name = options.name_of(text, "--name", home.role)
    chosen = None if number is None else suite(number)
    fresh = not home.keystore_path.exists()
    check_place(place or FILE)
    home.prepare(name, options.secret_of(place or FILE, key_file, fresh=fresh), chosen, place)
    where = home.keystore_path if place in (None, FILE) else place
    say(f"{'made' if fresh else 'found'} the keys of {name} in {where}")
    out = f"{name.label}.enrolment"
    request = f"sealway owner enroll --state OWNER_DIR --request {quote(str(home.request_path))} --name {name}"
    next_command("at the owner", f"{request} --hub https://HOST:PORT --out {out}")
    next_command("then here", f"sealway {command} init --state {quote(str(state))} --enrolment {out} --fingerprint HEX")


def _enrol(command: str, state: Path, file: Path, fingerprint: str | None, key_file: Path | None) -> None:
    from sealway.cli.home import home_of

    home = home_of(state, command)
    pin = None if fingerprint is None else options.parsed(bytes.fromhex, fingerprint, "--fingerprint")
    encoded = read_file(file, "the enrolment")
    home.demand_keys()
    with options.document(f"{file} is not an enrolment"):
        credential = home.enrol(encoded, options.passphrase(key_file), pin)
    say(f"enrolled {credential.name}")
    next_command("here", f"sealway {command} {_RUN[command]} --state {quote(str(state))}")


_RUN = {
    "hub": "run",
    "gateway": "run",
    "adversary": "run --between http",
    "device": "serve --to NAME",
    "app": "watch --received FILE.jsonl",
}
