# SPDX-License-Identifier: Apache-2.0
"""``sealway seal``, ``open`` and ``introduce``: files and pipes sealed from end to end, with or without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from sealway.cli import options
from sealway.cli.options import KeyFile, PostQuantumPart, State, To
from sealway.cli.timing import Timing
from sealway.errors import LocalMisuse, TransportFailed
from sealway.protocol.policy import PostQuantum

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from io import FileIO

    from sealway.sdk.endpoint import Endpoint
    from sealway.wire.address import Name

STANDARD: Final = Path("-")

In = Annotated[Path, typer.Option("--in", metavar="FILE", help="what to read; - is standard input")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="what to write; - is standard output")]
Force = Annotated[bool, typer.Option("--force", help="replace a file that exists")]


def seal_command(
    state: State,
    to: To,
    source: In = STANDARD,
    target: Out = STANDARD,
    introduction: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the other end's, to seal for it without a network")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600, help="seconds to look for the other end, if nothing is known of it")
    ] = 10.0,
    force: Force = False,
    post_quantum: PostQuantumPart = PostQuantum.PREFERRED,
    key_file: KeyFile = None,
) -> None:
    """Seal a file or a pipe for another endpoint. A file appears whole or not at all."""
    from datetime import timedelta

    from sealway.sdk.sealedfiles import seal_file
    from sealway.storage.files import read_file

    peer = options.name_of(to, "--to")
    introduced = None if introduction is None else read_file(introduction, "the introduction")
    content, sealed = _input(source), _output(target)
    if not isinstance(sealed, Path) and sealed.isatty():
        raise LocalMisuse("a sealed file is nothing for a terminal", hint="give --out FILE, or pipe it on")

    async def work(endpoint: Endpoint) -> None:
        try:
            done = await seal_file(
                endpoint, peer, content, sealed, introduction=introduced, within=timedelta(seconds=timeout),
                replace=force,
            )  # fmt: skip
        except TransportFailed as error:
            raise TransportFailed(error.message, hint=_without_a_network(peer)) from None
        _tell(target, f"sealed {done.size} bytes for {done.recipient}")

    _at_work(state, key_file, post_quantum, work)


def open_command(
    state: State,
    source: In = STANDARD,
    target: Out = STANDARD,
    sender: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="refuse a file of anyone else; nothing of it is written"),
    ] = None,
    force: Force = False,
    post_quantum: PostQuantumPart = PostQuantum.PREFERRED,
    key_file: KeyFile = None,
) -> None:
    """Open a sealed file or pipe, once, and say who sealed it.

    A file appears whole or not at all. A pipe gets each part as soon as it is proven: use it only if this ends with 0.
    """
    from sealway.sdk.sealedfiles import open_file

    wanted = None if sender is None else options.name_of(sender, "--from")
    sealed, content = _input(source), _output(target)

    async def work(endpoint: Endpoint) -> None:
        done = await open_file(endpoint, sealed, content, sender=wanted, replace=force)
        _tell(target, f"opened {done.size} bytes, sealed by {done.sender}")

    _at_work(state, key_file, post_quantum, work)


def introduce_command(
    state: State, target: Out = STANDARD, force: Force = False, post_quantum: PostQuantumPart = PostQuantum.PREFERRED,
    key_file: KeyFile = None,
) -> None:  # fmt: skip
    """Write down how others of the domain can seal files for this endpoint without a network. Nothing of it is secret.

    It is good for 14 days at least.
    """
    from sealway.sdk.sealedfiles import introduce
    from sealway.sdk.streams import Output

    async def work(endpoint: Endpoint) -> None:
        content = await introduce(endpoint)
        output = Output(_output(target), replace=force)
        try:
            output.write(content)
            output.commit()
        finally:
            output.discard()
        _tell(target, f"introduces {endpoint.member.name}")

    _at_work(state, key_file, post_quantum, work)


def _at_work(
    state: Path, key_file: Path | None, post_quantum: PostQuantum, work: Callable[[Endpoint], Awaitable[None]]
) -> None:
    """Do some work with the endpoint of a state directory, which does nothing else meanwhile."""
    from sealway.cli.home import home_of
    from sealway.cli.logs import Format, Level
    from sealway.cli.running import log_as_told, run_to_end
    from sealway.home.carriers import next_hop
    from sealway.home.home import role_in
    from sealway.sdk.endpoint import Endpoint
    from sealway.sdk.member import Member

    options.demand_directory(state)
    role = role_in(state)
    if role not in ("device", "application"):
        raise LocalMisuse(f"{state} is a {role}, and only devices and applications seal and open")
    enrolled = home_of(state, "app" if role == "application" else role).open(options.passphrase(key_file))
    log_as_told(None, Level.WARNING, Format.CONSOLE)

    async def run() -> None:
        policy = Timing(post_quantum=post_quantum).policy()
        endpoint = Endpoint(state, Member.of(enrolled), next_hop(enrolled), policy=policy)
        try:
            await work(endpoint)
        finally:
            await endpoint.close()

    run_to_end(run)


def _input(path: Path) -> Path | FileIO:
    return _standard(0, "rb") if path == STANDARD else path


def _output(path: Path) -> Path | FileIO:
    return _standard(1, "wb") if path == STANDARD else path


def _standard(descriptor: int, mode: Literal["rb", "wb"]) -> FileIO:
    """Standard input or output without a buffer, whose lock a thread that waits would hold at the process's end."""
    return open(descriptor, mode, buffering=0, closefd=False)


def _tell(target: Path, text: str) -> None:
    """Say what was done; beside the content, if that is on standard output."""
    from sealway.cli.messages import note, say

    note(text) if target == STANDARD else say(text)


def _without_a_network(peer: Name) -> str:
    return f"without a network: --introduction FILE, written by sealway introduce at {peer}"
