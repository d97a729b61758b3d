# SPDX-License-Identifier: Apache-2.0
"""The commissioner's side of joining: makes each message, and takes each answer.

Invariant: nothing of the owner's is said before the device has shown that it knows the code's record; nothing is
certified before the device's birth certificate has signed this channel, this request and this owner, and is vouched for
by a manufacturer that the owner trusts. So who has only seen the label cannot stand between the two.
Whoever has another genuine device, too, can have that one answer, unless the serial number is known here as well.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from sealway.crypto.keys import VerifyingKey
from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import Binding, Parameters, Prover, ProverKey, derive
from sealway.crypto.suites import suite as suite_of
from sealway.errors import (
    LocalMisuse,
    Malformed,
    NotAuthentic,
    NotAuthorized,
    NotTrusted,
    RateLimited,
    SealwayError,
    WrongCode,
)
from sealway.identity.issuing import verify_csr
from sealway.joining.channel import Channel, Resumption, context_of, signed_text
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
    Proof,
    Provision,
    Refusal,
    Sealed,
    Share,
    Why,
    decode_inner,
    decode_outer,
)
from sealway.wire.address import Name

_M = TypeVar("_M", Offer, Answer, Sealed)


class Birth(Protocol):
    """What a birth certificate proves."""

    @property
    def serial(self) -> str:
        """The serial number that the manufacturer certified."""

    @property
    def key(self) -> VerifyingKey:
        """The key that it was certified for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the owner wants of the device that answers.

    Args:
        root_document: the owner's, encoded.
        name: what the device with a serial number is to be called.
        suite: what its keys are to be made for.
        serial: the serial number on the label, where it is known; None accepts any that the code is right for.
    """

    root_document: bytes = field(repr=False)
    name: Callable[[str], Name]
    suite: int = 1
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class Applicant:
    """A device whose code, birth certificate and request were found right.

    Args:
        serial: its serial number.
        name: what it asks to be called, as it was told.
        csr: its certificate request.
        chain: its birth certificate's chain.
    """

    serial: str
    name: Name
    csr: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)

    @property
    def birth(self) -> bytes:
        """SHA-256 of its birth certificate, 32 bytes: which device it is, of all manufacturers'."""
        return hashlib.sha256(self.chain[0]).digest()


class Commissioner:
    """One exchange with one device. The messages go in the order of the methods; each may be called once.

    Args:
        password: of the setup code; None where an exchange is gone on with.
        wanted: what for.
        prove: proves a birth certificate's chain (DER, leaf first) as of now; raises what makes it untrustworthy.
        random: its source of randomness.
        stretch: makes keys of a password; slow on purpose.
    """

    def __init__(
        self, password: Secret | None, wanted: Wanted, prove: Callable[[Sequence[bytes]], Birth], random: Random,
        stretch: Callable[[bytes, Parameters], ProverKey] = derive,
    ) -> None:  # fmt: skip
        self._password, self._wanted, self._prove = password, wanted, prove
        self._random, self._stretch = random, stretch
        self._hello = b""
        self._hellos = (b"", b"")
        self._offer: Offer | None = None
        self._prover: Prover | None = None
        self._channel: Channel | None = None
        self._resumed: Resumption | None = None
        self._digest = b""

    @property
    def resumption(self) -> Resumption:
        """What this exchange can be gone on with, once the code was found right. Raises LocalMisuse before."""
        return self._resumed or self._made().resumption

    def hello(self, resumed: Resumption | None = None) -> bytes:
        """Return the first message; ``resumed``: to go on with an earlier exchange."""
        self._resumed = resumed
        self._hello = Hello(self._random(NONCE_BYTES), resumed.id if resumed is not None else None).encode()
        return self._hello

    def take_offer(self, data: bytes) -> bytes:
        """Take the device's offer, and return the next message: a Share, or the first of the channel gone on with.

        Raises:
            NotAuthorized, RateLimited, WrongCode: the device refuses.
            NotTrusted: it is not the device with the serial number on the label.
            Malformed, TooLarge: no offer.
        """
        offer = self._offer = _expected(data, Offer)
        hellos = (self._hello, data)
        if self._wanted.serial is not None and offer.serial != self._wanted.serial:
            raise NotTrusted(f"another device answered than {self._wanted.serial}")
        if self._resumed is not None:
            channel = self._channel = Channel(self._resumed.secret, hellos, is_device=False)
            return self._sealed(self._begin(), channel)
        if offer.parameters is None or self._password is None:
            raise Malformed("offer: no parameters of the code")
        key = self._stretch(self._password.reveal(), offer.parameters)
        binding = Binding(context_of(hellos), b"", offer.serial.encode())
        self._prover, self._hellos = Prover(key, binding, self._random), hellos
        return Share(offer.nonce, self._prover.share).encode()

    def take_answer(self, data: bytes) -> bytes:
        """Take the device's confirmation, and return this end's, with the first message of the channel.

        Raises:
            WrongCode: the code is not this device's; it says how many attempts are left.
            Malformed, TooLarge, NotAuthorized, RateLimited: no answer, or a refusal.
        """
        answer, prover, offer = _expected(data, Answer), self._prover, self._offer
        if prover is None or offer is None:
            raise LocalMisuse("no share was sent")
        try:
            confirmation, shared = prover.confirm(answer.reply)
        except NotAuthentic:
            raise _wrong_code(answer.attempts_left) from None
        channel = self._channel = Channel(shared, self._hellos, is_device=False)
        return Confirm(offer.nonce, confirmation, channel.outward.seal(self._begin().encode())).encode()

    def abort(self) -> bytes | None:
        """Return the message that ends the exchange at the device; None where none has begun."""
        return None if self._offer is None else Abort(self._offer.nonce).encode()

    def take_proof(self, data: bytes) -> Applicant | Done:
        """Take what the device proves: who it is. Done: it has taken this owner before, and has the enrolment named.

        Raises:
            NotAuthentic: a signature or the channel is not authentic.
            NotTrusted: no manufacturer that is trusted vouches for it, or it is another device than it said.
            Malformed, TooLarge, NotAuthorized, RateLimited, WrongCode: no proof, or a refusal.
        """
        channel, offer = self._made(), self._demand_offer()
        proof = self._opened(data, channel)
        if isinstance(proof, Done):
            return proof
        if not isinstance(proof, Proof):
            raise Malformed("the device did not say who it is")
        birth = self._prove(proof.chain)
        # The serial number entered SPAKE2+ as the verifier's name, so both ends hold one device to be meant.
        if birth.serial != offer.serial:
            raise NotTrusted(f"the birth certificate of {birth.serial} was shown by what calls itself {offer.serial}")
        birth.key.verify(signed_text(channel.binding, proof.csr, self._wanted.root_document), proof.signature)
        name = self._wanted.name(offer.serial)
        asked, key = verify_csr(proof.csr)
        if asked != name:
            raise NotTrusted(f"the device asks for the name {asked}, and was told {name}")
        if key.algorithm is not suite_of(self._wanted.suite).signature:
            raise NotTrusted(f"the device's key is not one of suite {self._wanted.suite}")
        return Applicant(offer.serial, name, proof.csr, proof.chain)

    def provision(self, enrolment: bytes, networks: Mapping[str, bytes]) -> bytes:
        """Return the message that hands over the enrolment, which is durable at the owner by now."""
        self._digest = hashlib.sha256(enrolment).digest()
        return self._sealed(Provision(enrolment, networks), self._made())

    def take_done(self, data: bytes) -> None:
        """Return once the device says that it has the enrolment. Raises as ``take_proof``."""
        done = self._opened(data, self._made())
        if not isinstance(done, Done) or not hmac.compare_digest(done.digest, self._digest):
            raise NotAuthentic("the device did not take what it was given")

    def _begin(self) -> Begin:
        serial = self._demand_offer().serial
        return Begin(self._wanted.root_document, self._wanted.name(serial), self._wanted.suite)

    def _sealed(self, message: Inner, channel: Channel) -> bytes:
        return Sealed(self._demand_offer().nonce, channel.outward.seal(message.encode())).encode()

    def _opened(self, data: bytes, channel: Channel) -> Inner:
        return decode_inner(channel.inward.open(_expected(data, Sealed).sealed))

    def _made(self) -> Channel:
        if self._channel is None:
            raise LocalMisuse("there is no channel yet")
        return self._channel

    def _demand_offer(self) -> Offer:
        if self._offer is None:
            raise LocalMisuse("no offer was taken")
        return self._offer


def _expected(data: bytes, kind: type[_M]) -> _M:
    message = decode_outer(data)
    if isinstance(message, Refusal):
        raise _of_refusal(message)
    if not isinstance(message, kind):
        raise Malformed(f"the device sent a {type(message).__name__.lower()} instead of a {kind.__name__.lower()}")
    return message


def _wrong_code(left: int) -> WrongCode:
    tries = "1 attempt is left" if left == 1 else f"{left} attempts are left"
    return WrongCode(f"the setup code is not this device's; {tries}", left=left, hint="compare it with the label")


_REFUSALS: Final[Mapping[Why, tuple[type[SealwayError], str, str | None]]] = {
    Why.BUSY: (RateLimited, "the device is busy with another commissioner", "try again in half a minute"),
    Why.OWNED: (NotAuthorized, "the device has an owner", "its owner has to release it, or it is reset by presence"),
    Why.EXHAUSTED: (
        RateLimited,
        "no attempts are left in this pairing window",
        "open a new one: switch the device off and on, or press its button",
    ),
    Why.CLOSED: (NotAuthorized, "no pairing window is open", "switch the device off and on, or press its button"),
    Why.MALFORMED: (Malformed, "the device did not understand", None),
    Why.NOT_ACCEPTED: (NotAuthorized, "the device did not accept what it was given", "see its log"),
}


def _of_refusal(refusal: Refusal) -> SealwayError:
    if refusal.why is Why.WRONG_CODE:
        return _wrong_code(refusal.attempts_left)
    kind, message, hint = _REFUSALS[refusal.why]
    return kind(message, hint=hint)
