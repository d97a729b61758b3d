# SPDX-License-Identifier: Apache-2.0
"""start.json: whole starts over real documents, with all private keys, and starts that must be refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from scripts.vectors import ml_kem
from scripts.vectors.script import BEGIN_MS, value, verdict
from scripts.vectors.town import DOMAIN_ID, NOW, Town, seeded
from sealway.crypto import kem
from sealway.crypto.keys import SoftSigner, public_x
from sealway.crypto.secret import Secret
from sealway.errors import NotTrusted, SealwayError
from sealway.protocol.outcome import Opened
from sealway.protocol.policy import DEFAULT_POLICY, Policy, PostQuantum
from sealway.protocol.sentlog import Uptime
from sealway.protocol.session import Session
from sealway.protocol.start import OneTimeSecret, accept, start
from sealway.wire.envelope import Envelope
from sealway.wire.header import StartHeader
from sealway.wire.message import CODE_CHANGED, CODE_POST, Message

_PRIME = (2**255 - 19).to_bytes(32, "little")
CLASSICAL = replace(DEFAULT_POLICY, post_quantum=PostQuantum.OFF)
ML_KEM_MESSAGE = value("start ml-kem message")
"""What is random in an encapsulation: m of FIPS 203, algorithm 17."""


def cases() -> list[dict[str, Any]]:
    """Return every case; each is complete in itself."""
    town, quantum = Town(), Town(ml_kem=True)
    return [
        _genuine(town, "with a one-time key", index=1),
        _genuine(town, "without a one-time key", index=None),
        _genuine(
            town, "with the last one-time key, and a session known before", index=2, newest=value("an older session")
        ),
        *(_refused(town, name, about, change) for name, about, change in REFUSED),
        _genuine(quantum, "with ML-KEM and a one-time key", index=1),
        _genuine(quantum, "with ML-KEM, without a one-time key", index=None),
        _genuine(quantum, "without ML-KEM, to a bundle that offers it", index=1, policy=CLASSICAL),
        *(_refused(quantum, name, about, change) for name, about, change in REFUSED_WITH_ML_KEM),
        *_of_other_suites(),
    ]


def _of_other_suites() -> list[dict[str, Any]]:
    both, second, third = Town(suites=(1, 2)), Town(suites=(2,)), Town(suites=(3,))
    quantum = Town(suites=(3,), ml_kem=True)
    return [
        _genuine(both, "suite 1, of bundles that list 2 as well", index=1),
        _refused(both, "relabelled to suite 2", "both bundles list it; the transcript is another one", _labelled(30)),
        _genuine(second, "suite 2", index=1),
        _refused(second, "relabelled to suite 1", "neither bundle lists it", _labelled(10)),
        _genuine(third, "suite 3, with a one-time key", index=1),
        _genuine(third, "suite 3, without a one-time key", index=None),
        _genuine(quantum, "suite 3, with ML-KEM", index=2),
        _refused(third, "suite 3 relabelled to suite 2", "its keys are on another curve", _labelled(30)),
        *(_refused(third, name, about, change) for name, about, change in REFUSED_IN_SUITE_3),
    ]


def _begin(
    town: Town, index: int | None, newest: bytes, signer: SoftSigner | None = None, policy: Policy = DEFAULT_POLICY
) -> tuple[Session, bytes]:
    session = start(
        town.meter.own(), town.app.proven(index), signer or town.meter.signer, receive_kid=b"\x2a", newest=newest,
        now_ms=BEGIN_MS, random=seeded("ephemeral"), policy=policy, encapsulate=_encapsulated,
    )  # fmt: skip
    message = Message(CODE_POST, ("readings",), payload=b"42.7 L")
    return session, session.seal(message, now_ms=BEGIN_MS, uptime=Uptime(bytes(16), 0), random=_none).envelope


def _accepted(town: Town, envelope: bytes) -> tuple[str, Session | None, bytes]:
    """What the responder says of a start, and the session and message that it has if it accepts."""
    decoded = Envelope.decode(envelope)
    index = decoded.start.one_time if decoded.start is not None else None
    one_time = None if index is None else OneTimeSecret(index, town.app.scalar(f"one-time {index}"))
    try:
        session, opened = accept(
            decoded, town.app.own(), town.meter.proven(), signed_prekey=town.app.scalar("prekey"), one_time=one_time,
            receive_kid=b"\x07", now_ms=BEGIN_MS, policy=DEFAULT_POLICY, ml_kem=town.app.decapsulator,
        )  # fmt: skip
    except SealwayError as refusal:
        return "not-trusted" if isinstance(refusal, NotTrusted) else verdict(refusal), None, b""
    return "accepted", session, _encoded(opened)


def _encoded(opened: Opened) -> bytes:
    if opened.message is None:
        raise LookupError("a defective message")
    return opened.message.encode()


def _case(town: Town, name: str, about: str, envelope: bytes, outcome: str) -> dict[str, Any]:
    return {
        "name": name,
        "about": about,
        "root_document": town.root_document.hex(),
        "domain_id": DOMAIN_ID.hex(),
        "now": NOW,
        "initiator": town.meter.told(),
        "responder": town.app.told(),
        "envelope": envelope.hex(),
        "verdict": outcome,
    }


def _genuine(
    town: Town, name: str, *, index: int | None, newest: bytes = b"", policy: Policy = DEFAULT_POLICY
) -> dict[str, Any]:
    initiator, envelope = _begin(town, index, newest, policy=policy)
    outcome, responder, plaintext = _accepted(town, envelope)
    if responder is None:
        raise LookupError(outcome)
    random = seeded(f"{name} step")
    drawn: list[bytes] = []

    def remembered(length: int) -> bytes:
        drawn.append(random(length))
        return drawn[-1]

    uptime, reply = Uptime(bytes(16), 0), Message(CODE_CHANGED, payload=b"noted", request_id=bytes(8))
    sealed = responder.seal(reply, now_ms=BEGIN_MS, uptime=uptime, random=remembered)
    answer = initiator.open(Envelope.decode(sealed.envelope), now_ms=BEGIN_MS)
    return _case(town, name, "a start that is accepted, and the reply that answers it", envelope, outcome) | {
        "offer": town.app.offer(index).hex(),
        "ephemeral_private": value("start ephemeral 1").hex(),
        "ml_kem_message": ML_KEM_MESSAGE.hex() if _has_ml_kem(envelope) else None,
        "session_hash": initiator.hash.hex(),
        "plaintext": plaintext.hex(),
        "responder_kid": "07",
        "reply_plaintext": _encoded(answer).hex(),
        "reply_step_private": drawn[0].hex(),
        "reply": sealed.envelope.hex(),
    }


def _encapsulated(public: bytes, message: bytes = ML_KEM_MESSAGE) -> kem.Encapsulated:
    shared, ciphertext = ml_kem.encapsulate(public, message)
    return kem.Encapsulated(ciphertext, Secret(shared))


def _has_ml_kem(envelope: bytes) -> bool:
    start = Envelope.decode(envelope).start
    return start is not None and start.ml_kem is not None


Change = Callable[[Town, Envelope], Envelope]


def _header(**changes: Any) -> Change:
    def change(_: Town, envelope: Envelope) -> Envelope:
        start = envelope.start
        if start is None:
            raise LookupError("not a start")
        return replace(envelope, start=replace(start, **changes))

    return change


def _wrong_signer(town: Town, _: Envelope) -> Envelope:
    return Envelope.decode(_begin(town, 1, b"", town.other.signer)[1])


def _of_other(town: Town, envelope: Envelope) -> Envelope:
    other: StartHeader | None = envelope.start
    if other is None:
        raise LookupError("not a start")
    changed = replace(other, bundle_hash=hashlib.sha256(town.other.bundle).digest(), x5t=town.other.credential.x5t)
    return replace(envelope, start=changed)


def _flipped(_: Town, envelope: Envelope) -> Envelope:
    return replace(envelope, ciphertext=envelope.ciphertext[:-1] + bytes([envelope.ciphertext[-1] ^ 1]))


REFUSED: list[tuple[str, str, Change]] = [
    ("another ephemeral key", "the transcript is another one", _header(ephemeral=public_x(Secret(value("stranger"))))),
    ("an ephemeral key off the curve", "a point that is none", _header(ephemeral=bytes(31) + b"\x04")),
    ("another receive-kid", "it is part of the transcript", _header(receive_kid=b"\x2b")),
    ("another one-time key", "index 2 in place of 1", _header(one_time=2)),
    ("the one-time key stripped", "as if there had been none", _header(one_time=None)),
    ("ML-KEM without a key", "a ciphertext, and no ML-KEM key in the bundle", _header(ml_kem=bytes(1088))),
    ("another initiator", "bundle and certificate of another endpoint", _of_other),
    ("signed by another key", "the agreements are right and the signature is not the initiator's", _wrong_signer),
    ("a changed tag", "the ciphertext does not open", _flipped),
]


def _labelled(alg: int) -> Change:
    return lambda _, envelope: replace(envelope, alg=alg)


def _masked(_: Town, envelope: Envelope) -> Envelope:
    if envelope.start is None:
        raise LookupError("not a start")
    x = envelope.start.ephemeral
    return _header(ephemeral=x[:31] + bytes([x[31] | 0x80]))(_, envelope)


REFUSED_IN_SUITE_3: list[tuple[str, str, Change]] = [
    ("suite 3, an ephemeral key of small order", "any agreement with it gives zero", _header(ephemeral=bytes(32))),
    ("suite 3, an ephemeral key that is not canonical", "2^255 - 19: zero once more", _header(ephemeral=_PRIME)),
    ("suite 3, an ephemeral key with its highest bit set", "RFC 7748 would mask it", _masked),
    ("suite 3, signed by another key", "the signature is not the initiator's", _wrong_signer),
    ("suite 3, a changed tag", "the ciphertext does not open", _flipped),
]


def _another_secret(town: Town, envelope: Envelope) -> Envelope:
    public = town.app.proven().claims.ml_kem
    if public is None:
        raise LookupError("no ML-KEM key")
    return _header(ml_kem=_encapsulated(public, value("another ML-KEM message")).ciphertext)(town, envelope)


REFUSED_WITH_ML_KEM: list[tuple[str, str, Change]] = [
    ("ML-KEM stripped", "the ciphertext is taken out, as if there had been none", _header(ml_kem=None)),
    ("another ML-KEM ciphertext", "a genuine encapsulation of another secret for the same key", _another_secret),
    ("an ML-KEM ciphertext of nothing", "what decapsulates to a secret that nobody has", _header(ml_kem=bytes(1088))),
]


def _refused(town: Town, name: str, about: str, change: Change) -> dict[str, Any]:
    changed = change(town, Envelope.decode(_begin(town, 1, b"")[1])).encode()
    outcome, _, _ = _accepted(town, changed)
    return _case(town, name, about, changed, outcome)


def _none(_: int) -> bytes:
    raise LookupError("nothing is drawn here")
