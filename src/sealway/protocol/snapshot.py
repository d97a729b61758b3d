# SPDX-License-Identifier: Apache-2.0
"""A session as bytes, to be committed with what it sealed or opened, and back.

Invariant: ``restore(snapshot(s), …)`` behaves as ``s`` does, and nothing else is restored: a snapshot in which a disk
or a memory has changed a bit is lost state, not one whose numbers run back. The format is private to one state
directory: it is read only by the version that wrote it, or by a later one through ``VERSION``. It holds keys; where it
is stored decides who can read the past. The log of sent messages is stored beside it, row by row, and handed in again.

Layout, made to be small, and written and read in microseconds (docs/adr/0017): a head with how many there are of what
follows; all counts; all message numbers and what else is short; all times; the lengths of all byte strings; these
strings; a CRC-32. The order is that in which ``snapshot`` writes and ``restore``
reads.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from itertools import chain as _joined
from itertools import islice
from struct import Struct, error

from sealway.crypto.secret import Secret
from sealway.crypto.suites import suite
from sealway.errors import Malformed, SealwayError, StateLost
from sealway.protocol.chains import Chain, Epoch
from sealway.protocol.policy import Policy
from sealway.protocol.ranges import RangeSet
from sealway.protocol.receiptclock import ReceiptClock
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Sending, SendingEpoch
from sealway.protocol.sentlog import SentLog
from sealway.protocol.session import Session, Start
from sealway.wire import cbor
from sealway.wire.header import StartHeader

VERSION = 7
CHECK_BYTES = 4
"""At the end of a snapshot: a CRC-32, against decay. Who can write here has the keys, and needs no changed bits."""
_LIMIT = 1 << 26
_HEADS = Struct(">BBHI4B"), Struct(">BBHI4B"), Struct(">BBHI4I")
_LAYOUTS = (">{}B{}H{}I{}B", ">{}B{}I{}I{}B", ">{}I{}Q{}Q{}H")
"""Narrow, while all that is in it allows it: times are told from a moment before the session began; with longer
numbers; wide."""
_WIDE = 2
_MOST_LAYOUTS = 256  # that are kept compiled: sessions in the same state share theirs
_LOW = 0xFFFFFFFF

# Flags, in the first of the small numbers.
_INITIATOR, _MY_TURN, _ANNOUNCE, _SILENCE_TOLD, _PEER_FORKED, _MUST_RESEED = 1, 2, 4, 8, 16, 32
_HAS_SENDING, _HAS_START, _HAS_STOPPED, _HAS_REPORTED, _NAMED = 64, 128, 256, 512, 1_024

Names = tuple[bytes, str, bytes]
"""A session's hash, its peer's name, and the identifier that it is found by."""


@lru_cache(_MOST_LAYOUTS)
def _layout(width: int, counts: int, shorts: int, times: int, strings: int) -> Struct:
    return Struct(_LAYOUTS[width].format(counts, shorts, times, strings))


class _Writing:
    """What goes into a snapshot, by kind. Times are milliseconds since the Unix epoch, 0 stands for none."""

    __slots__ = ("counts", "shorts", "strings", "times")

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.shorts: list[int] = []
        self.times: list[int] = []
        self.strings: list[bytes] = []

    def ranges(self, numbers: RangeSet) -> None:
        firsts, lasts = numbers.edges
        self.counts.append(len(firsts))
        if firsts:
            self.shorts += firsts
            self.shorts += lasts

    def secrets(self, mapping: dict[int, bytes]) -> None:
        self.counts.append(len(mapping))
        if mapping:
            self.shorts += mapping
            self.strings += mapping.values()

    def encode(self, base: int) -> bytes:
        counts, shorts, strings, lengths = self.counts, self.shorts, self.strings, [*map(len, self.strings)]
        times = [time and (time - base or -1) for time in self.times]
        sizes = len(counts), len(shorts), len(times), len(lengths)
        width = _width(base, max(*sizes, *counts), max(shorts), max(lengths), min(times), max(times))
        if width == _WIDE:
            base, times = 0, self.times
        head = _HEADS[width].pack(VERSION, width, base >> 32, base & _LOW, *sizes)
        return b"".join((head, _layout(width, *sizes).pack(*counts, *shorts, *times, *lengths), *strings))


def _width(base: int, count: int, short: int, length: int, earliest: int, latest: int) -> int:
    if count >= 1 << 8 or base >= 1 << 48 or length >= 1 << 8 or earliest < 0 or latest >= 1 << 32 or short >= 1 << 32:
        return _WIDE
    return 0 if short < 1 << 16 else 1


class _Reading:
    """The same, read in the same order. LookupError, ValueError or struct.error: it is not a snapshot."""

    __slots__ = ("count", "counts", "short", "shorts", "string", "strings", "time", "times")

    def __init__(self, data: bytes) -> None:
        if data[0] != VERSION:
            raise ValueError(f"a stored session has version {data[0]}; this program reads version {VERSION}")
        head = _HEADS[data[1]]
        _, width, high, low, a, b, c, d = head.unpack_from(data)
        base = high << 32 | low
        if a + b + c + d > len(data):
            raise ValueError("a snapshot that is shorter than it says")
        layout = _layout(width, a, b, c, d)
        fixed = layout.unpack_from(data, head.size)
        self.counts, self.shorts = iter(fixed[:a]), iter(fixed[a : a + b])
        self.times = iter([time and time + base for time in fixed[a + b : a + b + c]])
        self.strings = iter(_cut(data, head.size + layout.size, fixed[a + b + c :]))
        self.count, self.short = self.counts.__next__, self.shorts.__next__
        self.time, self.string = self.times.__next__, self.strings.__next__

    def ranges(self) -> RangeSet:
        count, shorts = self.count(), self.shorts
        if not count:
            return RangeSet()
        return RangeSet.of_edges(list(islice(shorts, count)), list(islice(shorts, count)))

    def secrets(self) -> dict[int, bytes]:
        count, string = self.count(), self.string
        if not count:
            return {}
        return {number: string() for number in list(islice(self.shorts, count))}

    def finish(self) -> None:
        for left in _joined(self.counts, self.shorts, self.times, self.strings):
            raise ValueError(f"a snapshot with more in it than a session: {type(left).__name__}")


def _cut(data: bytes, at: int, lengths: tuple[int, ...]) -> list[bytes]:
    strings = []
    for length in lengths:
        strings.append(data[at : at + length])
        at += length
    if at != len(data):
        raise ValueError("a snapshot of another length than it says")
    return strings


def snapshot(session: Session, *, named: bool = True) -> bytes:
    """Return the session's whole state, secrets included.

    Args:
        named: with what names it. Who stores these beside it hands them in again.
    """
    s, out = session, _Writing()
    epochs = s.receive.epochs
    peer_x = b"" if epochs and epochs[-1].x == s.peer_x else s.peer_x  # as it is but for the first step
    flags, silence = _flags(s) | (_NAMED if named else 0), s.max_silence_s
    out.shorts += (flags, s.since_step, s.failed_opens, 0 if silence is None else silence + 1)
    out.counts.append(s.suite.number)
    out.times += (s.created_ms, s.stepped_ms, s.heard_ms)
    out.strings += (s.root, peer_x, s.kid_out)
    if named:
        out.strings += (s.hash, s.peer.encode(), s.kid_in)
    if s.stopped is not None:
        out.strings.append(s.stopped.encode())
    _write_sending(out, s.send)
    _write_receiving(out, s.receive)
    if s.start is not None:
        out.strings.append(_start(s.start))
    _write_clock(out, s.clock)
    out.counts.append(len(s.forks_told))
    out.times += s.forks_told
    fields = out.encode(max(0, s.created_ms - 1))
    return fields + _check(fields, None if named else (s.hash, s.peer, s.kid_in))


def restore(
    data: bytes, log: SentLog, policy: Policy, *, reopened: bool = True, names: Names | None = None
) -> Session:  # fmt: skip
    """Return the session of a snapshot.

    Args:
        reopened: the state was opened since this was written, so that the session reseeds before it seals. False only
        for what this process has written itself.
        names: of one that was made without them.

    Raises:
        StateLost: the bytes are damaged, of an unknown version, or not of the session that is named.
    """
    try:
        session = _session(_Reading(_checked(data, names)), log, policy, names)
    except (SealwayError, ValueError, TypeError, LookupError, AttributeError, StopIteration, RuntimeError, error) as no:
        raise _damaged() from no
    if reopened:
        session.resume()
    return session


def refuse_damaged(data: bytes, names: Names | None = None) -> None:
    """Look whether a snapshot is whole and of this version, without making a session of it. Raises StateLost."""
    try:
        _checked(data, names)
    except (Malformed, TypeError, AttributeError) as damage:
        raise _damaged() from damage
    if data[:1] != _VERSION_BYTE:
        raise _damaged()


_VERSION_BYTE = bytes((VERSION,))


def _damaged() -> StateLost:
    return StateLost("a stored session is damaged", hint="restore nothing over it; begin a new session")


def _check(fields: bytes, names: Names | None) -> bytes:
    check = zlib.crc32(fields)
    if names is not None:
        digest, peer, kid = names
        check = zlib.crc32(kid, zlib.crc32(peer.encode(), zlib.crc32(digest, check)))
    return check.to_bytes(CHECK_BYTES)


def _checked(data: bytes, names: Names | None) -> bytes:
    fields = data[:-CHECK_BYTES]
    if _check(fields, names) != data[-CHECK_BYTES:]:
        raise Malformed("a snapshot's check value does not fit")
    return fields


def _flags(s: Session) -> int:
    """The branches are cheaper than arithmetic on booleans, and most are not taken."""
    flags = 0
    if s.initiator:
        flags |= _INITIATOR
    if s.my_turn:
        flags |= _MY_TURN
    if s.announce_kid:
        flags |= _ANNOUNCE
    if s.silence_told:
        flags |= _SILENCE_TOLD
    if s.peer_forked:
        flags |= _PEER_FORKED
    return flags | _presences(s)


def _presences(s: Session) -> int:
    flags = 0
    if s.send.must_reseed:
        flags |= _MUST_RESEED
    if s.send.epoch is not None:
        flags |= _HAS_SENDING
    if s.start is not None:
        flags |= _HAS_START
    if s.stopped is not None:
        flags |= _HAS_STOPPED
    if s.receive.reported is not None:
        flags |= _HAS_REPORTED
    return flags


def _session(data: _Reading, log: SentLog, policy: Policy, names: Names | None) -> Session:
    short, time, string = data.short, data.time, data.string
    flags, since_step, failed_opens, silence = short(), short(), short(), short()
    number = data.count()
    created, stepped, heard = time(), time(), time()
    root, peer_x, kid_out = string(), string(), string()
    digest, peer, kid_in = (string(), string().decode(), string()) if flags & _NAMED else names or _nameless()
    stopped = string().decode() if flags & _HAS_STOPPED else None
    send, receive = _to_sending(data, flags), _to_receiving(data, flags)
    start = _to_start(string()) if flags & _HAS_START else None
    clock = _to_clock(data)
    forks_told = [time() for _ in range(data.count())]
    data.finish()
    if not peer_x and receive.epochs:
        peer_x = receive.epochs[-1].x
    return Session(
        suite(number), digest, peer, flags & _INITIATOR != 0, root, flags & _MY_TURN != 0, peer_x, kid_in, kid_out,
        created, send, receive, log, start, flags & _ANNOUNCE != 0, stepped, since_step, clock, heard,
        silence - 1 if silence else None, flags & _SILENCE_TOLD != 0, failed_opens, stopped,
        flags & _PEER_FORKED != 0, policy, forks_told=forks_told,
    )  # fmt: skip


def _nameless() -> Names:
    raise ValueError("a snapshot without names")


def _write_sending(out: _Writing, send: Sending) -> None:
    e = send.epoch
    if e is not None:
        out.strings += (e.x, e.x_secret.reveal(), e.reseed_root, e.chain, e.salt)
        out.shorts += (e.first, e.chain_first, e.j)
    # -1 stands for "none yet"; shifted by one it is no negative number.
    out.shorts += (send.next_number, send.highest_acked + 1, send.highest_acked_in + 1)
    out.ranges(send.acked)
    out.ranges(send.unkept)
    out.ranges(send.void)


def _to_sending(data: _Reading, flags: int) -> Sending:
    short, string, epoch = data.short, data.string, None
    if flags & _HAS_SENDING:
        x, secret, root, chain, salt = string(), Secret(string()), string(), string(), string()
        first, chain_first, j = short(), short(), short()
        epoch = SendingEpoch(x, secret, first, root, chain, chain_first, j, salt)
    number, highest, highest_in = short(), short() - 1, short() - 1
    sets = data.ranges(), data.ranges(), data.ranges()
    return Sending(epoch, number, flags & _MUST_RESEED != 0, *sets, highest, highest_in)


def _write_receiving(out: _Writing, receive: Receiving) -> None:
    out.counts.append(len(receive.epochs))
    for epoch in receive.epochs:
        _write_epoch(out, epoch)
    out.ranges(receive.closed)
    out.ranges(receive.gone)
    out.ranges(receive.void)
    out.secrets(receive.marks)
    if receive.reported is not None:
        number, tag = receive.reported
        out.shorts.append(number)
        out.strings.append(tag)


def _to_receiving(data: _Reading, flags: int) -> Receiving:
    epochs = [_to_epoch(data) for _ in range(data.count())]
    sets, marks = (data.ranges(), data.ranges(), data.ranges()), data.secrets()
    reported = (data.short(), data.string()) if flags & _HAS_REPORTED else None
    return Receiving(epochs, *sets, marks, reported)


def _write_epoch(out: _Writing, e: Epoch) -> None:
    out.strings += (e.x, e.reseed_root)
    out.times.append(0 if e.superseded_ms is None else e.superseded_ms + 1)
    out.shorts += (e.first, e.next_j)
    out.counts.append(len(e.chains))
    for c in e.chains:
        out.shorts += (c.first, c.j, c.next)
        out.strings += (c.salt, b"" if c.key is None else c.key)
        out.secrets(c.skipped)
    out.secrets(e.skipped_roots)


def _to_epoch(data: _Reading) -> Epoch:
    x, root, superseded = data.string(), data.string(), data.time()
    first, next_j = data.short(), data.short()
    chains = [_to_chain(data) for _ in range(data.count())]
    return Epoch(x, first, root, next_j, chains, data.secrets(), superseded - 1 if superseded else None)


def _to_chain(data: _Reading) -> Chain:
    first, j, following = data.short(), data.short(), data.short()
    salt, key = data.string(), data.string()
    return Chain(first, j, salt, following, key or None, data.secrets())


def _start(start: Start) -> bytes:
    return cbor.encode([start.header.to_value(), start.signature, start.newest_session, start.forked_session])


def _to_start(encoded: bytes) -> Start:
    header, signature, newest, forked = cbor.decode(encoded, limit=_LIMIT)
    return Start(StartHeader.from_value(header), signature, newest, forked)


def _write_clock(out: _Writing, clock: ReceiptClock) -> None:
    due = 0 if clock.due_ms is None else clock.due_ms + 1
    out.times += (due, clock.waiting_ms, clock.sent_ms)
    out.shorts += (clock.waiting, clock.quiet)
    out.counts.append(len(clock.listed))
    for (first, last), since in clock.listed.items():
        out.shorts += (first, last)
        out.times.append(since + 1)


def _to_clock(data: _Reading) -> ReceiptClock:
    short, time = data.short, data.time
    due, waiting_ms, sent_ms, waiting, quiet = time(), time(), time(), short(), short()
    listed = {(short(), short()): time() - 1 for _ in range(data.count())}
    return ReceiptClock(due - 1 if due else None, waiting, quiet, waiting_ms, sent_ms, listed)
