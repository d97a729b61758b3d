# SPDX-License-Identifier: Apache-2.0
"""Options that many commands share, and what turns their text into values: a bad argument is the caller's mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from sealway.cli.logs import Format, Level
from sealway.errors import LocalMisuse, Malformed, TooLarge
from sealway.protocol.policy import PostQuantum

if TYPE_CHECKING:
    from sealway.crypto.secret import Secret
    from sealway.wire.address import Name

T = TypeVar("T")

_SOURCES = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP", "DEFAULT")

State: TypeAlias = Annotated[Path, typer.Option("--state", metavar="DIR", help="the state directory")]
KeyFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="file of mode 0600 with the passphrase (else SEALWAY_PASSPHRASE, else a prompt)",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="print JSON", allow_from_autoenv=False)]
To: TypeAlias = Annotated[str, typer.Option("--to", metavar="NAME", help="the other end, sealway://DOMAIN/ROLE/LABEL")]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="say more")]
Evidence: TypeAlias = Annotated[
    bool, typer.Option("--evidence", help="print a line for each thing refused and each thing reported; as --verbose")
]
Compact: TypeAlias = Annotated[
    bool, typer.Option("--compact", help="envelopes in compact form to and from a gateway that knows it")
]
PostQuantumPart: TypeAlias = Annotated[
    PostQuantum,
    typer.Option(
        "--post-quantum", help="ML-KEM in what begins sessions: never without, where the other end has a key, or never"
    ),
]
SessionsInMemory: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, max=100_000_000, help="sessions kept in memory, 1 KiB each, others on the disk only; 100000"),
]
LogFile: TypeAlias = Annotated[
    Path | None, typer.Option("--log-file", metavar="FILE", help="write the log there, not to standard error")
]
StateLogFile: TypeAlias = Annotated[
    Path | None, typer.Option("--log-file", metavar="FILE", help="the log; DIR/log by default, - is standard error")
]
LogLevel: TypeAlias = Annotated[Level, typer.Option("--log-level", help="from which level on")]
LogFormat: TypeAlias = Annotated[Format, typer.Option("--log-format", help="for machines or for people")]


def group(help_text: str) -> typer.Typer:
    """Return a new, empty group of commands."""
    return typer.Typer(help=help_text, no_args_is_help=True, add_completion=False)


def overruled(context: typer.Context, *parameters: str) -> frozenset[str]:
    """Return which of some parameters that exclude each other give way, because a stronger source gave another.

    Options are stronger than the environment, and that is stronger than the file of settings.
    """
    sources = {name: context.get_parameter_source(name) for name in parameters}
    ranks = {name: _SOURCES.index(source.name) for name, source in sources.items() if source is not None}
    strongest = min(ranks.values(), default=0)
    return frozenset(name for name, rank in ranks.items() if rank > strongest)


@contextmanager
def argument(what: str) -> Iterator[None]:
    """Turn what a parser finds wrong with an argument into LocalMisuse that names the argument."""
    try:
        yield
    except Malformed as error:
        raise LocalMisuse(f"{what}: {error.message}", hint=error.hint) from None


@contextmanager
def document(what: str) -> Iterator[None]:
    """Let what a decoder says of a file begin with the file's name."""
    try:
        yield
    except (Malformed, TooLarge) as error:
        raise type(error)(f"{what}: {error.message}", hint=error.hint) from None


def name_of(text: str, what: str, role: str | None = None) -> Name:
    """Return the name that an argument gives, of this role if one is named. Raises LocalMisuse."""
    from sealway.wire.address import Name

    with argument(what):
        name = Name.parse(text)
    if role is not None and name.role != role:
        raise LocalMisuse(
            f"{what}: {name} is not the name of a {role}", hint=f"sealway://{name.domain}/{role}/{name.label}"
        )
    return name


def path_of(text: str) -> str:
    """Return a path of 1 to 16 segments that a message can have. Raises LocalMisuse."""
    from sealway.wire.message import CODE_POST, Message

    with argument("--path"):
        segments = Message(CODE_POST, tuple(text.strip("/").split("/"))).path
    if not all(segments):
        raise LocalMisuse(f"--path: {text!r} has an empty segment", hint="a path such as readings or valve/inlet")
    return "/".join(segments)


def parsed(parse: Callable[[str], T], text: str, what: str) -> T:
    """Return ``parse(text)``; what it refuses (ValueError) is the caller's mistake. Raises LocalMisuse."""
    try:
        return parse(text)
    except ValueError:
        raise LocalMisuse(f"{what}: {text} cannot be read") from None


def passphrase(key_file: Path | None, *, confirm: bool = False) -> Secret:
    """Return the passphrase of a keystore. Raises LocalMisuse, StateLost as ``find_passphrase``."""
    from sealway.keystore.unlock import find_passphrase

    return find_passphrase(key_file=key_file, confirm=confirm)


def secret_of(place: str, key_file: Path | None, *, fresh: bool) -> Secret:
    """Return what opens a keystore in this place: a token's PIN is set already, a passphrase is set now if it is new.

    Raises LocalMisuse, StateLost as ``find_passphrase``.
    """
    from sealway.keystore.unlock import find_passphrase

    if place.startswith("pkcs11:"):
        return find_passphrase(key_file=key_file, what="PIN")
    return find_passphrase(key_file=key_file, confirm=fresh)


def demand_directory(path: Path) -> None:
    """Return if the state directory exists. Raises LocalMisuse."""
    if not path.is_dir():
        raise LocalMisuse(f"there is no directory {path}", hint="give the one that the member runs in as --state")
