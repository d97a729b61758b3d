# SPDX-License-Identifier: Apache-2.0
"""The device's side of joining: takes each message, and returns the answer.

Invariant: an attempt is counted durably before the device's confirmation leaves; nothing of an owner is looked at
before that owner's confirmation was found right; one exchange at a time. What is durable is in the hands of the
Arbiter, and ``own`` is the one step by which the device gets an owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from sealway.crypto.ports import Random, Signer
from sealway.crypto.spake2plus import Binding, Verifier, VerifierRecord
from sealway.errors import NotAuthorized, NotTrusted, PeerMisbehaved, SealwayError
from sealway.joining.channel import Channel, context_of, signed_text
from sealway.joining.messages import (
    NONCE_BYTES,
    Abort,
    Answer,
    Begin,
    Confirm,
    Done,
    Hello,
    Inner,
    Offer,
    Outer,
    Proof,
    Provision,
    Refusal,
    Sealed,
    Share,
    Why,
    decode_inner,
    decode_outer,
)
from sealway.joining.ownership import ADMITTED, RESUMABLE_S, Act, Pending, State
from sealway.protocol.sentlog import Uptime
from sealway.wire.address import Name

T = TypeVar("T")

PATIENCE_MS: Final = 30_000
"""How long a commissioner may be silent before another may begin."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a message came: Unix seconds, and the boot clock."""

    second: int
    uptime: Uptime


@dataclass(frozen=True, slots=True)
class Born:
    """Who the device is by birth: its serial number, its birth certificate's chain (DER), and the key of that."""

    serial: str
    chain: tuple[bytes, ...] = field(repr=False)
    signer: Signer = field(repr=False)


class Arbiter(Protocol):
    """What is durable at the device. Each method that changes something has done it when it returns."""

    def state(self, now: int) -> State:
        """Return whose the device is."""

    def verifier(self) -> VerifierRecord | None:
        """Return what recognises the code; None once there is an owner."""

    def pending(self, now: int) -> Pending | None:
        """Return the exchange that can be gone on with."""

    def attempts_left(self, at: Uptime) -> int | None:
        """Return how often the code may still be tried; None where no pairing window is open."""

    def count_attempt(self) -> None:
        """Count one attempt."""

    def confirm(self, pending: Pending) -> None:
        """A commissioner has shown the code: forget the attempts, and keep with whom to go on."""

    def request(self, name: Name, suite: int) -> bytes:
        """Return the certificate request for a name, made with keys that no other owner has seen."""

    def enrolment(self) -> tuple[bytes, bytes] | None:
        """Return SHA-256 of the root document and of the enrolment that are kept, or None."""

    def own(self, enrolment: bytes, networks: Mapping[str, bytes], root: bytes) -> None:
        """Take an owner, in one step: root document, certificate and state. Raises what ``verify_enrolment`` does."""


class _Refused(Exception):
    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True)
class _Exchange:
    nonce: bytes
    touched: int  # ms of the boot clock
    hello: bytes = field(repr=False)
    offer: bytes = field(default=b"", repr=False)
    resumed: Pending | None = field(default=None, repr=False)
    verifier: Verifier | None = field(default=None, repr=False)
    channel: Channel | None = field(default=None, repr=False)
    begun: Begin | None = field(default=None, repr=False)

    @property
    def hellos(self) -> tuple[bytes, bytes]:
        return self.hello, self.offer


class Joiner:
    """A device that can be given an owner.

    Args:
        born: who it is.
        arbiter: what it keeps.
        random: its source of randomness.
    """

    def __init__(self, born: Born, arbiter: Arbiter, random: Random) -> None:
        self._born, self._arbiter, self._random = born, arbiter, random
        self._exchange: _Exchange | None = None
        self.fault: SealwayError | None = None
        """What ended the last exchange that was refused, for the log of the device."""
        self.finished = False
        """It has said that it has an owner."""

    def answer(self, data: bytes, at: Moment) -> bytes:
        """Return the answer to a message from anyone: always a message, perhaps a Refusal. Raises nothing of a peer's.

        Raises:
            LocalMisuse, StateLost: the device's own disk failed; nothing was answered.
        """
        self.fault = None
        try:
            return self._answered(decode_outer(data), data, at).encode()
        except _Refused as refused:
            return self._refuse(refused.why, at, ends=refused.why is not Why.BUSY)
        except PeerMisbehaved as error:
            self.fault = error
            return self._refuse(Why.MALFORMED, at, ends=False)

    def _refuse(self, why: Why, at: Moment, *, ends: bool) -> bytes:
        if ends:
            self._exchange = None
        return Refusal(why, self._arbiter.attempts_left(at.uptime) or 0).encode()

    def _answered(self, message: Outer, data: bytes, at: Moment) -> Outer:
        match message:
            case Hello():
                return self._hello(message, data, at)
            case Share():
                return self._share(message, self._current(message.exchange, at), at)
            case Confirm():
                return self._confirm(message, self._current(message.exchange, at), at)
            case Sealed():
                return self._sealed(message.sealed, self._current(message.exchange, at), at)
            case Abort():
                self._current(message.exchange, at)
                raise _Refused(Why.WRONG_CODE)
            case Offer() | Answer() | Refusal():
                raise _Refused(Why.BUSY)  # the device's own words: whoever says them is in no exchange

    # before the code was shown --------------------------------------------------------------------------------
    def _hello(self, hello: Hello, data: bytes, at: Moment) -> Offer:
        running = self._exchange
        if running is not None and at.uptime.ms - running.touched < PATIENCE_MS:
            raise _Refused(Why.BUSY)
        state = self._arbiter.state(at.second)
        exchange = _Exchange(self._random(NONCE_BYTES), at.uptime.ms, data)
        offer = self._resumed(hello.resume, exchange, state, at) if hello.resume else self._offered(exchange, state, at)
        exchange.offer = offer.encode()
        self._exchange = exchange
        return offer

    def _offered(self, exchange: _Exchange, state: State, at: Moment) -> Offer:
        record = self._arbiter.verifier()
        if Act.PAIR not in ADMITTED[state] or record is None:
            raise _Refused(Why.OWNED)
        return Offer(exchange.nonce, self._born.serial, self._demand_window(at), record.parameters)

    def _resumed(self, wanted: bytes, exchange: _Exchange, state: State, at: Moment) -> Offer:
        pending = self._arbiter.pending(at.second)
        if Act.RESUME not in ADMITTED[state] or pending is None or pending.resumption.id != wanted:
            raise _Refused(Why.OWNED)
        exchange.resumed = pending
        return Offer(exchange.nonce, self._born.serial, self._arbiter.attempts_left(at.uptime) or 0)

    def _demand_window(self, at: Moment) -> int:
        left = self._arbiter.attempts_left(at.uptime)
        if left is None:
            raise _Refused(Why.CLOSED)
        if left == 0:
            raise _Refused(Why.EXHAUSTED)
        return left

    def _current(self, nonce: bytes, at: Moment) -> _Exchange:
        """Return the exchange under way. One that a message does not name stays as it is: strangers end nothing."""
        exchange = self._exchange
        if exchange is None or exchange.nonce != nonce:
            raise _Refused(Why.BUSY)
        exchange.touched = at.uptime.ms
        return exchange

    def _share(self, share: Share, exchange: _Exchange, at: Moment) -> Answer:
        record = self._arbiter.verifier()
        if exchange.verifier is not None or exchange.resumed is not None or record is None:
            raise _Refused(Why.MALFORMED)
        self._demand_window(at)
        binding = Binding(context_of(exchange.hellos), b"", self._born.serial.encode())
        verifier = Verifier(record, binding, self._random)
        reply = self._or_refuse(lambda: verifier.answer(share.share), Why.MALFORMED)
        self._arbiter.count_attempt()  # durable before the answer leaves: a power cut gives no attempt back
        exchange.verifier = verifier
        return Answer(reply, self._arbiter.attempts_left(at.uptime) or 0)

    # the code was shown ---------------------------------------------------------------------------------------
    def _confirm(self, confirm: Confirm, exchange: _Exchange, at: Moment) -> Outer:
        verifier = exchange.verifier
        if verifier is None or exchange.channel is not None:
            raise _Refused(Why.MALFORMED)
        shared = self._or_refuse(lambda: verifier.finish(confirm.confirmation), Why.WRONG_CODE)
        channel = exchange.channel = Channel(shared, exchange.hellos, is_device=True)
        begin = self._opened(confirm.sealed, channel)
        if not isinstance(begin, Begin):
            raise _Refused(Why.MALFORMED)
        root = hashlib.sha256(begin.root_document).digest()
        self._arbiter.confirm(Pending(channel.resumption, root, begin.name, begin.suite, at.second + RESUMABLE_S))
        return self._begin(begin, exchange, channel)

    def _sealed(self, sealed: bytes, exchange: _Exchange, at: Moment) -> Outer:
        if exchange.channel is None:
            if exchange.resumed is None:
                raise _Refused(Why.MALFORMED)
            exchange.channel = Channel(exchange.resumed.resumption.secret, exchange.hellos, is_device=True)
        match self._opened(sealed, exchange.channel), exchange.begun:
            case Begin() as begin, None if self._is_gone_on_with(begin, exchange):
                return self._begin(begin, exchange, exchange.channel)
            case Provision() as provision, Begin() as begin:
                return self._provision(provision, begin, exchange.channel, at)
            case _:
                raise _Refused(Why.NOT_ACCEPTED)

    @staticmethod
    def _is_gone_on_with(begin: Begin, exchange: _Exchange) -> bool:
        root = hashlib.sha256(begin.root_document).digest()
        return exchange.resumed is not None and exchange.resumed.is_for(root, begin.name, begin.suite)

    def _begin(self, begin: Begin, exchange: _Exchange, channel: Channel) -> Sealed:
        owned = self._arbiter.enrolment()
        if owned is not None:  # it took the owner, and only its last word was lost
            if owned[0] != hashlib.sha256(begin.root_document).digest():
                raise _Refused(Why.NOT_ACCEPTED)
            return self._said(Done(owned[1]), channel)
        csr = self._arbiter.request(begin.name, begin.suite)
        signature = self._born.signer.sign(signed_text(channel.binding, csr, begin.root_document))
        exchange.begun = begin
        return self._said(Proof(csr, self._born.chain, signature), channel)

    def _provision(self, provision: Provision, begin: Begin, channel: Channel, at: Moment) -> Sealed:
        if Act.PROVISION not in ADMITTED[self._arbiter.state(at.second)]:
            raise _Refused(Why.NOT_ACCEPTED)
        root = hashlib.sha256(begin.root_document).digest()
        self._or_refuse(
            lambda: self._arbiter.own(provision.enrolment, provision.networks, root), Why.NOT_ACCEPTED
        )  # from here on the device has an owner, whoever hears of it
        return self._said(Done(hashlib.sha256(provision.enrolment).digest()), channel)

    def _said(self, message: Inner, channel: Channel) -> Sealed:
        exchange = self._exchange
        nonce = exchange.nonce if exchange is not None else b""
        if isinstance(message, Done):
            self._exchange, self.finished = None, True
        return Sealed(nonce, channel.outward.seal(message.encode()))

    def _opened(self, sealed: bytes, channel: Channel) -> Inner:
        return decode_inner(self._or_refuse(lambda: channel.inward.open(sealed), Why.MALFORMED))

    def _or_refuse(self, work: Callable[[], T], why: Why) -> T:
        try:
            return work()
        except (PeerMisbehaved, NotTrusted, NotAuthorized) as error:
            self.fault = error
            raise _Refused(why) from None
