# SPDX-License-Identifier: Apache-2.0
"""Two ends of a session without certificates and bundles: what start.py would make, from a fixed agreement."""

from __future__ import annotations

import random as rng
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from sealway.crypto.suites import SUITE_1, Suite
from sealway.protocol import schedule
from sealway.protocol.chains import Chain, Epoch
from sealway.protocol.outcome import Opened, Sealed
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Sending, SendingEpoch
from sealway.protocol.sentlog import SentLog, Uptime
from sealway.protocol.session import Session, Start
from sealway.protocol.snapshot import restore, snapshot
from sealway.wire.envelope import Envelope
from sealway.wire.header import StartHeader
from sealway.wire.message import CODE_POST, Message

Random = Callable[[int], bytes]

HASH = b"h" * 32
BUNDLE_ID = b"BNDL"
BOOT = b"boot" * 4
START_MS = 1_700_000_000_000


def pair(random: Random, policy: Policy = DEFAULT_POLICY, suite: Suite = SUITE_1) -> tuple[Session, Session]:
    """Return initiator and responder; the responder is as ``accept`` has it before it opens the first envelope."""
    ephemeral = suite.curve.draw(random)
    x = suite.curve.public(ephemeral)
    keys = schedule.start_keys(b"a" * 96, HASH)
    header = StartHeader(b"b" * 32, b"c" * 32, b"A", x)
    initiator = Session(
        suite, HASH, "sealway://example/device/a", True, keys.root, False, b"", b"A", BUNDLE_ID, START_MS,
        Sending(SendingEpoch(x, ephemeral, 0, keys.reseed_root, keys.chain, 0)), Receiving(), SentLog(),
        Start(header, b"s" * 64, b""), stepped_ms=START_MS, heard_ms=START_MS, policy=policy,
    )  # fmt: skip
    epoch = Epoch(x, 0, keys.reseed_root, chains=[Chain(0, 0, b"", 0, keys.chain)])
    responder = Session(
        suite, HASH, "sealway://example/application/b", False, keys.root, True, x, b"B", b"A", START_MS,
        Sending(), Receiving([epoch]), SentLog(), announce_kid=True, stepped_ms=START_MS, policy=policy,
    )  # fmt: skip
    return initiator, responder


@dataclass
class End:
    """One end with a clock of its own; every call is followed by what a caller would do with the result."""

    session: Session
    random: Random
    now_ms: int = START_MS

    @property
    def uptime(self) -> Uptime:
        return Uptime(BOOT, self.now_ms - START_MS)

    def seal(self, message: Message | bytes = b"payload") -> Sealed:
        if isinstance(message, bytes):
            message = Message(CODE_POST, ("r",), payload=message)
        return self.session.seal(message, now_ms=self.now_ms, uptime=self.uptime, random=self.random)

    def receipt(self) -> Sealed:
        return self.session.seal_receipt(now_ms=self.now_ms, uptime=self.uptime, random=self.random)

    def open(self, sealed: Sealed | bytes | Envelope) -> Opened:
        if isinstance(sealed, Sealed):
            sealed = sealed.envelope
        envelope = Envelope.decode(sealed) if isinstance(sealed, bytes) else sealed
        return self.session.open(envelope, now_ms=self.now_ms)

    def restart(self, data: bytes | None = None) -> None:
        """Open the state anew, from a snapshot or from the present state."""
        old = self.session
        self.session = restore(data if data is not None else snapshot(old), old.log, old.policy)

    def copy(self) -> End:
        """Return a copy of the whole state directory, opened by another process."""
        clone = End(self.session, self.random, self.now_ms)
        clone.restart()
        clone.session.log = copy_log(self.session.log)
        return clone


def ends(seed: int = 0, suite: Suite = SUITE_1, **policy: Any) -> tuple[End, End]:
    """Return both ends of a fresh pair, with these policy values changed."""
    random = rng.Random(seed).randbytes
    first, second = pair(random, replace(DEFAULT_POLICY, **policy), suite)
    return End(first, random), End(second, random)


def talking(seed: int = 0, suite: Suite = SUITE_1, **policy: Any) -> tuple[End, End]:
    """Return ends in the steady state: both have chains, both have had them acknowledged."""
    a, b = ends(seed, suite)
    b.open(a.seal())
    a.open(b.seal())
    b.open(a.receipt())
    a.open(b.receipt())
    for end in (a, b):
        end.session.policy, end.session.since_step = replace(DEFAULT_POLICY, **policy), 0
    return a, b


def header(sealed: Sealed) -> Envelope:
    return Envelope.decode(sealed.envelope)


def copy_log(log: SentLog) -> SentLog:
    return SentLog(dict(log._records).items())


@dataclass
class KeyRecorder:
    """Sees every message key that is derived, and refuses a second use for sealing."""

    last: tuple[bytes, bytes] = (b"", b"")
    used: dict[tuple[bytes, int], bytes] = field(default_factory=dict)

    def sealed(self, sealed: Sealed) -> None:
        """Check the key and nonce of what was just sealed."""
        key, base_iv = self.last
        nonce = int.from_bytes(base_iv, "big") ^ sealed.number
        assert self.used.setdefault((key, nonce), sealed.envelope) is sealed.envelope, "key and nonce used twice"


@contextmanager
def recorded_keys() -> Iterator[KeyRecorder]:
    recorder = KeyRecorder()
    split = schedule.split

    def recording(secret: bytes, suite: Suite) -> tuple[bytes, bytes]:
        recorder.last = split(secret, suite)
        return recorder.last

    with mock.patch.object(schedule, "split", recording):
        yield recorder
