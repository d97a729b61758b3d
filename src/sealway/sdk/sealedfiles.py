# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening files and pipes of any length, with or without a network. spec/sealed-file.md.

Invariants: no byte of a sealed file leaves before its envelope is durable; a file's key seals one content, once; a key
is forgotten only after all of the content was handed over, durably where that can be known. The content is in memory
chunk by chunk, and never in the state.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from sealway.errors import (
    NotAuthentic,
    NotTrusted,
    PeerMisbehaved,
    RateLimited,
    Replayed,
    SealwayError,
    StateLost,
    TransportFailed,
)
from sealway.protocol.sealed_file import DEFAULT_CHUNK, ChunkOpener, ChunkSealer
from sealway.sdk.endpoint import OUTBOX_BYTES, OUTBOX_ENVELOPES, Endpoint
from sealway.sdk.sessions import Held, Leaving
from sealway.sdk.streams import Abandoned, Input, Output, Stopped, Stream, aside, closing, pieces
from sealway.sdk.waitingkeys import WaitingKey, key_of
from sealway.wire.address import Name
from sealway.wire.envelope import Envelope
from sealway.wire.message import FileKey
from sealway.wire.sealed_file import COMMITMENT_BYTES, Introduction, Preface, item, next_item, required_item


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file that was sealed: for whom, and how many bytes of content it has."""

    recipient: Name
    size: int


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file that was opened: who sealed it, proven, and how many bytes of content it had."""

    sender: Name
    size: int


async def introduce(endpoint: Endpoint) -> bytes:
    """Return this endpoint's encoded introduction: with it others of the domain seal files for it, or begin sessions,
    without a directory.

    Raises:
        StateLost: the state could not be written.
    """
    own = await endpoint.publisher.bundle_to_hand_over()
    return Introduction(own.proven.encoded, endpoint.member.credential.chain).encode()


async def seal_file(
    endpoint: Endpoint, to: Name, source: Stream, target: Stream, *, introduction: bytes | None = None,
    within: timedelta = timedelta(seconds=10), replace: bool = False, chunk: int = DEFAULT_CHUNK,
) -> SealedFile:  # fmt: skip
    """Seal the content of ``source`` for ``to``.

    Args:
        endpoint: need not have been started. Later, when it runs, it offers the file's envelope to its hop as well, and
            the receipt for it comes back.
        source: a path, or an open binary file such as a pipe; read to its end.
        target: a path, where the file appears in one step once it is whole and durable; or an open binary file.
        introduction: the recipient's, to begin a session without a directory.
        within: how long to look for the recipient in a directory, if there is neither a session nor an introduction.
        replace: overwrite a file at ``target``.
        chunk: bytes of content in a chunk, 1 KiB to 1 MiB.

    Raises:
        TransportFailed: there is no session, no introduction, and none came from a directory.
        NotTrusted, NotAuthentic, Malformed, Replayed: the introduction, or what a directory served, is not the newest
        of ``to``.
        RateLimited: too much was sealed that nobody has acknowledged yet.
        LocalMisuse: a file cannot be read or written.
        StateLost: the state could not be written.
        BrokenPipeError: nobody reads ``target`` any more.
    """
    endpoint.check_alive()
    async with (
        closing(await aside(lambda _: Input(source))) as content,
        closing(await aside(lambda _: Output(target, replace=replace))) as output,
    ):
        held = await _session(endpoint, to, introduction, within)
        preface, key = await _sealed_key(endpoint, held, chunk)
        size = await aside(lambda stopped: seal_content(content, output, preface, key, stopped))
    return SealedFile(to, size)


async def open_file(
    endpoint: Endpoint, source: Stream, target: Stream, *, sender: Name | None = None, replace: bool = False
) -> OpenedFile:  # fmt: skip
    """Open a sealed file. A path gets the content in one step, once all of it was proven.

    An open binary file gets each chunk as soon as it is proven: if this then raises, what was written is a beginning of
    the content and not all of it. After a failure or a crash the same file can be opened again; after a success it is
    Replayed.

    Args:
        endpoint: as for ``seal_file``.
        source: a path, or an open binary file.
        target: a path, or an open binary file.
        sender: who must have sealed it; None for anyone of the domain.
        replace: overwrite a file at ``target``.

    Raises:
        NotAuthentic, Malformed, TooLarge: the file was altered or cut short, or it is for someone else.
        Replayed: it was opened before.
        PrekeyGone: it begins a session with a bundle that is not, or no longer, here.
        NotTrusted: who sealed it is not of this domain, or not ``sender``.
        GapTooLarge, RateLimited, PeerForked: as the session says; see spec/session.md.
        LocalMisuse: a file cannot be read or written.
        StateLost: the state could not be written.
        BrokenPipeError: nobody reads ``target`` any more.
    """
    endpoint.check_alive()
    async with (
        closing(await aside(lambda _: Input(source))) as content,
        closing(await aside(lambda _: Output(target, replace=replace))) as output,
    ):
        preface, commitment = await aside(lambda _: _read_head(content))
        waiting = await _waiting_key(endpoint, preface, commitment)
        if sender is not None and waiting.peer != str(sender):
            raise NotTrusted(f"the file was sealed by {waiting.peer}, not by {sender}")
        opener = ChunkOpener(waiting.key, preface, commitment)
        size = await aside(lambda stopped: open_content(content, output, opener, stopped))
    endpoint.engine.files.done(waiting)
    await endpoint.journal.commit()
    return OpenedFile(Name.parse(waiting.peer), size)


# sealing -------------------------------------------------------------------------------------------------------
async def _session(endpoint: Endpoint, to: Name, introduction: bytes | None, within: timedelta) -> Held:
    """Return a session in which a file can be sealed that its recipient opens without asking anybody."""
    if len(endpoint.outbox) >= OUTBOX_ENVELOPES or endpoint.outbox.size >= OUTBOX_BYTES:
        raise RateLimited("too much is sealed that nobody has acknowledged", hint="let it reach its next hop once")
    offer = None
    if introduction is not None:
        offer = endpoint.directory.introduced(Introduction.decode(introduction), to)
    held = endpoint.sessions.sending_to(str(to))
    if held is not None and held.leaving is Leaving.NO and _is_lasting(endpoint, held):
        start = held.session.start
        if offer is None or start is None or held.session.kid_out == offer.claims.bundle_id:
            return held
    await endpoint.publisher.bundle_to_hand_over()
    if offer is not None:
        return await endpoint.links.begin_over(offer)
    try:
        async with asyncio.timeout(within.total_seconds()):
            return await (endpoint.links.instead_of(held) if held is not None else endpoint.links.with_peer(to))
    except TimeoutError:
        raise TransportFailed(f"no session with {to} within {within.total_seconds():g} seconds") from None


async def _sealed_key(endpoint: Endpoint, held: Held, chunk: int) -> tuple[Preface, FileKey]:
    """Seal a new key; return it, durable, and what stands before the content."""
    mine = _own_introduction(endpoint, held)
    key, envelope = endpoint.engine.seal_file_key(held, chunk)
    await endpoint.journal.commit()
    return Preface(Envelope.decode(envelope), mine), key


def _is_lasting(endpoint: Endpoint, held: Held) -> bool:
    """Whether the session was answered, or its start can still be accepted: it names a bundle of ours that is valid."""
    start = held.session.start
    if start is None:
        return True
    own = endpoint.prekeys.by_hash(start.header.bundle_hash)
    valid = own is not None and own.proven.claims.expires > endpoint.clock.now_ms() // 1_000
    return valid and start.header.x5t == endpoint.member.credential.x5t


def _own_introduction(endpoint: Endpoint, held: Held) -> Introduction | None:
    """What the recipient needs to accept the start, None if it has."""
    start = held.session.start
    if start is None:
        return None
    own = endpoint.prekeys.by_hash(start.header.bundle_hash)
    if own is None:
        raise StateLost("the bundle that a start names is gone")
    return Introduction(own.proven.encoded, endpoint.member.credential.chain)


def seal_content(content: Input, output: Output, preface: Preface, key: FileKey, stopped: Stopped) -> int:
    """Write a sealed file; return how many bytes of content it has. Raises LocalMisuse, BrokenPipeError, Abandoned."""
    sealer, size = ChunkSealer(key, preface), 0
    output.write(preface.encode() + item(sealer.commitment))
    for piece, last in pieces(content.read, key.chunk, stopped):
        output.write(item(sealer.seal(piece, last=last)))
        size += len(piece)
    output.commit()
    return size


# opening -------------------------------------------------------------------------------------------------------
def _read_head(content: Input) -> tuple[Preface, bytes]:
    preface = Preface.read(content.read)
    return preface, required_item(content.read, COMMITMENT_BYTES, "the commitment")


async def _waiting_key(endpoint: Endpoint, preface: Preface, commitment: bytes) -> WaitingKey:
    """Open the file's envelope, and return the key that the file was sealed with, durable.

    The key may have come before: when the opening of this file was interrupted, or through a hop, perhaps under another
    number. Then it waits for the file, and the envelope is refused.
    """
    refused: SealwayError = NotAuthentic("the content of the file is not that of its envelope")
    try:
        await _open_envelope(endpoint, preface)
    except SealwayError as error:
        endpoint.journal.check()
        endpoint.journal.count(f"refused_{type(error).__name__}")
        refused = error
    await endpoint.journal.commit()
    vault = endpoint.journal.vault
    waiting = await endpoint.store.read(lambda connection: key_of(connection, vault, preface, commitment))
    if waiting is not None:
        return waiting
    if isinstance(refused, Replayed):
        raise Replayed("the file was opened before, or was altered", hint="a file opens once") from None
    raise refused


async def _open_envelope(endpoint: Endpoint, preface: Preface) -> None:
    envelope = preface.envelope
    if envelope.start is not None and preface.introduction is not None:
        seen, _ = endpoint.sessions.started_by(envelope.start)
        initiator = endpoint.directory.introduced(preface.introduction) if not seen else None
        await endpoint.links.open_start(envelope, envelope.start, initiator)
        return
    held = endpoint.sessions.by_kid(envelope.kid)
    if held is None:
        raise NotAuthentic(
            "the file belongs to no session of this endpoint",
            hint="was it sealed for another one, or is the state not the one that it was sealed for?",
        )
    endpoint.engine.open(held, envelope)


def open_content(content: Input, output: Output, opener: ChunkOpener, stopped: Stopped) -> int:
    """Write the content of a sealed file of which the commitment was read last; return how many bytes it has.

    Raises:
        NotAuthentic, Malformed, TooLarge: the file was altered or cut short.
        LocalMisuse, BrokenPipeError, Abandoned: it cannot be read or written to its end.
    """
    try:
        chunk: bytes | None = required_item(content.read, opener.longest, "the content")
        while chunk is not None:
            if stopped.is_set():
                raise Abandoned
            following = next_item(content.read, opener.longest, "the content")
            output.write(opener.open(chunk, last=following is None))
            chunk = following
    except PeerMisbehaved as error:
        if output.is_whole_or_absent or not output.written:
            raise
        raise type(error)(error.message, hint="what was written is not the whole file: do not use it") from None
    output.commit()
    return output.written
