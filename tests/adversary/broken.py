# SPDX-License-Identifier: Apache-2.0
"""Endpoints that leave one check out: what the table must show as broken. Each function breaks one thing."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from sealway.adversary.dissecting import put_together
from sealway.crypto.keys import VerifyingKey
from sealway.crypto.suites import Suite
from sealway.errors import Malformed, SealwayError
from sealway.identity import bundles, credentials
from sealway.identity.root import trust_root_on_first_use
from sealway.protocol import start
from sealway.protocol.session import Session
from sealway.sdk import executor
from sealway.sdk.directory import Directory
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.engine import Engine
from sealway.sdk.executor import Executor
from sealway.sdk.intake import Intake
from sealway.sdk.links import Links
from sealway.sdk.outbox import Outbox
from sealway.wire.cose import TYP_BUNDLE
from sealway.wire.envelope import Envelope
from tests.adversary import cases

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]


# the envelope ----------------------------------------------------------------------------------------------------
class _Unverified:
    """AES-CCM that decrypts and does not look at the tag (RFC 3610 §2.3: counter blocks from 1)."""

    def __init__(self, key: bytes, tag_length: int) -> None:
        self._key, self._tag_length = key, tag_length
        self._genuine = AESCCM(key, tag_length)

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        return self._genuine.encrypt(nonce, data, aad)

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        length = 15 - len(nonce)
        first = bytes((length - 1,)) + nonce + (1).to_bytes(length, "big")
        return Cipher(algorithms.AES(self._key), modes.CTR(first)).decryptor().update(data[: -self._tag_length])


class _Unbound:
    """An AEAD whose associated data nobody looks at, neither when sealing nor when opening."""

    def __init__(self, key: bytes, tag_length: int) -> None:
        self._genuine = AESCCM(key, tag_length)

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        return self._genuine.encrypt(nonce, data, b"")

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        return self._genuine.decrypt(nonce, data, b"")


def tag_not_verified(patch: Patch) -> None:
    """The AEAD's tag is not compared."""
    patch.setattr(Suite, "aead", lambda suite, key: _Unverified(key, suite.tag_length))


def header_not_bound(patch: Patch) -> None:
    """The protected header is not part of what the AEAD authenticates."""
    patch.setattr(Suite, "aead", lambda suite, key: _Unbound(key, suite.tag_length))


def every_key_tried(patch: Patch) -> None:
    """The kid is not bound, and what does not open with the key that it names is tried with all others."""
    header_not_bound(patch)
    genuine = Intake._open

    def open_(intake: Intake, envelope: Envelope) -> None:
        try:
            genuine(intake, envelope)
        except SealwayError as refused:
            if not any(_opens(intake, held, envelope) for held in intake._sessions.all()):
                raise refused from None

    patch.setattr(Intake, "_open", open_)


def _opens(intake: Intake, held: Any, envelope: Envelope) -> bool:
    try:
        intake._engine.open(held, envelope)
    except SealwayError:
        return False
    return True


def loosely_decoded(patch: Patch) -> None:
    """Envelopes are read as most COSE libraries do: any encoding, whatever stands behind, unprotected headers."""
    strict = Envelope.decode.__func__  # type: ignore[attr-defined]

    def decode(cls: type[Envelope], data: bytes) -> Envelope:
        try:
            return strict(cls, data)  # type: ignore[no-any-return]
        except Malformed as refused:
            sound = _read_loosely(data)
            if sound is None:
                raise refused from None
            return strict(cls, sound)  # type: ignore[no-any-return]

    patch.setattr(Envelope, "decode", classmethod(decode))


def _read_loosely(data: bytes) -> bytes | None:
    try:
        tagged = cbor2.loads(data)  # cbor2 stops at the end of the first item
        protected, _, ciphertext = tagged.value
        return put_together(cbor2.loads(protected), ciphertext)
    except Exception:  # noqa: BLE001 - whatever it is, it cannot be read even so
        return None


# repetition, order, time -----------------------------------------------------------------------------------------
def no_replay_check(patch: Patch) -> None:
    """What was opened once opens again: its key is kept, and its number is not looked up."""
    genuine, before = Session.open, dict[tuple[bytes, bytes], Any]()

    def open_(session: Session, envelope: Envelope, *, now_ms: int) -> Any:
        key = (session.hash, envelope.encode())
        if key in before:
            return before[key]
        opened: Any = genuine(session, envelope, now_ms=now_ms)
        before[key] = _once_more(opened)
        return opened

    patch.setattr(Session, "open", open_)


def _once_more(opened: Any) -> Any:
    """Without the receipt, which would be taken in out of its order."""
    change = getattr(opened, "_replace", None) or functools.partial(dataclasses.replace, opened)
    return change(acknowledgement=None)


def not_at_most_once(patch: Patch) -> None:
    """Neither what was opened nor what was executed is remembered."""
    no_replay_check(patch)

    async def known(*_: object) -> tuple[bool, None]:
        return False, None

    patch.setattr(Executor, "_known", known)


def no_freshness(patch: Patch) -> None:
    """A command is executed whenever it comes."""
    patch.setattr(executor, "check_fresh", lambda *_, **__: None)


def starts_not_recorded(patch: Patch) -> None:
    """A start is accepted as often as it comes, and brings its message each time."""
    genuine_take, genuine_open, taken = Engine.take, Links.open_start, dict[bytes, tuple[Any, Any]]()

    def take(engine: Engine, held: Any, opened: Any, envelope: Envelope) -> None:
        if envelope.start is not None:
            taken[envelope.encode()] = held, _once_more(opened)
        genuine_take(engine, held, opened, envelope)

    async def open_start(links: Links, envelope: Envelope, header: Any) -> None:
        known = taken.get(envelope.encode())
        if known is None:
            await genuine_open(links, envelope, header)
        else:
            genuine_take(links._engine, *known, envelope)

    patch.setattr(Engine, "take", take)
    patch.setattr(Links, "open_start", open_start)


def forgets_at_the_hop(patch: Patch) -> None:
    """The sender takes the hop's word for it, and forgets what the hop has acknowledged."""
    patch.setattr(Outbox, "accepted", lambda outbox, key, now_ms: outbox._items.pop(key, None))


def reports_nothing(patch: Patch) -> None:
    """What is missing, silent or unacknowledged is not told."""
    patch.setattr(Endpoint, "happened", lambda *_: None)


# who is who ------------------------------------------------------------------------------------------------------
def start_signature_not_verified(patch: Patch) -> None:
    """Whoever sends a start need not sign it."""
    patch.setattr(start, "_check_signature", lambda *_: None)


def bundle_signature_not_verified(patch: Patch) -> None:
    """A bundle's signature is not looked at."""
    genuine = VerifyingKey.verify

    def verify(key: VerifyingKey, message: bytes, signature: bytes) -> None:
        if TYP_BUNDLE.encode() not in message:
            genuine(key, message, signature)

    patch.setattr(VerifyingKey, "verify", verify)


def name_not_compared(patch: Patch) -> None:
    """Any certified endpoint's bundle will do."""

    def verify_chain(*args: Any, expected_name: object = None, **rest: Any) -> Any:
        return credentials.verify_chain(*args, **rest)

    patch.setattr("sealway.sdk.directory.verify_chain", verify_chain)


def older_bundles_taken(patch: Patch) -> None:
    """The sequence of a bundle is not compared with the highest one seen."""

    def verify_offer(encoded: bytes, credential: Any, now: int, **_: object) -> Any:
        return bundles.verify_offer(encoded, credential, now)

    patch.setattr("sealway.sdk.directory.verify_offer", verify_offer)


def expiry_not_looked_at(patch: Patch) -> None:
    """A bundle is good for ever."""
    patch.setattr(bundles, "check_period", lambda *_, **__: None)


def one_time_key_not_proven(patch: Patch) -> None:
    """A one-time key need not be under the signed root."""
    patch.setattr(bundles, "_proven_key", lambda _, one_time: one_time)


def chain_not_verified(patch: Patch) -> None:
    """Whoever issued a certificate, it is taken."""
    patch.setattr(credentials, "_anchor_of", lambda last, root: root.anchors[0])
    patch.setattr(credentials, "check_issued_by", lambda *_: None)


def certificate_hash_not_compared(patch: Patch) -> None:
    """What the directory answers is taken for the certificate that was asked for."""
    genuine = Directory._proven

    def proven(self: Any, chain: Any, x5t: bytes, name: Any) -> Any:
        asked = hashlib.sha256(chain[0]).digest() if chain else x5t
        return genuine(self, chain, asked, name)

    patch.setattr(Directory, "_proven", proven)


def root_not_compared(patch: Patch) -> None:
    """A root document that its own keys have signed is taken, whatever was pinned."""
    patch.setattr(cases, "verify_root", lambda document, now, **_: trust_root_on_first_use(document, now=now))


def sessions_not_bounded(patch: Patch) -> None:
    """Any number of sessions with one peer."""
    patch.setattr(Links, "_refuse_too_many", lambda *_: None)
